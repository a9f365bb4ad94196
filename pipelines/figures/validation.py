"""The chart of validation losses, and of their differences from the first run's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ..evaluation.distances import CLOSEST
from ..evaluation.intervals import Estimate, decimals
from ..evaluation.logged import ALONG, Log, gap, unlike
from .chart import Axis, Band, Chart, Curve, Mark, Panel, Rule
from .style import MARKING, Look, line_styles
from .training import AXES, QUANTITIES, along, numbers, settled_limits

FEW = 30  # validations, which are marked by points
DIFFERENCE = "Difference from"  # a run
COPIES = "Samples near training images in %"


def validation_curves(
    logs: Sequence[Log], axis: str = "step", log: Collection[str] = (), groups: Mapping[str, str] | None = None
) -> Chart:
    """Describe the validation loss over training, and below it how the loss of each run differs from that of the first.

    Where samples were compared with training images at each validation, the share that is close to one comes last.

    The scales leave out the beginning of training (:func:`settled_limits`). Differences are drawn where both runs were
    validated, along steps or images, of runs that can be compared with the first (:func:`pipelines.evaluation.logged.unlike`).

    Args:
        axis: a key of AXES.
        log: "x" and "y" for logarithmic axes; differences are on a linear scale.
        groups: runs of the same group share a colour (:func:`line_styles`).
    """
    styles = line_styles([one.name for one in logs], groups)
    labels = _labels(logs, groups)
    across = Axis(AXES[axis], log="x" in log)
    curves = []
    for one in logs:
        rows = one.validations(axis)
        x, y = along(rows, axis), numbers(rows, "val_loss")
        if len(x):
            curves.append(Curve(x, y, labels[one.name], styles[one.name], points=len(x) <= FEW))
    if not curves:
        return Chart(())
    limits = settled_limits([(curve.x, curve.y) for curve in curves], "y" in log)
    panels = [Panel(tuple(curves), across, Axis(log="y" in log, limits=limits), QUANTITIES["val_loss"], height=250)]
    comparable = [one for one in logs[1:] if axis in ALONG and not unlike(one.config, logs[0].config)]
    gaps = {one.name: table for one in comparable if len(table := gap(one, logs[0], axis))}
    if gaps:
        marks: list[Mark] = [Rule(y=0, look=replace(styles[logs[0].name], width=1.5))]
        for name, table in gaps.items():
            marks += _difference(table, axis, labels[name], styles[name])
        ends = [(table[axis], table[end].fillna(table["difference"])) for table in gaps.values() for end in ("low", "high")]
        limits = settled_limits([*ends, ([1.0], [0.0])])  # 0 is always in sight
        title = f"{DIFFERENCE} {labels[logs[0].name]}"
        panels.append(Panel(tuple(marks), across, Axis(limits=limits), title, height=130))
    if copies := [mark for one in logs for mark in _copies(one, axis, labels[one.name], styles[one.name])]:
        usual = Rule(y=100 * CLOSEST, look=replace(MARKING, width=1))
        panels.append(Panel((usual, *copies), across, Axis(from_zero=True), COPIES, height=110))
    return Chart(tuple(panels), shared_x=True, end_labels=True, hover="x unified", zoom=(axis, sorted(log)))


def _copies(log: Log, axis: str, name: str, look: Look) -> Iterator[Mark]:
    """Yield the share of samples that are close to a training image, with the band of its interval, if it was logged."""
    rows = log.validations(axis)
    rows = rows[np.isfinite(numbers(rows, "closer_than_held_out"))]
    if len(rows):
        x, shares = along(rows, axis), numbers(rows, "closer_than_held_out")
        if log.config is not None and (count := log.config.log.compared_samples):
            intervals = [Estimate.of_share(share, count) for share in shares]
            low, high = (np.array([100 * getattr(one, end) for one in intervals]) for end in ("low", "high"))
            yield Band(x, low, high, name, look)
        yield Curve(x, 100 * shares, name, look, points=len(x) <= FEW)


def _labels(logs: Sequence[Log], groups: Mapping[str, str] | None) -> dict[str, str]:
    """Return the name of each run's curves, with its group."""
    return {one.name: f"{one.name} ({groups[one.name]})" if groups else one.name for one in logs}


def at_steps(
    chart: Chart,
    logs: Sequence[Log],
    steps: Mapping[int, Mapping[str, int]],
    axis: str = "step",
    groups: Mapping[str, str] | None = None,
) -> list[Chart]:
    """Return a chart of :func:`validation_curves` once for each of some training steps, which it marks.

    Args:
        steps: for each of them, the own step of every run, by name, of which something is shown beside the chart: a dot is at
            the last validation up to it.
    """
    labels = _labels(logs, groups)
    frames = []
    for step, own in steps.items():
        rules: list[Mark] = [Rule(x=step)] if axis == "step" else []
        reached = {labels[one.name]: _place(one, own.get(one.name), axis) for one in logs}
        panels = (
            replace(
                panel, marks=(*panel.marks, *rules, *(_dot(mark, reached) for mark in panel.marks if isinstance(mark, Curve)))
            )
            for panel in chart.panels
        )
        frames.append(replace(chart, panels=tuple(panels)))
    return frames


def _place(log: Log, step: int | None, axis: str) -> float:
    """Return where on an axis a run was at a step; before the beginning if it is None."""
    at = along(log.table, axis)[numbers(log.table, "step") <= (-1 if step is None else step)]
    return float(np.max(at, initial=-np.inf, where=np.isfinite(at)))


def _dot(curve: Curve, reached: Mapping[str, float]) -> Curve:
    """Return a dot on a curve, at its last point up to the place that its run has reached."""
    before = np.flatnonzero(np.asarray(curve.x) <= reached[curve.name])
    x, y = (float(values[before[-1]]) if len(before) else np.nan for values in (curve.x, curve.y))
    return Curve([x], [y], curve.name, replace(curve.look, size=10), line=False, points=True, quiet=True)


def leaves_out(chart: Chart) -> bool:
    """Return whether the scale of a panel leaves out some of a curve."""
    drawn = [(panel.y.limits, np.asarray(mark.y)) for panel in chart.panels for mark in panel.marks if isinstance(mark, Curve)]
    return any(bool(((y < limits[0]) | (y > limits[1])).any()) for limits, y in drawn if limits is not None)


def _difference(table: pd.DataFrame, axis: str, name: str, look: Look) -> Iterator[Mark]:
    """Yield a curve of differences, and the band of their intervals where they have them."""
    measured = table.dropna()
    if len(measured):
        x, low, high = (measured[column].to_numpy() for column in (axis, "low", "high"))
        yield Band(x, low, high, name, look)
    about = []
    for _, row in table.iterrows():
        digits = decimals(row["high"] - row["low"]) if row["low"] < row["high"] else 4
        interval = f" ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})" if row["low"] <= row["high"] else ""
        about.append(f"{name}: {row['difference']:+.{digits}f}{interval}")
    yield Curve(table[axis].to_numpy(), table["difference"].to_numpy(), name, look, points=len(table) <= FEW, about=about)
