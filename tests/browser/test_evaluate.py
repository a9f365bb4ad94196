"""What a person does on the Evaluate page, done by a real browser, with a real evaluation."""

import re
import shutil

import pytest
from playwright.sync_api import expect

from pipelines.evaluation.job import EvaluationJob

pytestmark = pytest.mark.browser


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
    expect(page.get_by_text("Not evaluated yet: mine.")).to_be_visible()
    page.get_by_role("button", name=re.compile("Evaluate")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("python -m pipelines.evaluate mine")).to_be_visible()
    dialog.get_by_role("button", name="Start").click()
    expect(page.get_by_text(re.compile("Evaluating ·"))).to_be_visible()
    other = page.context.new_page()  # somebody else sees it too
    other.goto(f"{server}/evaluate?runs=mine")
    expect(other.get_by_text("The last evaluation failed: no classifier takes shapes images")).to_be_visible()
    expect(page.get_by_text("The last evaluation failed: no classifier takes shapes images")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Evaluate"))).to_be_visible()
