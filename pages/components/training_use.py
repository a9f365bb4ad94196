"""What to do with a trained run: compare it, generate with it, share it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import streamlit as st

from pages.components.requests import usual_models
from pages.components.runs import can_be_tuned, is_diffusion, known_runs
from pages.components.students import BESIDE_TEACHER, beside_teacher, listed_as
from pages.components.training_distill import offer_distillation
from pages.components.training_share import offer_sharing
from pages.components.usual_inputs import open_page
from pipelines.storage.config import RunConfig
from pipelines.storage.run import Run
from pipelines.storage.runs import find_run
from pipelines.training.jobs import Job, TrainingQueue

CHOSEN = "page chosen for a run"  # key in the session


def offer_use(queue: TrainingQueue, name: str, job: Job) -> None:
    """Draw buttons that lead to the pages that use a trained run, and what to give to others; nothing before it has weights."""
    run = job.run
    with suppress(ValueError, OSError):  # a damaged run, whose row says what is wrong
        config = run.config
        if not run.has_weights:
            return
        with st.container(horizontal=True):
            if config.model == "diffusion":
                st.button(
                    BESIDE_TEACHER if beside_teacher(name, config) else "Compare", icon=":material/compare:",
                    key=f"compare-{name}", type="primary", on_click=_choose, args=("compare", run, config),
                )  # fmt: skip
                page, icon = ("Generate", "palette") if config.network.conditional else ("Edit", "brush")
                st.button(
                    page, icon=f":material/{icon}:", key=f"{page}-{name}", on_click=_choose, args=(page.lower(), run, config)
                )
            if can_be_tuned(config):
                offer_distillation(queue, name, run)
            offer_sharing(name, run)


def _choose(page: str, run: Run, config: RunConfig) -> None:
    """Note the page to go to; a fragment that is drawn again and again cannot switch pages itself."""
    st.session_state[CHOSEN] = page, _columns(run, config) if page == "compare" else {"model": listed_as(run)}


def follow_choice(whole: bool) -> None:
    """Go to the page that was chosen, if any.

    Args:
        whole: whether the whole page is being drawn, and not a fragment of it.
    """
    if CHOSEN in st.session_state:
        if not whole:
            st.rerun()
        page, address = st.session_state.pop(CHOSEN)
        if page == "compare":
            st.session_state["start_comparison"] = True
        open_page(page, address)


def _columns(run: Run, config: RunConfig) -> Mapping[str, str | list[str]]:
    """Return the columns of a comparison: the run, and the one that it started from or else one like it.

    A student stands beside its teacher.
    """
    name, models = listed_as(run), known_runs().models(is_diffusion)
    if beside := beside_teacher(name, config):
        return beside
    other = next((other for other in usual_models(models, name) if other != name), name) if name in models else name
    if config.init.init_from is not None:
        with suppress(ValueError, OSError):
            other = listed_as(find_run(config.init.init_from))
    return {"model1": name, "model2": other}
