"""Comparing in a real browser: what a person does on the Compare page."""

import base64
import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from pipelines.common.images import png_bytes
from pipelines.sampling.origins import FromPicture
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import metadata_of

from .conftest import SCREENS, screen, settle, take_screenshots, wait_for_script

PAIR = "model1=fashion-attention&model2=fashion-baseline"
SMALL = f"{PAIR}&images=6&steps1=6&steps2=6"  # a comparison that takes a second
LONG = f"{PAIR}&images=6&steps1=1000&steps2=1000"


def generate(page):
    """Press the button that generates, unless the page shows what is asked for already, because it was generated before."""
    button = page.get_by_role("button", name=re.compile("^(Generate|Update)"))
    button.or_(page.get_by_role("button", name="Change")).first.wait_for()
    wait_for_script(page)
    if button.is_visible():
        button.click()


def finished(page):
    """Wait for the end of a comparison, and until nothing is drawn any more: a button that is replaced loses its click."""
    page.get_by_role("button", name="All images (ZIP)").wait_for()
    wait_for_script(page)


def grid_pixels(page, column):
    """What the grid of a column shows, as an array of screen pixels."""
    expect(page.locator(".column .grid").nth(column)).to_have_attribute("aria-busy", "false")
    data = page.locator(".column canvas").nth(column).evaluate("canvas => canvas.toDataURL().split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_one_click_from_the_front_door_to_two_growing_strips(page, server):
    with screen(page, *SCREENS[0]):
        page.goto(server)
        page.get_by_text("Models", exact=True).first.wait_for()
        take_screenshots(page, "home")
    page.get_by_role("button", name="Compare two models").click()
    page.get_by_text("Denoising:").wait_for()
    for column in (0, 1):
        assert grid_pixels(page, column).std() > 40  # noise, before there are images
    page.get_by_role("img", name="Film strip of column 2: flowers-baseline-64").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()


def test_compare_from_choice_to_download(page, server):
    page.goto(f"{server}/compare?{PAIR}&images=12&steps1=6&steps2=6")
    generate(page)
    finished(page)
    expect(page.get_by_role("button", name=re.compile("^(Generate|Update)"))).to_have_count(0)  # in sight
    with page.expect_download() as download:
        page.get_by_role("button", name="All images (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert sum(name.startswith("1-fashion-attention/0") for name in names) == 12
        request = json.loads(archive.read("request.json"))["2-fashion-baseline"]["request"]
        assert request["num_images"] == 12
        assert request["seed"] == 0
        picture = np.asarray(Image.open(io.BytesIO(archive.read("2-fashion-baseline/00000.png"))))
        assert picture.shape == (32, 32)
        assert picture.std() > 10
    with page.expect_download() as download:
        page.get_by_role("button", name="Denoising (GIF)").click()
    with Image.open(download.value.path()) as gif:
        assert gif.n_frames == 7


def test_leaving_the_page_and_coming_back_keeps_the_comparison(page, server):
    page.goto(f"{server}/compare?{SMALL}&seed1=5")
    generate(page)
    finished(page)
    before = grid_pixels(page, 1)
    page.get_by_role("link", name="Forward").click()
    page.get_by_role("heading", name="Forward").wait_for()
    page.get_by_role("link", name="Compare").click()
    finished(page)
    assert np.array_equal(grid_pixels(page, 1), before)
    assert "seed1=5" in page.url


def test_a_finished_comparison_is_no_longer_looked_at(page, server):
    """A regression: if the comparison ended between two polls, polling went on and no download could be pressed."""
    messages = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda _: messages.append(1)))
    page.goto(f"{server}/compare?{SMALL}&seed1=91&seed2=91")
    generate(page)
    finished(page)
    page.wait_for_timeout(2000)
    messages.clear()
    page.wait_for_timeout(1500)
    assert len(messages) <= 1


