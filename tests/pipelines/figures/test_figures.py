import json
import re
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from pipelines.evaluation.logged import Log
from pipelines.figures import sampling as sampling_figures
from pipelines.figures import style
from pipelines.figures import training as training_figures
from pipelines.figures.chart import Chart, Curve, Panel, Rule
from pipelines.figures.cost import quality_against_cost
from pipelines.figures.process import pixel_histograms, schedule_curves
from pipelines.figures.screen import as_json, changes, on_screen
from pipelines.figures.style import decimate, line_styles
from pipelines.figures.training import (
    envelope,
    loss_by_timestep,
    loss_heat_maps,
    settings_table,
    settled_limits,
    smooth,
    training_curves,
    validations_by_timestep,
)
from pipelines.figures.validation import COPIES, at_steps, validation_curves
from pipelines.storage.config import OptimizerConfig, RunConfig


def plotted(chart):
    """A chart as Plotly understands it, which refuses what it does not know."""
    return go.Figure(on_screen(chart))


def test_smoothing_a_constant_changes_nothing():
    x = np.sort(np.random.default_rng(0).uniform(0, 100, 50))
    assert np.allclose(smooth(x, np.full(50, 3.0), 7.0), 3.0)


def test_half_life_zero_returns_the_values():
    y = np.random.default_rng(0).normal(size=20)
    assert np.array_equal(smooth(np.arange(20.0), y, 0.0), y)


def test_a_step_is_half_followed_after_one_half_life():
    x = np.arange(20_000.0)
    y = (x >= 10_000).astype(float)
    assert smooth(x, y, 500.0)[10_500 - 1] == pytest.approx(0.5, abs=1e-3)


def test_smoothing_scales_with_the_axis():
    y = np.random.default_rng(0).normal(size=100)
    x = np.arange(100.0)
    assert np.allclose(smooth(x, y, 5.0), smooth(64 * x, y, 64 * 5.0))


def test_values_that_are_not_finite_are_passed_over():
    smoothed = smooth(np.arange(5.0), np.array([1.0, np.nan, 1.0, np.inf, 1.0]), 2.0)
    assert np.allclose(smoothed, 1.0)


@pytest.mark.parametrize("count", [1, 2, 1999, 2000, 2001, 54_321])
def test_decimation_keeps_both_ends_and_the_order(count):
    shown = decimate(count)
    assert shown[0] == 0
    assert shown[-1] == count - 1
    assert len(shown) == min(count, style.MAX_POINTS)
    assert (np.diff(shown) > 0).all()


@pytest.mark.parametrize("drawn", [2, 11, 500, 5001])
def test_smoothing_does_not_change_with_decimation(monkeypatch, drawn):
    """Every drawn point is the smoothed value of all points before it, however many points are drawn."""
    steps, losses = np.arange(5001.0), np.random.default_rng(0).normal(1, 0.1, 5001)
    monkeypatch.setattr("pipelines.figures.style.MAX_POINTS", drawn)
    curve = plotted(training_curves({"run": pd.DataFrame({"step": steps, "loss": losses})}, smoothing=0.02)).data[-1]
    assert len(curve.x) == drawn
    assert np.array_equal(curve.y, smooth(steps, losses, 100.0)[np.asarray(curve.x, int)])


def test_smoothing_is_the_weighted_average_of_what_came_before():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(5, 100, 40)), rng.normal(size=40)
    weights = np.tril(np.exp2(-(x[:, None] - x[None, :]).clip(0) / 7.0))
    assert np.allclose(smooth(x, y, 7.0), weights @ y / weights.sum(1))


@pytest.mark.parametrize("count", [1, 1999, 2001, 54_321, 1_000_000])
def test_no_spike_is_lost_when_a_long_curve_is_thinned_out(count):
    values = np.random.default_rng(count).normal(size=count)
    up, down = count // 3, count // 2
    values[up], values[down] = 100.0, -100.0
    shown = envelope(values)
    assert {0, up, down, count - 1} <= set(shown.tolist())
    assert (np.diff(shown) > 0).all()
    assert len(shown) <= style.MAX_POINTS + 2


