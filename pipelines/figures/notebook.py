"""Charts in notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .chart import Chart
from .screen import on_screen


@dataclass(frozen=True)
class Shown:
    """A chart as the last line of a notebook's cell, which then shows it."""

    chart: Chart

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return on_screen(self.chart)._repr_mimebundle_()