def test_cancel_half_way_and_generate_again(page, server):
    page.goto(f"{server}/compare?{LONG}")
    generate(page)
    level = page.get_by_role("slider", name="Noise level")
    expect(level).to_have_attribute("aria-valuetext", re.compile("log-SNR|pure noise"))  # which both columns have reached
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    expect(level).to_have_attribute("aria-valuetext", re.compile("log-SNR|pure noise"))
    one, two = page.locator(".column .when").all_inner_texts()
    assert one == two  # equal noise, although a column may be a step ahead
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_role("spinbutton", name="Steps")).to_have_count(2)
    for number, steps in enumerate(page.get_by_role("spinbutton", name="Steps").all(), start=1):
        settle(page)  # what is typed into an input that is drawn anew is lost
        steps.fill("5")
        steps.press("Tab")
        expect(page).to_have_url(re.compile(f"steps{number}=5(&|$)"))
    generate(page)
    finished(page)
    assert page.get_by_text("Cancelled.").count() == 0


def test_on_a_phone_settings_are_changed_on_a_sheet(page, server):
    with screen(page, "dark", 390, 844):
        page.goto(f"{server}/compare?{SMALL}")
        generate(page)
        finished(page)
        told = page.locator("[class*=st-key-findings-told]").all()
        assert told
        assert not any(part.is_visible() for part in told), "what columns say is not said twice above them"
        page.get_by_role("button", name="Change").click()
        main = page.get_by_test_id("stMainBlockContainer")  # a notice has a button to close it, too
        close = main.get_by_role("button", name="Close", exact=True)
        close.wait_for()
        sheet = page.locator(".st-key-settings-changing").bounding_box()
        assert (sheet["x"], sheet["width"], sheet["y"] + sheet["height"]) == (0, 390, 844)
        assert sheet["y"] > 0, "one sees what lies below"
        foot = page.get_by_role("button", name=re.compile("^Update")).bounding_box()
        assert foot["y"] + foot["height"] <= 844, "the button is in sight without scrolling"
        close.click()
        expect(close).to_have_count(0)
        page.get_by_role("button", name="Change").click()
        steps = page.get_by_role("spinbutton", name="Steps").first
        steps.fill("7")
        steps.press("Tab")
        update = page.get_by_role("button", name=re.compile("^Update"))
        page.get_by_text("The results below are of other settings").wait_for()
        update.click()
        expect(update).to_have_count(0)
        page.get_by_text("7 steps").first.wait_for()


def test_a_new_request_takes_the_place_of_the_old_one(page, server):
    page.goto(f"{server}/compare?{LONG}")
    generate(page)
    page.get_by_text("Denoising:").wait_for()
    page.goto(f"{server}/compare?{SMALL}")
    generate(page)
    finished(page)
    expect(page.locator(".column .grid")).to_have_count(2)
    assert page.get_by_role("button", name="Image 5 of column 2: fashion-baseline").count() == 1


def test_the_address_reproduces_the_page(page, server):
    page.goto(
        f"{server}/compare?{SMALL}&columns=3&model3=fashion-baseline&seed1=77&seed3=78&sampler2=ddim&view=x0&difference=4&level=0"
    )
    generate(page)
    finished(page)
    expect(page.locator(".column .grid")).to_have_count(3)
    expect(page.get_by_role("button", name="Estimate of x0")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="×4")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("slider", name="Noise level")).not_to_have_attribute("aria-valuetext", "sample")
    page.get_by_text("Difference from column 1", exact=False).first.wait_for()
    page.wait_for_timeout(500)  # longer than the stage waits before it writes the address
    assert all(part in page.url for part in ("seed3=78", "view=x0", "difference=4", "level="))