def test_every_run_keeps_its_colour_when_another_has_nothing_to_show():
    full = pd.DataFrame({"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0]})
    figure = plotted(training_curves({"empty": pd.DataFrame(), "full": full}))
    assert [trace.name for trace in figure.data] == ["full"]
    assert figure.data[0].line.color == style.color(1)


def test_a_group_shares_its_colour_and_its_runs_differ_in_dashes():
    styles = line_styles(["a", "b", "c"], {"a": "low", "b": "high", "c": "low"})
    assert styles["a"].color == styles["c"].color != styles["b"].color
    assert styles["a"].dash != styles["c"].dash


def test_twenty_eight_runs_look_different():
    styles = line_styles([str(number) for number in range(28)])
    assert len({(style.color, style.dash) for style in styles.values()}) == 28


def test_quantities_share_the_axis_and_only_noisy_ones_are_smoothed():
    table = pd.DataFrame({"step": range(1, 101), "loss": 1.0, "lr": 1e-3, "seconds": np.arange(100) * 60.0})
    figure = plotted(training_curves({"run": table}, ("loss", "lr"), axis="seconds", smoothing=0.1, log=("y",)))
    assert [trace.opacity for trace in figure.data] == [0.3, None, None]  # loss raw, loss smoothed, learning rate as it is
    assert figure.data[0].x[-1] == 99  # minutes
    assert figure.layout.xaxis.matches == "x2"
    assert (figure.layout.yaxis.type, figure.layout.yaxis2.type) == ("log", "linear")


def test_a_zoom_survives_new_data_but_not_another_axis():
    table = pd.DataFrame({"step": [1, 2], "images_seen": [64, 128], "loss": [1.0, 0.5]})
    first = plotted(training_curves({"run": table[:1]}))
    assert plotted(training_curves({"run": table})).layout.uirevision == first.layout.uirevision
    assert plotted(training_curves({"run": table}, axis="images_seen")).layout.uirevision != first.layout.uirevision
    assert plotted(training_curves({"run": table}, log=("x",))).layout.uirevision != first.layout.uirevision


def test_rows_that_are_no_numbers_or_out_of_order_are_put_right():
    table = pd.DataFrame({"step": [3, 1, 2, None, 4], "loss": [0.3, 0.1, "x", 0.5, [1]]})
    trace = plotted(training_curves({"run": table})).data[0]
    assert list(trace.x) == [1, 3]
    assert list(trace.y) == [0.1, 0.3]


def test_loss_by_timestep_covers_the_schedule():
    trace = plotted(loss_by_timestep({"run": [0.1] * 20}, {"run": 1000})).data[0]
    assert trace.x[0] == 25
    assert trace.x[-1] == 975


def test_the_heat_map_shows_the_loss_of_each_validation_and_timestep():
    rows = [{"step": 10 * i, "loss": 1.0} | ({"loss_by_timestep": [0.1 * i, 0.01 * i]} if i % 2 else {}) for i in range(1, 6)]
    heat = plotted(loss_heat_maps({"run": pd.DataFrame(rows)}, {"run": 1000})).data[0]
    assert list(heat.x) == [10, 30, 50]
    assert list(heat.y) == [250, 750]
    assert np.allclose(10 ** np.array(heat.z), [[0.1, 0.3, 0.5], [0.01, 0.03, 0.05]])
    relative = plotted(loss_heat_maps({"run": pd.DataFrame(rows)}, {"run": 1000}, relative=True)).data[0]
    assert np.allclose(10 ** np.array(relative.z), [[0.2, 0.6, 1.0]] * 2)


def test_heat_maps_share_their_colours_and_thin_out_long_logs():
    short = pd.DataFrame({"step": [1], "loss_by_timestep": [[1.0, 2.0]]})
    long = pd.DataFrame({"step": range(3000), "loss_by_timestep": [[0.5, 4.0]] * 3000})
    figure = plotted(loss_heat_maps({"short": short, "long": long}, {"short": 1000, "long": 100}))
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == pytest.approx((np.log10(0.5), np.log10(4.0)))
    assert len(figure.data[1].x) == training_figures.MAX_COLUMNS


def test_foreign_losses_by_timestep_are_passed_over():
    losses = [None, 0.5, [1.0], [], "x", [1.0, 2.0], [3.0, 4.0]]
    rows = validations_by_timestep(pd.DataFrame({"step": range(7), "loss_by_timestep": losses}))
    assert rows["step"].tolist() == [5, 6]
    assert validations_by_timestep(pd.DataFrame({"step": [1]})).empty
    assert validations_by_timestep(pd.DataFrame()).empty


def test_only_settings_that_differ_are_listed():
    configs = {
        "a": asdict(RunConfig(versions={"torch": "2.11"})),
        "b": asdict(RunConfig(optimizer=OptimizerConfig(lr=0.5), versions={"torch": "2.12", "numpy": "2.4"})),
    }
    table = settings_table(configs)
    assert table.loc["optimizer.lr"].tolist() == ["0.001", "0.5"]
    assert table.loc["versions.torch"].tolist() == ["2.11", "2.12"]
    assert table.loc["versions.numpy"].tolist() == ["–", "2.4"]
    assert "optimizer.steps" not in table.index
    everything = settings_table(configs, only_differences=False)
    assert everything.loc["network.channels", "a"] == "64, 128, 128"
    assert settings_table({"a": configs["a"]}).empty
    some = {"a": {"images": 25, "version": "2.0"}, "b": {"images": None, "version": "2.1"}}
    assert settings_table(some).T.to_numpy().tolist() == [["25", "2.0"], ["–", "2.1"]], "a whole number stays one"


def test_long_lists_that_differ_are_told_by_their_length():
    names = {name: {"classes": tuple(f"{name}{number}" for number in range(90)), "digest": 300 * name} for name in "ab"}
    table = settings_table(names)
    assert table.loc["classes"].tolist() == ["90 values", "90 values"], "as many, but others"
    assert table.loc["digest", "a"].endswith("…")
    assert settings_table({"a": names["a"], "b": names["a"]}).empty


@pytest.mark.parametrize("log", [False, True])
def test_scales_leave_out_the_beginning_and_show_everything_after(log):
    x = np.arange(1.0, 101.0)
    y = np.where(x < 10, 100 / x, 1 + 1 / x)
    low, high = settled_limits([(x, y), (x / 2, y + 0.5)], log)
    assert low < y[9:].min() < y[9:].max() + 0.5 < high < y[:9].min()
    assert settled_limits([]) is None
    assert settled_limits([([1.0], [np.nan])], log) is None
    assert settled_limits([([5.0], [0.0])]) == (-1.0, 1.0), "one validation"


TABLES = {
    "alpha": np.array([1.0, 0.5, 0.0]),
    "sigma": np.array([0.01, 0.5, 1.0]),
    "log-SNR": np.array([4.0, 0.0, -np.inf]),
    "beta": np.array([0.1, 0.5, 1.0]),
}


@pytest.mark.parametrize("axis", ["step", "images_seen", "seconds"])
def test_a_step_is_marked_on_every_curve_at_the_last_validation_up_to_it(axis):
    def log(name, batch, every):
        steps = np.arange(10, 200, 10)
        losses = np.where(steps % every == 0, 1 / steps, np.nan)
        return Log(name, RunConfig(image_shape=(1, 8, 8)), pd.DataFrame(
            {"step": steps, "images_seen": batch * steps, "seconds": steps / batch, "val_loss": losses}
        ))  # fmt: skip

    logs, units = [log("a", 8, 30), log("b", 16, 50)], {"seconds": 60}.get(axis, 1)
    steps = {20: {"a": 20}, 95: {"a": 60, "b": 95}, 400: {"a": 170, "b": 400}}
    logs[0].table["closer_than_held_out"] = logs[0].table["val_loss"] / 2  # only this one compared its samples
    chart = validation_curves(logs, axis)
    assert chart.panels[-1].title == COPIES
    assert [100 * loss / 2 for loss in chart.panels[0].marks[0].y] == pytest.approx(list(chart.panels[-1].marks[-1].y))
    for (step, own), frame in zip(steps.items(), at_steps(chart, logs, steps, axis), strict=True):
        for panel, plain in zip(frame.panels, chart.panels, strict=True):
            added = panel.marks[len(plain.marks) :]
            rules = [mark.x for mark in added if isinstance(mark, Rule)]
            assert rules == [step] * (axis == "step"), "along other axes every run is at a place of its own"
            curves = {mark.name: mark for mark in plain.marks if isinstance(mark, Curve)}
            dots = {mark.name: (mark.x[0], mark.y[0]) for mark in added if isinstance(mark, Curve)}
            assert dots.keys() == curves.keys()
            for one in logs:
                curve = curves.get(one.name)
                reached = one.table[axis][one.table["step"] <= own.get(one.name, 0)].max() / units
                points = [] if curve is None else [point for point in zip(curve.x, curve.y, strict=True) if point[0] <= reached]
                if curve is not None:
                    assert np.array_equal(dots[one.name], points[-1] if points else (np.nan, np.nan), equal_nan=True)


def test_schedule_curves_mark_t_on_every_curve():
    figure = plotted(schedule_curves({"A: flow": TABLES, "B: flow": TABLES}, marked=1))
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert len(dots) == 8
    assert {trace.x[0] for trace in dots} == {1}
    assert [trace.y[0] for trace in dots[::2]] == [0.5, 0.5, 0.0, 0.5]
    assert figure.layout.yaxis4.type == "log"


def test_schedule_curves_survive_zero_terminal_snr():
    figure = plotted(schedule_curves({"flow": TABLES}, marked=2))
    assert np.isnan(figure.data[4].y[-1])


def test_the_histogram_of_standard_noise_follows_its_density():
    noise = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    bars, curve, *others = plotted(pixel_histograms({"A": noise, "B": 0 * noise})).data
    assert np.abs(np.array(bars.y)[1:-1] - np.array(curve.y)[1:-1]).max() < 0.02
    assert len(others) == 2


def test_step_lengths_mark_the_steps_taken():
    figure = plotted(
        sampling_figures.step_lengths({"state": np.array([3.0, 2.0, 1.0]), "estimate": np.array([0.5, 0.25])}, marked=2)
    )
    state, estimate = figure.data
    assert (list(state.x), list(state.y)) == ([1, 2, 3], [3, 2, 1])
    assert list(estimate.x) == [1, 2]
    assert figure.layout.shapes[0].x0 == figure.layout.shapes[0].x1 == 2
    low, high = figure.layout.xaxis.range
    assert low < 0 < 3 < high  # both ends can be marked
    assert not plotted(sampling_figures.step_lengths({"one step": np.array([1.0]), "none": np.array([])})).layout.shapes


def test_an_error_that_falls_with_its_order_is_told_as_such():
    errors = {"first": {5: 9.0, 10: 1.0, 20: 0.5, 40: 0.25}, "second": {10: 1.0, 20: 0.25, 40: 0.0625}, "one": {7: 0.1}}
    figure = plotted(sampling_figures.convergence(errors))
    names = [curve.name for curve in figure.data]
    assert names[:2] == ["first: falls with calls^-1.0", "second: falls with calls^-2.0"]
    assert list(figure.data[0].x) == [5, 10, 20, 40]
    assert list(figure.data[0].y) == [9.0, 1.0, 0.5, 0.25]
    assert names[2] == "one"


def test_traces_keep_their_identity_whatever_runs_are_called():
    """A regression: Plotly builds CSS selectors from the name, so "LoRA, rank 16" or "runs/mine" had no image."""
    table = pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5], "val_loss": [1.0, 0.5]})
    names = ("LoRA, rank 16", "runs/mine", "runs-mine", '1st: "quoted"')
    figure = plotted(training_curves(dict.fromkeys(names, table), ("loss", "val_loss"), smoothing=0.5))
    identities = [trace.uid for trace in figure.data]
    assert len(set(identities)) == len(identities) == 4 * 3
    assert all(re.fullmatch(r"[a-zA-Z][\w-]*", identity) for identity in identities)
    again = plotted(training_curves({names[1]: table}, ("loss", "val_loss"), smoothing=0.5))
    assert {trace.uid for trace in again.data} < set(identities)


