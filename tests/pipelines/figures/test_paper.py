"""Figures on paper: both renderers show the numbers of one description, and the files are what journals ask for."""

import io
import re
import sys
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations, product

import matplotlib
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib.collections import LineCollection
from matplotlib.text import Text
from PIL import Image

from diffusion_core.choices import SAMPLERS
from pipelines.evaluation.intervals import Estimate
from pipelines.evaluation.ranking import Ranked
from pipelines.figures.chart import Axis, Band, Bars, Chart, Curve, Note, Panel, Rule
from pipelines.figures.cost import quality_against_cost
from pipelines.figures.evaluation import loss_bands, loss_gaps, ranking_bars
from pipelines.figures.formats import KINDS, WIDTHS
from pipelines.figures.paper import file_content, on_paper, print_settings, write_figure
from pipelines.figures.print_axes import log_ticks, short
from pipelines.figures.process import schedule_curves
from pipelines.figures.screen import on_screen
from pipelines.figures.sheet import Row, Sheet
from pipelines.figures.style import COLORS, Look
from pipelines.figures.training import loss_heat_maps, training_curves

RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(1, 100, 12))
Y = RNG.uniform(0.1, 9.0, 12)
LOW, HIGH = Y * 0.9, Y * 1.2
HOSTILE = "_a$b$ <i>%{x}</i> {z}"
CHART = Chart(
    (
        Panel(
            (
                Band(X, LOW, HIGH, "curve", Look("#0072B2")),
                Curve(X, Y, "curve", Look("#0072B2", "dash"), points=True),
                Curve(X, 2 * Y, HOSTILE, Look("#D55E00"), line=False, points=True, y_interval=(LOW, HIGH)),
                Rule(y=3.0, text="floor"),
                Rule(x=50.0),
                Note("aside", y=1.0),
            ),
            Axis("Network calls", log=True),
            Axis("Distance", log=True),
            "Quality",
        ),
        Panel((Bars([0, 1], [1.0, 2.0], "first", Look()), Bars([0, 1], [3.0, 0.5], "second", Look()))),
    ),
    columns=2,
    caption="fashion (weights 0123456789abcdef): seed 7, DDIM, 20 steps.",
)


def texts(svg):
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def test_both_renderers_show_the_numbers_of_the_description():
    screen, paper = go.Figure(on_screen(CHART)), on_paper(CHART)
    drawn, bars = paper.axes
    by_name = {trace.name: trace for trace in screen.data if trace.type == "scatter" and trace.fill is None}
    lines = [line for line in drawn.lines if len(line.get_xdata()) == len(X)]
    for line, mark, trace in zip(lines, CHART.panels[0].marks[1:3], by_name.values(), strict=True):
        assert np.array_equal(line.get_xdata(), mark.x)
        assert np.array_equal(line.get_ydata(), mark.y)
        assert np.array_equal(trace.x, mark.x)
        assert np.array_equal(trace.y, mark.y)
    [intervals] = [part for part in drawn.collections if isinstance(part, LineCollection)]
    segments = np.array(intervals.get_segments())
    assert np.array_equal(segments[:, :, 1], np.stack([LOW, HIGH], axis=1))
    points = list(by_name.values())[1]
    assert np.allclose(np.array(points.y) - points.error_y.arrayminus, LOW)
    assert np.allclose(np.array(points.y) + points.error_y.array, HIGH)
    [band] = [part for part in drawn.collections if not isinstance(part, LineCollection)]
    assert set(np.round(band.get_paths()[0].vertices[:, 1], 9)) == set(np.round([*LOW, *HIGH], 9))
    heights = [(patch.get_y(), patch.get_height()) for patch in bars.patches]
    assert heights == [(0, 1.0), (0, 2.0), (1.0, 3.0), (2.0, 0.5)], "stacked, as Plotly does by itself"
    assert [list(trace.y) for trace in screen.data if trace.type == "bar"] == [[1.0, 2.0], [3.0, 0.5]]
    assert screen.layout.barmode == "stack"
    assert (drawn.get_xlabel(), drawn.get_ylabel()) == ("Network calls", "Distance")
    assert (screen.layout.xaxis.title.text, screen.layout.yaxis.title.text) == ("Network calls", "Distance")
    assert {drawn.get_xscale(), drawn.get_yscale()} == {screen.layout.xaxis.type, screen.layout.yaxis.type} == {"log"}


