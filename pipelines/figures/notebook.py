"""Charts in notebooks."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from .chart import Chart
from .screen import on_screen


@dataclass(frozen=True)
class Shown:
    """A chart as the last line of a notebook's cell: it can be zoomed where scripts run, and is a picture elsewhere."""

    chart: Chart

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        import plotly.graph_objects as go

        from .paper import file_content

        picture = b64encode(file_content(self.chart, "png", caption=False)).decode()
        return go.Figure(on_screen(self.chart))._repr_mimebundle_() | {"image/png": picture}
