"""Charts that are updated in place.

``st.plotly_chart`` rebuilds a chart whenever its data change: it flickers and loses its zoom, hidden curves and hover label.
Here the browser keeps one chart and passes new data to ``Plotly.react``, which preserves the user's changes as long as the
figure's ``layout.uirevision`` stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import plotly
import streamlit as st

from pages.components import frontend
from pages.components.player import frame_shown
from pages.components.saving import save_figure
from pipelines.figures.chart import Chart
from pipelines.figures.screen import as_json, changes, on_screen

_FILES = frontend.served("plotly", Path(plotly.__file__).parent / "package_data")  # where its plotly.min.js is
_component = frontend.component("live_figure", isolate_styles=False)


def live_figure(
    chart: Chart,
    key: str,
    alt: str,
    about: Callable[[], str] = str,
    *,
    follows: str = "",
    frames: Sequence[Chart] = (),
    printed: Chart | None = None,
) -> None:
    """Draw a chart with a menu that saves it, or update the one drawn before under the same ``key`` in place.

    Args:
        chart: fills the width of its container.
        key: must stay the same from run to run.
        alt: what the figure shows, for screen readers.
        about: returns where it comes from, in a sentence, for the caption of the saved figure.
        follows: key of a player, whose frames the figure follows in the browser.
        frames: the chart for each of these frames; they differ in values only.
        printed: what is saved; by default the chart of the frame that is shown.
    """
    _component(
        key=key,
        data={
            "figure": as_json(on_screen(chart)),
            "alt": alt,
            "plotly": f"{frontend.url(_FILES, 'plotly.min.js')}?{plotly.__version__}",
            "follows": follows,
            "frames": as_json(changes(frames)),
        },
    )
    current = frame_shown(follows) if frames else [0]
    charts = frames or [chart]

    def saved() -> Chart:
        return replace(printed or charts[min(current[0], len(charts) - 1)], caption=f"{alt}. {about()}".strip())

    with st.container(horizontal=True, horizontal_alignment="right"):
        save_figure(saved, key)