def test_heat_maps_show_the_losses_of_the_log_on_paper_too():
    rows = pd.DataFrame({"step": [10, 20, 40], "loss_by_timestep": [[1.0, 4.0], [0.5, 2.0], [0.25, 1.0]]})
    chart = loss_heat_maps({"run": rows}, {"run": 1000})
    [mesh] = on_paper(chart).axes[0].collections
    assert np.array_equal(mesh.get_array(), [[1.0, 0.5, 0.25], [4.0, 2.0, 1.0]])
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0.25, 4.0)


@pytest.mark.parametrize("width", WIDTHS)
def test_text_remains_text_and_says_where_a_figure_comes_from(width):
    svg = file_content(CHART, "svg", width)
    told = texts(svg)
    assert {"Network calls", "Distance", "Quality", "floor", "aside", HOSTILE, "first", "second"} <= set(told)
    below = " ".join(told)
    assert all(word in below for word in CHART.caption.split())
    described = re.search(r"<dc:description>(.*?)</dc:description>", svg.decode(), re.DOTALL)
    assert described[1] == CHART.caption
    inches = float(re.search(r'width="([\d.]+)pt"', svg.decode())[1]) / 72
    assert inches == pytest.approx(WIDTHS[width])
    bare = texts(file_content(CHART, "svg", width, caption=False))
    assert not any("0123456789abcdef" in text for text in bare)


def test_a_pdf_embeds_its_font_as_truetype_and_a_png_is_sharp():
    pdf = file_content(CHART, "pdf", "single")
    assert pdf.startswith(b"%PDF-")
    assert b"/FontFile2" in pdf, "an embedded TrueType font"
    assert b"/Type3" not in pdf, "which journals refuse"
    assert b"CreationDate" not in pdf
    with Image.open(io.BytesIO(file_content(CHART, "png", "single"))) as picture:
        assert picture.width == round(WIDTHS["single"] * 300)
        assert picture.info["Description"] == CHART.caption
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        shown = np.asarray(picture.convert("RGB"), float)
    drawn = io.BytesIO()
    with print_settings():
        on_paper(CHART, "single").savefig(drawn, format="png", dpi="figure")
    with Image.open(drawn) as picture:
        exact = np.asarray(picture.convert("RGB"), float)
    assert np.abs(shown - exact).max() <= 4, "a palette of 256 colours, which nobody sees"


def measured(runs, samplers):
    """A table of samples of each run and sampler, as an evaluation makes it."""
    rows = [
        {"run": run, "sampler": sampler, "network_calls": calls, "frechet_distance": (5 + number) / calls**0.5}
        for run in runs
        for number, sampler in enumerate(samplers)
        for calls in (5, 8, 10, 15, 20, 50, 1000)
    ]
    table = pd.DataFrame(rows).assign(
        student=False, spacing="trailing", guidance=1.0, images=500, seed=0, machine="AMD", frechet_distance_decoded=np.nan
    )
    ends = {f"frechet_distance_{end}": table["frechet_distance"] * by for end, by in (("low", 0.8), ("high", 1.2))}
    return table.assign(**ends, frechet_distance_floor=0.2)


def shown_texts(figure):
    """What a reader sees of a figure's texts; ticks beyond the ends of an axis have labels that are not drawn."""
    hidden = set()
    for axes in figure.axes:
        for which, (axis, (low, high)) in enumerate(((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))):
            hidden |= {label for label in axis.get_ticklabels() if not low <= label.get_position()[which] <= high}
            hidden |= set(axis.get_ticklabels()) if not axis.get_visible() or not axes.axison else set()
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in hidden]


