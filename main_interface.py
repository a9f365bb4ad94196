"""Noisescope's front door: ``streamlit run main_interface.py``."""

import streamlit as st

st.set_page_config(page_title="Noisescope", page_icon=":material/grain:", layout="wide")

PAGES = [
    st.Page("pages/compare.py", title="Compare", icon=":material/compare:", default=True),
    st.Page("pages/forward.py", title="Forward", icon=":material/blur_on:"),
    st.Page("pages/training_curves.py", title="Training curves", icon=":material/show_chart:"),
]

st.html("<style>.stMainBlockContainer {padding-top: 4.5rem; padding-bottom: 3rem}</style>")  # less empty space on top
st.navigation(PAGES, position="top").run()
