"""What a person does on the Train page, done by a real browser, with a real training."""

import re
import shutil

import psutil
import pytest
from playwright.sync_api import expect

from pipelines.storage.layout import PROCESS, STATE
from pipelines.storage.processes import read_record
from pipelines.storage.runs import find_runs
from pipelines.storage.state import read_resume_point

from .conftest import SCREENS, dashboard, empty, screen, take_screenshots

TINY = "size=8&batch=8&channels=8,16&warmup=2&precision=no"


@pytest.fixture
def queue_folder(runs_folder):
    """That of all browser tests, which is empty again afterwards."""
    yield runs_folder
    empty(runs_folder)


def open_train(page, address, query):
    page.goto(f"{address}/train?{query}")
    page.get_by_role("heading", name="Train", exact=True).wait_for()


def row(page, name):
    return page.locator(f".st-key-job-{name}")


def test_start_watch_stop_survive_resume_and_delete(page, queue, image_folder, tmp_path, forking, request):
    """Also that a link opened on a new server gets the whole dashboard.

    Streamlit takes pages/ for its older kind of multipage app until st.navigation has run once.
    """
    with dashboard(tmp_path / "server.log", forking, NOISESCOPE_RUNS=str(queue.root)) as address:
        open_train(page, address, f"data={image_folder}&{TINY}&train_steps=12000")
        page.get_by_role("link", name="Training curves").wait_for()
        expect(page.get_by_test_id("stSidebar")).to_have_count(0)
        expect(page.get_by_label("Steps", exact=True)).to_have_value("12000")
        page.get_by_role("button", name=f"Read the folder {image_folder}").click()
        page.get_by_role("img", name="16 training images").wait_for()
        page.get_by_text("start above appear here").wait_for()
        page.get_by_role("textbox", name="Name").fill("../../etc")
        page.get_by_role("button", name="Start training").click()
        page.get_by_text("cannot be a run's name").wait_for()
        page.get_by_role("textbox", name="Name").fill("mine")
        page.get_by_role("button", name="Start training").click()  # straight from the field, without Enter
        page.get_by_text("mine is in the queue").wait_for()
        row(page, "mine").get_by_text(re.compile("training$")).wait_for()
        row(page, "mine").get_by_text(re.compile(r"Step [\d,]+ of 12,000 · .* images/s · .* left")).wait_for()
        training = psutil.Process(read_record(queue.root / "mine" / PROCESS).pid)
        training.suspend()  # until it is asked to stop: all that is done meanwhile needs the processor, too
        page.get_by_role("textbox", name="Name").fill("next")
        page.get_by_label("Steps", exact=True).fill("50")
        page.get_by_role("button", name="Start training").click()
        row(page, "next").get_by_text("queued, number 1").wait_for()
        watch = page.get_by_role("combobox", name=re.compile("Run to watch"))
        watch.scroll_into_view_if_needed()
        page.wait_for_timeout(1000)  # scrolling closes a list of options
        watch.click()
        page.get_by_role("option", name="mine").click()
        page.get_by_role("figure", name="Training and validation loss of mine").wait_for()
    assert [job.status for job in queue.jobs()] == ["training", "queued"]  # the server is gone
    before = queue.jobs()[0].progress.step

    address = request.getfixturevalue("server")  # whoever comes sees the same
    open_train(page, address, f"data={image_folder}")
    expect(row(page, "mine").get_by_role("button", name="Stop")).to_be_enabled()
    expect(row(page, "mine").get_by_role("button", name="Delete")).to_have_count(0)
    row(page, "mine").get_by_role("button", name="Stop").click()
    row(page, "mine").get_by_text("stopping").wait_for()
    training.resume()
    row(page, "mine").get_by_text("stopped").wait_for()
    assert read_resume_point(queue.root / "mine" / STATE).step >= before
    row(page, "mine").get_by_role("button", name="Resume").click()  # behind the other run, whose turn has come by itself
    row(page, "mine").get_by_role("button", name=re.compile("Cancel|Stop")).click()
    row(page, "mine").get_by_text("stopped").wait_for()
    row(page, "next").get_by_text("finished").wait_for()
    row(page, "next").get_by_text("Step 50 of 50").wait_for()
    row(page, "mine").get_by_role("button", name="Delete").click()
    confirm = page.get_by_role("button", name="Delete permanently")
    confirm.wait_for()
    page.wait_for_timeout(3000)  # the rows are drawn anew meanwhile
    confirm.wait_for()
    confirm.click()
    expect(row(page, "mine")).to_have_count(0)
    assert [run.name for run in find_runs(queue.root)] == ["next"]


def test_screenshots(page, server, runs_folder, tiny_run, image_folder):
    """Also that nothing is wider than the screen."""
    copy = shutil.copytree(tiny_run.path, runs_folder / "shapes")
    with screen(page, *SCREENS[1], height=1600):
        open_train(page, server, f"data={image_folder}")
        page.get_by_role("img", name="Samples of shapes at step 24").wait_for()
        page.locator(".live-figure .lines").first.wait_for()
        take_screenshots(page, "train", height=1600)
    shutil.rmtree(copy)
