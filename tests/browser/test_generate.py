"""What a person does on the Generate page, done by a real browser."""

import io
import re
import shutil
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from .conftest import ARTIFACTS, SCREENS, each_screen, screen


@pytest.fixture(scope="module", autouse=True)
def small_models(class_run, text_run, runs_folder):
    """A small class model and a small text model of the dashboard's user."""
    copies = [shutil.copytree(run.path, runs_folder / run.name) for run in (class_run, text_run)]
    yield
    for copy in copies:
        shutil.rmtree(copy)


def generate(page, server, query):
    page.goto(f"{server}/generate?{query}")
    page.get_by_role("button", name=re.compile("^Generate")).click()
    page.get_by_role("button", name="All images (ZIP)").wait_for()


def download(page, name):
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    return waiting.value.path()


def test_classes_with_and_without_guidance_and_the_files(page, server):
    generate(page, server, "model=class&steps=4&images_a_cell=3")
    table = page.get_by_role("table", name="Generated images")
    expect(table.get_by_role("rowheader")).to_have_text(["circles", "squares"])
    pictures = table.get_by_role("img")
    expect(pictures).to_have_count(4)
    assert pictures.first.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    sample = pictures.first.get_attribute("src")
    page.get_by_role("slider").last.press("Home")
    expect(pictures.first).not_to_have_attribute("src", sample)  # the noise
    with zipfile.ZipFile(download(page, "All images (ZIP)")) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 4 * (3 + 1)
    assert Image.open(io.BytesIO(download(page, "Denoising (GIF)").read_bytes())).n_frames == 5


def test_a_new_prompt_replaces_the_old_one_and_the_address_keeps_it(page, server):
    page.goto(f"{server}/generate?model=text&steps=200&images_a_cell=16&vary=Guidance scales")
    page.get_by_role("button", name=re.compile("^Generate")).click()
    page.get_by_role("button", name="Cancel").wait_for()
    page.get_by_text("Settings", exact=True).click()  # folded, so that the result is in sight
    prompts = page.get_by_role("textbox", name="Prompts, one per line")
    prompts.fill("a circle\na green square")
    prompts.press("Control+Enter")
    page.get_by_role("button", name=re.compile("^Generate")).click()
    table = page.get_by_role("table", name="Generated images")
    expect(table.get_by_role("rowheader")).to_have_text(["a circle", "a green square"])
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    page.reload()
    expect(page.get_by_role("textbox", name="Prompts, one per line")).to_have_value("a circle\na green square")


def test_screenshots(page, server):
    """Tables and attention maps in both themes, wide and narrow; nothing is wider than the screen."""
    with screen(page, *SCREENS[0]):
        generate(page, server, "model=text&steps=4&vary=Guidance scales")
        for scheme, width in each_screen(page):
            page.screenshot(path=ARTIFACTS / f"generate-table-{scheme}-{width}.png", full_page=True)
        page.goto(f"{server}/reverse?model=text&steps=4&prompt=a large circle on a dark background")
        page.get_by_role("button", name="Denoise").click()
        table = page.get_by_role("table", name="Cross-attention")
        table.wait_for()
        for scheme, width in each_screen(page):
            table.scroll_into_view_if_needed()
            assert table.get_by_role("img").first.bounding_box()["width"] >= 64, "large enough to see where a word looks"
            label = page.get_by_text("X-ray of every step")
            assert label.evaluate("text => text.scrollWidth <= text.clientWidth"), "with the time that it takes"
            page.screenshot(path=ARTIFACTS / f"attention-{scheme}-{width}.png")


def test_what_was_generated_is_in_the_history_with_all_its_settings(page, server):
    page.goto(f"{server}/generate?model=fashion-class&classes=Bag&images_a_cell=2&steps=3")
    page.get_by_role("button", name=re.compile("^Generate")).click()
    page.get_by_role("button", name="All images (ZIP)").wait_for()
    page.get_by_role("button", name="History").click()
    link = page.get_by_role("dialog", name="History").get_by_role("listitem").get_by_role("link").first
    address = link.get_attribute("href")
    for part in ("generate?", "model=fashion-class", "classes=Bag", "images_a_cell=2", "steps=3"):
        assert part in address
