"""Comparing in a real browser: what a person does on the Compare page."""

import io
import json
import zipfile
from urllib.parse import urljoin

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from pipelines.common.images import png_bytes
from pipelines.sampling.origins import FromPicture
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import metadata_of

pytestmark = pytest.mark.browser

PAIR = "model1=flowers-attention&model2=flowers-baseline"
SMALL = f"{PAIR}&images=6&steps1=6&steps2=6"  # a comparison that takes a second
LONG = f"{PAIR}&images=6&steps1=1000&steps2=1000"


def generate(page):
    page.get_by_role("button", name="Generate").click()


def finished(page):
    """Wait for the end of a comparison, and until nothing is drawn any more: a button that is replaced loses its click."""
    expect(page.get_by_role("button", name="All images (ZIP)")).to_be_visible()
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def strip_pixels(page, column):
    """The film strip's picture as an array, whatever it is showing now."""
    source = page.get_by_role("img", name=f"Film strip of {column}").first.get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(page.request.get(urljoin(page.url, source)).body())))


def test_one_click_from_the_front_door_to_two_growing_strips(page, server):
    page.goto(server)
    page.get_by_role("button", name="Compare two models").click()
    expect(page.get_by_text("Denoising:")).to_be_visible()
    widths = [strip_pixels(page, column).shape[1] for column in ("1: flowers-attention-64", "2: flowers-baseline-64")]
    assert min(widths) > 60 * 32  # 60 columns, drawn before they are whole
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()


def test_compare_from_choice_to_download(page, server):
    page.goto(f"{server}/compare?{PAIR}&images=12&steps1=6&steps2=6")
    generate(page)
    finished(page)
    noisy = strip_pixels(page, "1: flowers-attention")
    with page.expect_download() as download:
        page.get_by_role("button", name="All images (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert sum(name.startswith("1-flowers-attention/0") for name in names) == 12
        request = json.loads(archive.read("request.json"))["2-flowers-baseline"]["request"]
        assert request["num_images"] == 12
        assert request["seed"] == 0
        picture = np.asarray(Image.open(io.BytesIO(archive.read("2-flowers-baseline/00000.png"))))
        assert picture.shape == (32, 32, 3)
        assert picture.std() > 10
    with page.expect_download() as download:
        page.get_by_role("button", name="Denoising (GIF)").click()
    with Image.open(download.value.path()) as gif:
        assert gif.n_frames == 7
    strip = page.get_by_role("img", name="Film strip of 1: flowers-attention").first
    shown_before = strip.get_attribute("src")
    page.get_by_text("Estimate of x0", exact=True).click()
    expect(page.get_by_text("estimate of x0, sample").first).to_be_visible()
    expect(strip).not_to_have_attribute("src", shown_before)  # the caption may change a moment before the picture
    assert not np.array_equal(strip_pixels(page, "1: flowers-attention"), noisy)


def test_leaving_the_page_and_coming_back_keeps_the_comparison(page, server):
    page.goto(f"{server}/compare?{SMALL}&seed1=5")
    generate(page)
    finished(page)
    before = strip_pixels(page, "2: flowers-baseline")
    page.get_by_role("link", name="Forward").click()
    expect(page.get_by_role("heading", name="Forward")).to_be_visible()
    page.get_by_role("link", name="Compare").click()
    finished(page)
    assert np.array_equal(strip_pixels(page, "2: flowers-baseline"), before)
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
    expect(page.get_by_text("Denoising:")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()
    for steps in page.get_by_role("spinbutton", name="Steps").all():
        steps.fill("5")
        steps.press("Tab")
    generate(page)
    finished(page)
    assert page.get_by_text("Cancelled.").count() == 0


def test_a_new_request_takes_the_place_of_the_old_one(page, server):
    page.goto(f"{server}/compare?{LONG}")
    generate(page)
    expect(page.get_by_text("Denoising:")).to_be_visible()
    page.goto(f"{server}/compare?{SMALL}")
    generate(page)
    finished(page)
    expect(page.get_by_text("6 images of seed 0").first).to_be_visible()


def test_the_slider_goes_back_to_the_noise(page, server):
    page.goto(f"{server}/compare?{SMALL}")
    generate(page)
    finished(page)
    slider = page.get_by_role("slider", name="Noise level")
    slider.focus()
    slider.press("Home")
    expect(page.get_by_text("noisy state x_t, t = 999").first).to_be_visible()


def test_one_model_under_two_samplers_and_the_difference(page, server):
    both = "model1=fashion-baseline&model2=fashion-baseline&sampler2=ddim"
    page.goto(f"{server}/compare?images=6&steps1=5&steps2=9&{both}")
    generate(page)
    finished(page)
    expect(page.get_by_text("5 network calls")).to_be_visible()
    expect(page.get_by_text("9 network calls")).to_be_visible()
    grid = page.get_by_role("img", name="6 images of 2: fashion-baseline")
    before = grid.get_attribute("src")
    page.get_by_text("Difference from the first column", exact=True).click()
    expect(page.get_by_text("dark: equal")).to_be_visible()
    expect(grid).not_to_have_attribute("src", before)


def test_the_address_reproduces_the_page(page, server):
    page.goto(
        f"{server}/compare?{SMALL}&columns=3&model3=flowers-baseline&seed1=77&seed3=78&sampler2=ddim&view=x0&difference=true"
    )
    generate(page)
    finished(page)
    expect(page.get_by_text("6 images of seed 77").first).to_be_visible()
    expect(page.get_by_text("6 images of seed 78").first).to_be_visible()
    expect(page.get_by_text("estimate of x0").first).to_be_visible()
    expect(page.get_by_text("dark: equal").first).to_be_visible()


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
    expect(page.get_by_text(sentence)).to_be_visible()


HOSTILE = "steps1=100000&sampler1=../../etc/passwd&model1=../../etc&model2=nobody&seed1=-1&columns=99&images=0"


def test_a_hostile_address_gets_the_page_with_allowed_values(page, server):
    """Each of these values by itself: tests/pages/test_compare.py."""
    page.goto(f"{server}/compare?{HOSTILE}")
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    assert page.get_by_text("Traceback").count() == 0