def test_a_downloaded_picture_brings_its_request_back(page, server, tmp_path):
    page.goto(f"{server}/compare?images=5&steps1=7&seed1=41&model1=fashion-baseline")
    generate(page)
    finished(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="All images (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extract("1-fashion-baseline/00003.png", tmp_path)
    page.goto(f"{server}/compare")
    page.get_by_role("button", name="Load from PNG").click()
    page.locator("input[type=file]").set_input_files(tmp_path / "1-fashion-baseline" / "00003.png")
    page.get_by_text("7 steps").first.wait_for()  # the result is known, so that the settings are folded
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("7")
    expect(page.get_by_role("spinbutton", name="Images per column")).to_have_value("5")
    assert "seed1=41" in page.url
    assert "model1=fashion-baseline" in page.url


PLAIN = png_bytes(np.zeros((8, 8, 1), np.uint8))
EDITED = png_bytes(np.zeros((8, 8, 1), np.uint8), metadata_of("any", "any", SamplingRequest(), FromPicture(PLAIN, 0.5)))


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [(PLAIN, "This picture contains no request"), (EDITED, "This picture was made from another one")],
    ids=["plain", "edited"],
)
def test_any_other_picture_gets_one_sentence(page, server, tmp_path, picture, sentence):
    (tmp_path / "picture.png").write_bytes(picture)
    page.goto(f"{server}/compare")
    page.get_by_role("button", name="Load from PNG").click()
    page.locator("input[type=file]").set_input_files(tmp_path / "picture.png")
    page.get_by_text(sentence).wait_for()


HOSTILE = "steps1=100000&sampler1=../../etc/passwd&model1=../../etc&model2=nobody&seed1=-1&columns=99&images=0"


def test_a_hostile_address_gets_the_page_with_allowed_values(page, server):
    """Each of these values by itself: tests/pages/test_compare.py."""
    page.goto(f"{server}/compare?{HOSTILE}")
    page.get_by_role("button", name=re.compile("^(Generate|Change)")).first.wait_for()
    assert page.get_by_text("Traceback").count() == 0


def test_share_and_history(page, server):
    """What is shared opens the same page, and this browser's results can be opened, pinned and deleted, also after a reload."""
    page.goto(f"{server}/compare?{SMALL}&seed1=5&seed2=5")
    generate(page)
    finished(page)
    page.get_by_role("button", name="Share").click()
    dialog = page.get_by_role("dialog", name="Share")
    texts = dialog.locator("pre").all_text_contents()
    assert texts[0].startswith(f"{server}/compare?")
    assert "seed1=5" in texts[0]
    expect(dialog.locator(".link")).to_contain_text("and shows the same. “localhost” is whichever computer opens the link")
    assert texts[1].count("python -m pipelines.sample fashion-") == 2
    assert "load_model('fashion-baseline')" in texts[2]
    dialog.get_by_role("button", name="Close").click()
    page.goto(texts[0])
    finished(page)  # of its own accord, from the cache
    page.get_by_role("button", name="History").click()
    cards = page.get_by_role("dialog", name="History").get_by_role("listitem")
    expect(cards).to_have_count(1)
    expect(cards.first).to_contain_text("fashion-attention | fashion-baseline")
    cards.first.get_by_role("button", name="Pin").click()
    cards.first.get_by_role("button", name="Unpin").wait_for()
    page.reload()
    finished(page)
    page.get_by_role("button", name="History").click()
    cards.first.get_by_role("button", name="Unpin").wait_for()
    page.keyboard.press("Escape")
    page.goto(f"{server}/compare?{SMALL}&seed1=91&seed2=91")
    generate(page)
    finished(page)
    page.get_by_role("button", name="History").click()
    expect(cards).to_have_count(2)
    expect(cards.nth(1).get_by_role("link", name="Compare with")).to_have_count(0)  # itself
    cards.nth(1).get_by_role("button", name="Delete").click()
    expect(cards).to_have_count(1)
    cards.first.get_by_role("link", name="Compare with").click()
    finished(page)  # at once, since every column is cached
    page.get_by_text("4: fashion-baseline").first.wait_for()
    assert "seed4=5" in page.url