def test_no_text_is_small_or_cut_off_or_lies_on_another():
    """At both widths, of curves whose names and numbers are long."""
    steps = np.arange(1, 30_000, 1000.0)
    table = pd.DataFrame({"step": steps, "loss": 0.1 + 1 / steps, "val_loss": 0.1085 + 1e-3 / steps})
    tables = dict.fromkeys([f"flowers-attention-64-with-a-long-name-{number}" for number in range(3)], table)
    found = {name: {"timesteps": X, "mean": Y, "low": LOW, "high": HIGH} for name in tables}
    schedules = {name: {"alpha": Y / 9, "beta": Y / 1e4} for name in ("cosine", "linear")}
    gaps = {name: pd.DataFrame({"timestep": X, "difference": Y, "low": LOW, "high": HIGH}) for name in "abcd"}
    short = training_curves(dict.fromkeys(("one", "two", "three"), table), ("loss", "val_loss"), log=("y",))
    charts = (
        training_curves(tables, ("loss", "val_loss"), log=("y",)),
        replace(short, end_labels=True),
        loss_bands(found),
        loss_gaps(gaps, "first", ["first", *gaps]),
        schedule_curves(schedules, 3),
        quality_against_cost(
            measured(["fashion-baseline", "fashion-attention"], list(SAMPLERS)[:9]), "frechet_distance", "network_calls"
        ),
        ranking_bars([Ranked(name, Estimate(4.4, 4.0, 5.2), real=3.7) for name in tables], "frechet_distance", list(tables)),
        Chart(
            (Panel((Curve(X, Y, "a"),), Axis("steps"), Axis("loss minus that of a run with a long name", log=True), height=90),)
        ),
    )
    for chart, width in product(charts, WIDTHS):
        figure = on_paper(replace(chart, caption=CHART.caption), width)
        figure.draw_without_rendering()
        shown = shown_texts(figure)
        assert {text.get_text() for text in shown} >= {
            name for name in chart.entries if name.startswith(("flowers", "one", "a"))
        }
        rules = {mark.text for panel in chart.panels for mark in panel.marks if isinstance(mark, Rule)}
        assert rules - {""} <= {text.get_text() for text in shown}
        assert min(text.get_fontsize() for text in shown) >= 7
        boxes = [(text.get_window_extent(), text.get_text()) for text in shown]
        assert not [(one[1], other[1]) for one, other in combinations(boxes, 2) if one[0].overlaps(other[0])]
        frame = figure.bbox.padded(1)
        assert all(frame.contains(*corner) for box, _ in boxes for corner in (box.min, box.max))
        for legend in figure.legends:
            assert legend.get_window_extent().y0 >= max(axes.get_window_extent().y1 for axes in figure.axes)


def test_curves_are_named_at_their_ends_where_there_is_room():
    curves = tuple(
        Curve([0.0, 1.0], [0.0, end], f"run {number}", Look("#0072B2")) for number, end in enumerate((1.0, 1.01, 3.0))
    )
    chart = Chart((Panel(curves, Axis("step"), Axis("loss")),), end_labels=True)
    figure = on_paper(chart)
    figure.draw_without_rendering()
    names = sorted((text for text in shown_texts(figure) if text.get_text() in chart.entries), key=lambda text: text.xy[1])
    assert not figure.legends
    assert [text.get_text() for text in names] == ["run 0", "run 1", "run 2"], "in the order of the curves' ends"
    heights = [text.get_window_extent() for text in names]
    ends = [figure.axes[0].transData.transform(text.xy)[1] for text in names]
    assert heights[1].y0 >= heights[0].y1
    assert np.mean([box.y0 + box.y1 for box in heights[:2]]) / 2 == pytest.approx(np.mean(ends[:2]), abs=4), "moved alike"
    assert (heights[2].y0 + heights[2].y1) / 2 == pytest.approx(ends[2], abs=4), "not moved"
    long = tuple(replace(curve, name=f"{curve.name} {'with a long name' * 3}") for curve in curves)
    for crowded in (long, tuple(replace(curves[0], name=str(number)) for number in range(40))):
        figure = on_paper(Chart((Panel(crowded),), end_labels=True))
        assert len(figure.legends[0].get_texts()) == len(crowded)


