"""What a person does on the Evaluate page, done by a real browser, with a real evaluation."""

import itertools
import re
import shutil

import pytest
from playwright.sync_api import expect

from pipelines.evaluation.job import EvaluationJob

from .conftest import ARTIFACTS, SCREENS, each_screen, screen, wait_until


@pytest.fixture
def mine(tiny_run, runs_folder):
    """A run of the user's; afterwards nothing is left of it or of its evaluation."""
    run = shutil.copytree(tiny_run.path, runs_folder / "mine")
    yield run
    shutil.rmtree(run)
    shutil.rmtree(EvaluationJob(runs_folder).record.parent)


def test_start_an_evaluation_and_learn_why_it_failed(page, server, mine):
    """The shapes that this run knows have no classifier: that is said, and everything else goes on."""
    page.goto(f"{server}/evaluate?runs=mine")
    page.get_by_text("Not evaluated yet: mine.").wait_for()
    page.get_by_role("button", name=re.compile("Evaluate")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("python -m pipelines.evaluate mine").wait_for()
    dialog.get_by_role("button", name="Start").click()
    page.get_by_text(re.compile("Evaluating ·")).wait_for()
    other = page.context.new_page()  # somebody else sees it too
    other.goto(f"{server}/evaluate?runs=mine")
    other.get_by_text("The last evaluation failed: no classifier takes shapes images").wait_for()
    page.get_by_text("The last evaluation failed: no classifier takes shapes images").wait_for()
    page.get_by_role("button", name=re.compile("Evaluate")).wait_for()


OVERLAPPING = """figure => {
    const boxes = (part) => [...figure.querySelectorAll(part)].map((one) => one.getBoundingClientRect())
    const bars = boxes(".errorbars path, .bars .point path, .scatterlayer .points path")
    return boxes(".ytick text, .annotation-text").flatMap((text) => bars.filter((bar) => bar.left < text.right
        && bar.right > text.left && bar.top < text.bottom && bar.bottom > text.top))
}"""


def test_quality_and_cost_of_several_models_are_read_at_a_glance(page, server):
    """A legend takes no room from the plot, on a telephone neither, nor do the labels of the axis touch each other."""
    query = "&".join(f"runs=fashion-{kind}" for kind in ("attention", "attention-student", "baseline"))
    with screen(page, *SCREENS[1]):
        page.goto(f"{server}/evaluate?{query}")
        figure = page.get_by_role("figure", name="Fréchet distance over Network calls per image")
        ranked = page.get_by_role("figure", name="Fréchet distance of")
        for series in ("best", "all"):
            if series == "all":
                page.get_by_text(re.compile("^All .* series")).click()
                wait_until(page, "figure => figure.data.length > 20", arg=figure.element_handle())
            for scheme, width in each_screen(page):
                assert figure.locator(".nsewdrag").first.bounding_box()["height"] > 250
                labels = figure.locator(".xtick text").evaluate_all("labels => labels.map(l => l.getBoundingClientRect())")
                ordered = sorted((label["left"], label["right"]) for label in labels)
                assert all(right < left for (_, right), (left, _) in itertools.pairwise(ordered))
                assert figure.locator(".legend .traces").count() < 20
                expect(ranked.locator(".ytick text")).to_have_count(6)  # three names, three values
                assert ranked.locator(".bars .point path").count() == 3
                assert ranked.evaluate(OVERLAPPING) == []
                page.screenshot(path=ARTIFACTS / f"evaluate-cost-{series}-{scheme}-{width}.png", full_page=True)
