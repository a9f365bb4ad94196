"""What a person does on the Training curves page, done by a real browser; one of the runs is being trained meanwhile."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from pipelines.common.images import montage, png_bytes
from pipelines.storage.run import Run

from .conftest import SCREENS, refuse_sideways_scrolling, screen, settle, take_screenshots, wait_until

CURVES = ".live-figure >> nth=0"
WATCH = """() => {
  const figure = document.querySelector(".live-figure"), seen = { blinks: 0, faintest: 1, heights: new Set(), running: true }
  figure.marked = true
  const look = () => {
    const now = document.querySelector(".live-figure")
    if (!now?.marked || !now.querySelector(".main-svg .lines")) seen.blinks++
    else {
      seen.heights.add(now.offsetHeight)
      for (let node = now; node; node = node.parentElement)
        seen.faintest = Math.min(seen.faintest, Number(getComputedStyle(node).opacity))
    }
    if (seen.running) requestAnimationFrame(look)
  }
  window.seen = seen
  look()
}"""

COVERED = """canvas => {
  const [columns, context] = [4, canvas.getContext("2d")], wide = canvas.width / columns
  return Array.from({ length: columns }, (_, column) => {
    const { data } = context.getImageData(wide * (column + 0.2), 8, wide * 0.6, canvas.height - 16)
    return 4 * data.filter((value, index) => index % 4 === 3 && value > 0).length / data.length
  })
}"""  # the share of each frame of a strip that is covered: an image covers all of it, words a part


def log_up_to(run, step, every=10):
    """Append lines as a training run does, from where its log ends up to ``step``."""
    table = run.metrics()
    for now in range((int(table["step"].iloc[-1]) if len(table) else 0) + every, step + 1, every):
        row = {"step": now, "images_seen": 64 * now, "seconds": now / 4, "loss": 0.1 + math.exp(-now / 200)}
        row |= {"lr": 1e-3, "grad_norm": 0.2 + 0.1 * math.sin(now)}
        if now % 100 == 0:
            row |= {"val_loss": row["loss"], "loss_by_timestep": [row["loss"] * (1 + bin / 20) for bin in range(20)]}
        run.append_metrics(row)


def write_samples(run, step):
    folder = run.path / "samples"
    folder.mkdir(exist_ok=True)
    for suffix in ("", "-raw"):
        images = np.random.default_rng(step).integers(0, 255, (4, 8, 8, 3), np.uint8)
        (folder / f"step-{step:08d}{suffix}.png").write_bytes(png_bytes(montage(images)))


@pytest.fixture
def make_run(runs_folder, small_config):
    made = []

    def make(name, **changes):
        run = Run(runs_folder / name)
        run.path.mkdir()
        run.write_config(replace(small_config(**changes), image_shape=(3, 8, 8)))
        made.append(run.path)
        return run

    yield make
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def growing(make_run):
    run = make_run("growing")
    log_up_to(run, 1000)
    write_samples(run, 500)
    return run


def visit(page, server, query=""):
    page.goto(f"{server}/training_curves?{query}")
    page.locator(f"{CURVES} >> .lines").first.wait_for()


def points(page):
    """How many validations of the first run are drawn."""
    return page.locator(CURVES).evaluate("figure => figure.calcdata[0].length")


def axis_range(page, axis):
    return page.locator(CURVES).evaluate(f"figure => figure._fullLayout.{axis}.range")


def wait_for_points(page, count):
    wait_until(page, "count => document.querySelector('.live-figure')?.calcdata?.[0]?.length == count", arg=count)


def zoom(page):
    """Drag over the middle of the first plot."""
    box = page.locator(f"{CURVES} >> .nsewdrag").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.3 * box["width"], middle - 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], middle + 40, steps=5)
    page.mouse.up()
    page.wait_for_timeout(800)  # the axes move to their new ranges


def test_following_a_live_run_keeps_the_zoom_and_never_blinks(page, server, growing, make_run):
    log_up_to(make_run("done"), 1000)
    visit(page, server, "runs=growing&runs=done&live=true")
    whole = axis_range(page, "xaxis")
    zoom(page)
    zoomed = {axis: axis_range(page, axis) for axis in ("xaxis", "xaxis2", "yaxis")}
    assert zoomed["xaxis"][1] - zoomed["xaxis"][0] < 0.5 * (whole[1] - whole[0])
    assert zoomed["xaxis2"] == zoomed["xaxis"]  # the losses and their differences show the same part of training
    page.evaluate(WATCH)
    for step in (1200, 1500):
        log_up_to(growing, step)
        wait_for_points(page, step // 100)
    seen = page.evaluate("() => { seen.running = false; return { ...seen, heights: [...seen.heights] } }")
    assert {axis: axis_range(page, axis) for axis in zoomed} == zoomed
    assert seen["blinks"] == 0
    assert seen["faintest"] == 1
    assert len(seen["heights"]) == 1
    page.locator(f"{CURVES} >> .nsewdrag").first.dblclick()
    wait_until(page, "() => document.querySelector('.live-figure')._fullLayout.xaxis.range[1] >= 1490")


def test_a_run_hidden_by_its_label_stays_hidden_while_data_come_in(page, server, growing):
    visit(page, server, "runs=growing&runs=fashion-baseline&live=true")
    label = page.get_by_role("button", name="growing", exact=True)
    label.click()
    hidden = "() => document.querySelector('.live-figure').calcdata[0][0].trace.visible === 'legendonly'"
    wait_until(page, hidden)
    for step in (1100, 1200):
        log_up_to(growing, step)
        wait_until(page, "count => document.querySelector('.live-figure')._fullData[0].x.length === count", arg=step // 100)
        assert page.evaluate(hidden)
    expect(label).to_have_attribute("aria-pressed", "false")
    label.click()
    expect(label).to_have_attribute("aria-pressed", "true")
    assert not page.evaluate(hidden)


def test_a_log_that_is_cut_back_is_read_anew(page, server, growing):
    visit(page, server, "runs=growing&live=true")
    assert points(page) == 10
    growing.truncate_metrics(600)
    wait_for_points(page, 6)
    log_up_to(growing, 700)
    wait_for_points(page, 7)


def test_new_sample_grids_appear_and_the_slider_goes_back(page, server, growing):
    visit(page, server, "runs=growing&live=true")
    page.get_by_role("img", name="Samples of growing, step 500", exact=True).wait_for()
    page.get_by_role("img", name="Samples of growing, raw weights, step 500").wait_for()
    slider, play = page.get_by_role("slider", name="Training step"), page.get_by_role("button", name="Play")
    expect(slider.or_(play)).to_have_count(0)  # there is nothing to play yet
    write_samples(growing, 1000)
    page.get_by_role("img", name="Samples of growing, step 1000", exact=True).wait_for()
    play.wait_for()
    slider.focus()
    slider.press("Home")
    page.get_by_role("img", name="Samples of growing, step 500", exact=True).wait_for()
    page.wait_for_url("**grid_step=500*")
    write_samples(growing, 1500)
    for step in (1100, 1200):  # two looks at the folder later, the chosen step is still on show
        log_up_to(growing, step)
        wait_for_points(page, step // 100)
    page.get_by_role("img", name="Samples of growing, step 500", exact=True).wait_for()


@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_over_training_runs_are_locked_to_one_step_and_image(page, server, growing, make_run, scheme, width):
    """At the nearest earlier grid where a run has none, with the validations marked, by keys and presses; nothing moves."""
    log_up_to(late := make_run("late"), 1000)
    for run, steps in ((growing, (250, 1000)), (late, (500, 750))):
        for step in steps:
            write_samples(run, step)
    dots = "figure => figure.data.filter(t => t.mode === 'markers' && t.yaxis === 'y').map(t => [t.name, t.x[0]])"
    with screen(page, scheme, width):
        visit(page, server, "runs=growing&runs=late&grid_step=750")
        page.get_by_role("img", name="Samples of growing, step 500", exact=True).wait_for()
        page.get_by_role("img", name="Samples of late, step 750", exact=True).wait_for()
        row = page.locator(".rows figure").first
        expect(row).to_contain_text(f"Validation loss{0.1 + math.exp(-500 / 200):.4g}")
        wait_until(page, f"() => ({dots})(document.querySelector('.live-figure')).toString() === 'growing,500,late,700'")
        height = page.locator(".samples").bounding_box()["height"]
        page.get_by_role("img", name="Samples of late, step 750", exact=True).click(position={"x": 140, "y": 30})
        page.wait_for_url("**grid_image=3*")  # of which the keys move the step
        page.keyboard.press("Home")
        page.get_by_text("no samples before step 500").first.wait_for()
        expect(page.get_by_role("slider", name="Training step")).to_have_attribute("aria-valuetext", "Step 250")
        wait_until(page, f"() => ({dots})(document.querySelector('.live-figure')).toString() === 'growing,200,late,'")
        page.get_by_role("button", name="1,000", exact=True).click()
        page.get_by_role("img", name="Samples of growing, step 1000", exact=True).wait_for()
        page.get_by_text("Image 3 of 4").wait_for()
        strip = page.get_by_role("img", name="Image 3 of late, at 4 steps of training")
        words, *images, more_words = strip.evaluate(COVERED)
        assert images == [1, 1], "only where it has saved samples"
        assert all(0 < share < 0.5 for share in (words, more_words)), "that there are none is written elsewhere"
        page.evaluate("window.seen = []; document.addEventListener('noisescope:frame', event => seen.push(event.detail.frame))")
        page.get_by_role("button", name="Play").click()  # from the first step, since this is the last
        wait_until(page, "() => [0, 1, 2, 3].every(frame => window.seen.includes(frame))")
        wait_until(page, f"() => ({dots})(document.querySelector('.live-figure')).toString() === 'growing,1000,late,700'")
        page.get_by_role("button", name="Play").wait_for()
        assert page.locator(".samples").bounding_box()["height"] == height
        refuse_sideways_scrolling(page)


def test_a_run_deleted_while_open_gets_one_sentence_and_the_others_stay(page, server, growing, make_run):
    doomed = make_run("doomed")
    log_up_to(doomed, 400)
    visit(page, server, "runs=growing&runs=doomed&live=true")
    zoom(page)
    before = axis_range(page, "xaxis")
    doomed.delete()
    expect(page.get_by_text("doomed cannot be read: no run at")).to_have_count(1)
    wait_until(page, "() => document.querySelector('.live-figure').calcdata.every(c => c[0].trace.name === 'growing')")
    assert axis_range(page, "xaxis") == before
    page.get_by_text("Images", exact=True).click()  # the whole page runs again
    expect(page.locator(CURVES)).to_have_attribute("aria-label", "Validation loss of growing")
    assert page.get_by_text("Traceback").count() == 0


def test_grouping_by_a_setting_colours_its_values_and_dashes_its_runs(page, server, make_run):
    """And the name of a short curve lies on no other, and the chart offers no upload to a cloud."""
    for name, lr, steps in (("slow", 1e-4, 200), ("slow-again", 1e-4, 300), ("fast", 1e-2, 2000)):
        log_up_to(make_run(name, lr=lr, seed=len(name)), steps)
    visit(page, server, "runs=slow&runs=slow-again&runs=fast&group=optimizer.lr")
    lines = page.locator(CURVES).evaluate(
        "figure => figure.data.filter(t => t.showlegend).map(t => [t.name, t.line.color, t.line.dash])"
    )
    names, colors, dashes = zip(*lines, strict=True)
    assert names == ("slow (0.0001)", "slow-again (0.0001)", "fast (0.01)")
    assert colors[0] == colors[1] != colors[2]
    assert dashes[0] != dashes[1]
    beside_all = """() => {
        const places = (parts) => [...document.querySelectorAll(`.live-figure ${parts}`)].map(e => e.getBoundingClientRect())
        const [names, lines] = [places(".end-labels button"), places(".lines > path.js-line")]
        return names.length === 3 && lines.length > 0 && names.every(n => lines.every(line => n.left >= line.right - 1))
    }"""
    wait_until(page, beside_all)
    titles = page.locator(f"{CURVES} >> .modebar-btn").evaluate_all("buttons => buttons.map(b => b.dataset.title)")
    assert titles == ["Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]
    page.get_by_text("Settings that differ (").click()
    table = page.get_by_role("table").first
    table.get_by_text("optimizer.lr", exact=True).wait_for()
    assert table.get_by_text("optimizer.batch_size", exact=True).count() == 0


def test_the_address_reproduces_the_view(page, server):
    with screen(page, *SCREENS[0]):
        visit(page, server)
        take_screenshots(page, "training_curves")
    page.get_by_text("Time", exact=True).click()
    page.get_by_text("Loss by timestep", exact=True).click()
    page.get_by_text("Loss / latest loss", exact=True).click()
    page.wait_for_url("**heat=Loss*")
    page.goto(page.url)
    expect(page.locator(CURVES)).to_have_attribute("aria-label", "Validation loss of flowers-attention-64, flowers-baseline-64")
    wait_until(page, "() => document.querySelector('.live-figure')._fullLayout?.xaxis.title.text.includes('minutes')")
    page.get_by_role("figure", name="Loss / latest loss over training").wait_for()


DAMAGED = [b"", b'{"step": 1, "lo', b"not json\n[1]\n", b'{"step": 1}\n{"loss": 0.5}\n{"step": 2, "loss": "x"}\n']


def test_damaged_runs_do_not_stop_the_others(page, server, make_run, growing):
    damaged = [make_run(f"damaged-{number}") for number in range(len(DAMAGED))]
    for run, log in zip(damaged, DAMAGED, strict=True):
        (run.path / "metrics.jsonl").write_bytes(log)
    visit(page, server, "&".join(f"runs={run.name}" for run in (*damaged, growing)))
    page.get_by_role("img", name="Samples of growing, step 500", exact=True).wait_for()
    assert points(page) == 10
    for run in damaged:
        (run.path / "config.json").write_text('{"network": ')
    page.reload()
    for run in damaged:
        expect(page.get_by_text(f"{run.name} cannot be read:")).to_have_count(1)
    page.locator(f"{CURVES} >> .lines").first.wait_for()


def test_legend_titles_and_plots_do_not_overlap(page, server, make_run):
    """Nor where the window is made narrow, whose plot has all the room that names had at the curves' ends."""
    names = [f"a-run-with-quite-a-long-name-{number}" for number in range(4)]
    for name in names:
        log_up_to(make_run(name), 300)
    groups = (
        ".legend, .annotation, .nsewdrag",
        ".legend, .xtitle, .modebar",
        ".end-labels button",
    )  # parts that must not overlap
    with screen(page, "light", 1440):
        visit(page, server, "&".join(f"runs={name}" for name in names))
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            settle(page)
            refuse_sideways_scrolling(page)
            assert page.locator(f"{CURVES} >> .legend").count() == (width == 390), "with room, runs are named at their curves"
            plot = page.locator(f"{CURVES} >> .nsewdrag").first.bounding_box()
            assert plot["height"] > 200, "a legend of four lines takes nothing from the plot"
            assert plot["width"] > 200, "nor do names that are no longer there"
            boxes = page.locator(CURVES).evaluate(
                "(figure, groups) => groups.map(parts => [...figure.querySelectorAll(parts)]"
                ".map(part => part.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom]))",
                list(groups),
            )
            for apart_from_each_other in boxes:
                for i, (left, top, right, bottom) in enumerate(apart_from_each_other):
                    assert 0 <= left < right <= width
                    for other in apart_from_each_other[i + 1 :]:
                        apart = right <= other[0] + 1 or other[2] <= left + 1 or bottom <= other[1] + 1 or other[3] <= top + 1
                        assert apart, (apart_from_each_other[i], other)