def test_a_printed_key_says_what_colours_and_symbols_are_once():
    names = list(SAMPLERS)[: len(COLORS)]
    table = measured(["fashion-baseline", "fashion-attention"], names)
    chart = quality_against_cost(table, "frechet_distance", "network_calls")
    told = [text.get_text() for text in on_paper(chart).legends[0].get_texts()]
    front = ["Pareto front", "real against real"]
    assert told == ["fashion-baseline", "fashion-attention", *(SAMPLERS[name].title for name in names), *front]
    curves = {mark.name: mark.look for mark in chart.panels[0].marks if isinstance(mark, Curve)}
    for key in chart.key[:-1]:
        alike = {
            look.color if key.name not in table["run"].values else look.symbol
            for name, look in curves.items()
            if key.name in name.split(", ")
        }
        assert alike == {key.look.color if key.name not in table["run"].values else key.look.symbol}
    several = quality_against_cost(pd.concat([table, table.assign(guidance=2.0)]), "frechet_distance", "network_calls")
    assert not several.key, "which could not say what guidance a point has"


def test_the_same_figure_is_the_same_file_in_any_thread():
    """Many threads of a server draw at once; each gets what it would have got alone, and settings of the process stay."""
    charts = [replace(CHART, caption=f"number {number}") for number in range(2)]
    jobs = [(chart, kind) for chart in charts for kind in KINDS]
    alone = [file_content(*job) for job in jobs]
    before = dict(matplotlib.rcParams)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda job: file_content(*job), jobs)) == alone
    assert dict(matplotlib.rcParams) == before
    assert len(set(alone)) == len(jobs)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_a_sheet_holds_the_very_pictures_with_their_labels():
    pictures = RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)
    grey = RNG.integers(0, 256, (4, 8, 8, 1), np.uint8)
    sheet = Sheet((Row("t = 999", pictures[:3]), Row("two lines", grey)), 3, ("a", "b", "c"), "where from")
    for width in WIDTHS:
        images = [image.get_array() for image in on_paper(sheet, width).axes[0].images]
        shown = [*pictures[:3], *(np.repeat(picture, 3, axis=2) for picture in grey)]
        for image, picture in zip(images, shown, strict=True):
            factor = image.shape[0] // 8
            assert np.array_equal(image, picture.repeat(factor, 0).repeat(factor, 1))
    told = texts(file_content(sheet, "svg"))
    assert told == ["a", "b", "c", "t = 999", "two lines", "where from"]


def test_a_file_of_another_kind_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"figures are written as \.pdf, \.svg, \.png"):
        write_figure(CHART, tmp_path / "figure.gif")
    assert not list(tmp_path.iterdir())


def test_logarithmic_axes_have_two_to_six_labels_of_few_digits():
    for decades in (0.02, 0.1, 0.5, 1, 2, 3, 5, 12):
        for low in (1e-6, 0.105, 3.0, 700.0):
            ticks = log_ticks(low, low * 10**decades, 6)
            assert 2 <= len(ticks) <= 6
            assert all(low <= tick <= low * 10**decades * (1 + 1e-9) for tick in ticks)
    assert [short(value, 20_000) for value in (0, 2000, 20_000)] == ["0", "2k", "20k"]
    assert [short(value) for value in (-0.05, 1000, 0.1 + 0.2)] == ["−0.05", "1000", "0.3"]