def test_what_one_run_was_asked_for_is_told_apart_at_the_calls_it_took():
    measured = {
        "run": "a",
        "student": False,
        "sampler": "ddim",
        "spacing": "trailing",
        "images": 100,
        "seed": 0,
        "frechet_distance": 2.0,
        "frechet_distance_floor": 1.0,
    }
    measured |= {"frechet_distance_low": 1.5, "frechet_distance_high": 2.5, "frechet_distance_decoded": 1.2}
    table = pd.DataFrame([measured | {"guidance": guidance, "network_calls": calls} for guidance, calls in ((1, 20), (2, 40))])
    figure = plotted(quality_against_cost(table, "frechet_distance", "network_calls"))
    assert len({(points.line.color, points.marker.symbol) for points in figure.data if points.mode == "lines+markers"}) == 2
    assert figure.layout.xaxis.tickvals == (20, 40)
    assert {line.y0 for line in figure.layout.shapes} == {1.0, 1.2}, "what real images score, also after the autoencoder"
    other = table.assign(run="b", frechet_distance_floor=0.9, frechet_distance_decoded=1.1)
    figure = plotted(quality_against_cost(pd.concat([table, other]), "frechet_distance", "network_calls"))
    assert {line.y0 for line in figure.layout.shapes} == {0.9, 1.0, 1.1, 1.2}
    told = [line.name for line in figure.layout.shapes if line.showlegend]
    assert told == ["real against real", "real, after the autoencoder"], "once each"
    assert not figure.layout.annotations, "which could lie on points"


