"""The dashboard's entry point: ``streamlit run main_interface.py``."""

import logging
import os
from pathlib import Path

import streamlit as st

from pages.components.address import forget_infinite_numbers, page_for_unknown, unused_values_told
from pages.components.back_button import keep_entries_few
from pages.components.lesson_box import close_lesson, end_lesson
from pages.components.pictures import keep_images_sharp
from pages.components.visitors import restrict_server
from pages.components.warming import load_meanwhile
from pipelines.common.command_line import describe
from pipelines.common.public import is_public
from pipelines.common.text import literal

# The networks often share the processor with the user's browser, so idle OpenMP threads sleep rather than spin. OpenMP reads
# this variable when torch is loaded, which happens later.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

FRONTEND = Path(__file__).parent / "pages/components/frontend"
st.set_page_config(page_title="Noisescope", page_icon=FRONTEND / "icon.svg", layout="wide")  # an emoji's would be downloaded

restrict_server()

PAGES = [
    st.Page("pages/home.py", title="Home", icon=":material/home:", default=True),
    st.Page("pages/compare.py", title="Compare", icon=":material/compare:"),
    st.Page("pages/forward.py", title="Forward", icon=":material/blur_on:"),
    st.Page("pages/reverse.py", title="Reverse", icon=":material/movie:"),
    st.Page("pages/generate.py", title="Generate", icon=":material/palette:"),
    st.Page("pages/edit.py", title="Edit", icon=":material/brush:"),
    st.Page("pages/training_curves.py", title="Training curves", icon=":material/show_chart:"),
    st.Page("pages/evaluate.py", title="Evaluate", icon=":material/analytics:"),
    *([] if is_public() else [st.Page("pages/train.py", title="Train", icon=":material/model_training:")]),
    st.Page("pages/glossary.py", title="Glossary", icon=":material/menu_book:"),
]

st.html(FRONTEND / "page.css")
keep_entries_few()
keep_images_sharp()
forget_infinite_numbers()
close_lesson()
page = st.navigation([*PAGES, *page_for_unknown(PAGES)], position="top")
try:
    with unused_values_told():
        page.run()
    end_lesson()
except (ValueError, OSError) as error:  # files that change while a page reads them, say
    logging.getLogger(__name__).exception("the page %s stopped", page.title)
    st.error(literal(f"This page stopped: {describe(error)}. Reload it to try again."))
finally:  # pages may also stop early
    load_meanwhile()
