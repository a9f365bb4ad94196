"""Plotly figures that are updated in place.

``st.plotly_chart`` builds a chart anew whenever its data change: it blinks, and zoom, hidden curves and the hover label are
lost. Here the browser keeps one chart and hands new data to ``Plotly.react``, which keeps what a person did to the chart for
as long as the figure's ``layout.uirevision`` stays the same.
"""

from __future__ import annotations

from pathlib import Path

import plotly
import plotly.graph_objects as go
import streamlit as st
from streamlit.components.v1 import declare_component

from pages.components import frontend

# Registered for its side effect alone: Streamlit now serves the plotly.min.js that comes with the plotly package.
_FILES = declare_component("plotly", path=str(Path(plotly.__file__).parent / "package_data"))
_component = frontend.component("live_figure", isolate_styles=False)


def live_figure(figure: go.Figure, key: str, alt: str) -> None:
    """Draw a figure, or update the one drawn before under the same ``key`` in place.

    Args:
        figure: its ``layout.height`` is the height in CSS pixels; its width is the place's.
        key: must stay the same from run to run.
        alt: what the figure shows, for screen readers.
    """
    base = st.get_option("server.baseUrlPath").strip("/")
    url = f"{'/' if base else ''}{base}/component/{_FILES.name}/plotly.min.js?{plotly.__version__}"
    _component(key=key, data={"figure": figure.to_json(), "alt": alt, "plotly": url})
