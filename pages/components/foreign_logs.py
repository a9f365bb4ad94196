"""Logs of other software beside one's own runs: choosing them, and saying what is drawn of them and what can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.components import BOUND
from pages.components.asking import allow_typed, allowed_files, expanded
from pipelines.common.command_line import describe
from pipelines.common.public import is_public
from pipelines.common.text import literal, one_line, some
from pipelines.evaluation.logged import Log
from pipelines.storage.foreign_logs.reading import READ, read_path, read_upload, stamp
from pipelines.storage.foreign_logs.terms import ForeignLog

LARGEST = 48  # MB of an uploaded file
MOST = 8  # paths, and uploaded files
MOST_LOGS = 20  # that are drawn
TITLES = {
    "loss": "Training loss",
    "val_loss": "Validation loss",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm",
    "images_seen": "Images seen",
    "seconds": "Training time",
}
COMPARABLE = f"""
Read are {READ}.

**Can be compared:** when a curve falls, levels off or rises again; the learning rate; steps, images seen and time, if they
were logged.

**Cannot be compared:** the values of losses. They depend on what the network predicts, on how errors and timesteps are
weighted, on the images and their size, and on whether averaged weights are validated; other software does not log that.
Steps are of different work if batches are of different sizes.

A log without a name of its own is called after its file, or after its folder where the files of all runs have the same name, as
event files and `trainer_state.json` do.

To compare the models themselves, make the other one a run here (`python -m pipelines.import_diffusers`) and evaluate both.
"""


def offer_logs(place: DeltaGenerator) -> tuple[list[str], list[UploadedFile]]:
    """Draw a button that opens a place for paths and files of logs; return the paths and the uploaded files.

    Paths that come with a link wait for a button of their own.
    """
    if is_public():  # visitors have no business with the server's files
        return [], []
    with place.popover("Other logs", icon=":material/add_chart:"):
        st.markdown("Draw the curves of a training by **other software** beside your runs.")
        paths = st.multiselect(
            "Files and folders", [], accept_new_options=True, max_selections=MOST, key="logs",
            placeholder="Type a path, then press Enter", on_change=allow_typed, args=("logs",), **BOUND,
        )  # fmt: skip
        files = st.file_uploader(
            "Or files, until you leave this page", accept_multiple_files=True, key="log-files", max_upload_size=LARGEST,
            help="TensorBoard's event files, tables (CSV) and JSON. Databases of trackio and MLflow are read by their path.",
        )  # fmt: skip
        st.markdown(COMPARABLE)
    return allowed_files([expanded(path) for path in paths]), list(files)[:MOST]


def read_foreign(paths: Sequence[str], files: Sequence[UploadedFile], taken: Sequence[str]) -> dict[str, ForeignLog]:
    """Return the logs that can be read, by names of their own, after saying what is wrong with the others.

    Args:
        taken: the names of runs.
    """
    logs: list[ForeignLog] = []
    told: list[str] = []
    for path in paths:
        try:
            found, problems = _at_path(path, stamp(path))
            logs += found
            told += problems
        except (ValueError, OSError) as error:
            told.append(f"{one_line(path, 200)} cannot be read: {describe(error)}")
    for file in files:
        try:
            logs += _uploaded(file.name, file.file_id, file)
        except (ValueError, OSError) as error:
            told.append(f"{one_line(file.name, 200)} cannot be read: {describe(error)}")
    if len(logs) > MOST_LOGS:
        told.append(f"Of {len(logs)} logs, the first {MOST_LOGS} are drawn")
    told += [f"{log.name}: {note}" for log in logs[:MOST_LOGS] for note in log.notes]
    if told:
        st.warning("  \n".join(f"{literal(sentence)}." for sentence in told))
    named: dict[str, ForeignLog] = {}
    for log in logs[:MOST_LOGS]:
        names = (log.name if number == 1 else f"{log.name} ({number})" for number in range(1, len(taken) + MOST_LOGS + 2))
        name = next(name for name in names if name not in (*taken, *named))
        named[name] = replace(log, name=name)
    return named


@st.cache_data(max_entries=32, show_spinner=False)
def _at_path(path: str, stamp: tuple[object, ...]) -> tuple[list[ForeignLog], list[str]]:
    return read_path(path)


@st.cache_data(max_entries=16, show_spinner=False)
def _uploaded(name: str, file_id: str, _file: UploadedFile) -> list[ForeignLog]:
    return read_upload(name, _file)


def as_logs(logs: Mapping[str, ForeignLog]) -> list[Log]:
    """Return foreign logs for the charts of runs."""
    return [Log(name, None, log.table) for name, log in logs.items()]


def show_taken_for(logs: Mapping[str, ForeignLog]) -> None:
    """Say that losses of other software are not compared, and on demand what its quantities are taken for."""
    if not logs:
        return
    names = literal(some(list(logs), 5))
    told = f"Logged by other software: {names}. Compare the course of such curves, not their values."
    if without := [name for name, log in logs.items() if "val_loss" not in log.table]:
        told += f" Without a validation loss, but with curves further down: {literal(some(without, 5))}."
    st.caption(told)
    more = st.expander("Logs of other software", key="foreign", **BOUND)
    if not more.open:
        return
    with more:
        rows = {
            f"{name} ({log.kind})": {title: log.names.get(term, "–") for term, title in TITLES.items()}
            for name, log in logs.items()
        }
        st.caption("What is drawn here, and what it is called there:")
        st.table(pd.DataFrame(rows).map(literal).rename(columns=literal))
        for name, log in logs.items():
            if log.others:
                others = some([one_line(other, 60) for other in log.others], 12)
                st.caption(literal(f"Not drawn of {name}: {others}."))
        st.markdown(COMPARABLE)