def test_a_legend_explains_a_key_where_there_is_one():
    curves = tuple(Curve([1.0, 2.0], [number, 2.0], f"{run}, {kind}") for number, (run, kind) in enumerate(product("ab", "xy")))
    chart = Chart((Panel(curves),), key=tuple(Curve([], [], name) for name in "abxy"))
    figure = plotted(chart)
    assert [trace.name for trace in figure.data if trace.showlegend] == list("abxy")
    assert len({trace.uid for trace in figure.data}) == 8
    assert not figure.layout.legend.itemclick, "an entry is of no single curve"
    assert [trace.name for trace in plotted(replace(chart, key=())).data if trace.showlegend] == [
        curve.name for curve in curves
    ]


def _schedules(t):
    return schedule_curves({"A": {"alpha": np.linspace(1, 0, 9), "log-SNR": np.linspace(9, -np.inf, 9)}}, t)


def _histograms(t):
    return pixel_histograms({name: np.random.default_rng(0).normal(size=99).astype(np.float32) * t for name in "AB"})


@pytest.mark.parametrize("chart_at", [_schedules, _histograms, lambda t: sampling_figures.step_lengths({"x": np.ones(9)}, t)])
def test_the_changes_between_charts_turn_each_into_every_other(chart_at):
    charts = [chart_at(t) for t in (1, 4, 8)]
    for change, chart in zip(changes(charts), charts, strict=True):
        figure, expected = plotted(charts[0]), plotted(chart)
        for place, trace in enumerate(change["traces"]):
            figure.data[trace].update({axis: values[place] for axis, values in change["data"].items()})
        for path, value in change["layout"].items():
            figure.layout[path.split(".")[0]].update({path.split(".")[1]: value})
        assert figure.layout == expected.layout
        for one, other in zip(figure.data, expected.data, strict=True):
            assert all(np.array_equal(np.asarray(one[axis], float), other[axis], equal_nan=True) for axis in "xy")
        assert len(change["traces"]) < len(figure.data), "curves that stay are not sent again"


def test_what_the_browser_gets_is_json_with_the_same_numbers():
    """Arrays in Plotly's compact form; what is not finite is null, because JSON has no word for it."""
    heat = loss_heat_maps({"run": pd.DataFrame([{"step": 1, "loss_by_timestep": [0.1, 0.0]}])}, {"run": 1000})
    curves = schedule_curves({"A": {"alpha": np.linspace(1, 0, 9), "log-SNR": np.linspace(9, -np.inf, 9)}}, 2)
    for chart in (heat, curves):
        read = go.Figure(json.loads(as_json(on_screen(chart)), parse_constant=pytest.fail))
        assert read.to_json() == plotted(chart).to_json()
    assert as_json({"a": [np.float64(1), np.int64(2), float("nan"), -np.inf]}) == '{"a": [1.0, 2, null, null]}'
