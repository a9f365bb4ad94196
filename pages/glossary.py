"""Glossary: the words on the pages, and the choices that they offer."""

from collections.abc import Mapping

import streamlit as st

from diffusion_core.choices import MODEL_SPACINGS, PREDICTIONS, SAMPLERS, SCHEDULES
from pages.components import BOUND
from pipelines.common.glossary import Entry, glossary, matching
from pipelines.common.settings import Described
from unets.choices import NETWORKS

TEXT_WIDTH = 760
CHOICES: Mapping[str, Mapping[str, Described]] = {
    "Samplers": SAMPLERS,
    "Timestep spacings": MODEL_SPACINGS,
    "Schedules": SCHEDULES,
    "Predictions": PREDICTIONS,
    "Networks": NETWORKS,
}

st.title("Glossary", anchor=False)
st.markdown("What the words on these pages mean. The same sentences appear when you point at a question mark.")
wanted = st.text_input(
    "Search", type="search", placeholder="log-SNR, guidance, blurred", key="search", live=True, width=420, **BOUND
)

choices = [
    Entry(choice.title, section, choice.about, f"In commands and addresses: `{name}`.")
    for section, registry in CHOICES.items()
    for name, choice in registry.items()
]
found = matching([*glossary().values(), *choices], wanted or "")
if not found:
    st.info("No entry contains this. Try a single word.")
sections = list(dict.fromkeys(entry.section for entry in found))
if not wanted:
    st.markdown(" · ".join(f"[{section}](#section-{number})" for number, section in enumerate(sections)))
for number, section in enumerate(sections):
    st.header(section, anchor=f"section-{number}", divider="gray", width=TEXT_WIDTH)
    for entry in found:
        if entry.section == section:
            with st.container(gap="xxsmall", width=TEXT_WIDTH):
                st.subheader(entry.title, anchor=entry.anchor)
                st.markdown(entry.sentence)
                if entry.more:
                    st.caption(entry.more)
