"""What a person does on the dashboard, done by a real browser."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from .conftest import ARTIFACTS, PATIENCE

pytestmark = pytest.mark.browser

SMALL = "images=6&steps=6"  # a comparison that takes a second


def generate(page):
    page.get_by_role("button", name="Generate").click()


def finished(page):
    expect(page.get_by_role("button", name="All images (ZIP)")).to_be_visible()


def strip_pixels(page, model):
    """The film strip's picture as an array, whatever it is showing now."""
    source = page.get_by_role("img", name=f"Film strip of {model}").first.get_attribute("src")
    data = page.evaluate("async url => Array.from(new Uint8Array(await (await fetch(url)).arrayBuffer()))", source)
    return np.asarray(Image.open(io.BytesIO(bytes(data))))


def test_compare_from_choice_to_download(page, server):
    page.goto(server)
    expect(page.get_by_text("fashion-baseline", exact=True).first).to_be_visible()
    generate(page)
    finished(page)  # the defaults: two models, 60 images each
    noisy = strip_pixels(page, "fashion-attention")
    assert noisy.shape[1] > 60 * 32  # 60 columns
    with page.expect_download() as download:
        page.get_by_role("button", name="All images (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert sum(name.startswith("fashion-attention/0") for name in names) == 60
        request = json.loads(archive.read("request.json"))["fashion-baseline"]["request"]
        assert request["num_images"] == 60
        assert request["seed"] == 0
        picture = np.asarray(Image.open(io.BytesIO(archive.read("fashion-baseline/00000.png"))))
        assert picture.shape == (32, 32)
        assert picture.std() > 10
    with page.expect_download() as download:
        page.get_by_role("button", name="Denoising (GIF)").click()
    with Image.open(download.value.path()) as gif:
        assert gif.n_frames == 21
    strip = page.get_by_role("img", name="Film strip of fashion-attention").first
    shown_before = strip.get_attribute("src")
    page.get_by_text("Estimate of x0", exact=True).click()
    expect(page.get_by_text("estimate of x0, sample").first).to_be_visible()
    expect(strip).not_to_have_attribute("src", shown_before)  # the caption may change a moment before the picture
    assert not np.array_equal(strip_pixels(page, "fashion-attention"), noisy)


def test_leaving_the_page_and_coming_back_keeps_the_comparison(page, server):
    page.goto(f"{server}/?{SMALL}&seed=5")
    generate(page)
    finished(page)
    before = strip_pixels(page, "fashion-baseline")
    page.get_by_role("link", name="Forward").click()
    expect(page.get_by_role("heading", name="Forward")).to_be_visible()
    page.get_by_role("link", name="Compare").click()
    finished(page)
    assert np.array_equal(strip_pixels(page, "fashion-baseline"), before)
    expect(page.get_by_label("Seed")).to_have_value("5")


def test_cancel_half_way_and_generate_again(page, server):
    page.goto(f"{server}/?steps=1000&images=16")
    generate(page)
    expect(page.get_by_text("Denoising:")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()
    steps = page.get_by_label("Steps")
    steps.fill("5")
    steps.press("Tab")
    generate(page)
    finished(page)
    assert page.get_by_text("Cancelled.").count() == 0


def test_the_step_slider_goes_back_to_the_noise(page, server):
    page.goto(f"{server}/?{SMALL}")
    generate(page)
    finished(page)
    slider = page.get_by_role("slider", name="Step: from noise to sample")
    slider.focus()
    slider.press("Home")
    expect(page.get_by_text("noisy state x_t, t = 999").first).to_be_visible()


def test_the_address_reproduces_the_page(page, server):
    page.goto(f"{server}/?{SMALL}&seed=77&sampler=ddim&view=x0")
    expect(page.get_by_label("Seed")).to_have_value("77")
    generate(page)
    finished(page)
    expect(page.get_by_text("6 images of seed 77").first).to_be_visible()
    expect(page.get_by_text("estimate of x0").first).to_be_visible()


def test_one_model_is_too_few(page, server):
    page.goto(f"{server}/?models=fashion-baseline")
    generate(page)
    expect(page.get_by_text("Choose two to four models to compare.")).to_be_visible()


@pytest.mark.parametrize("query", ["steps=100000", "sampler=../../etc/passwd", "models=../../etc&models=nobody", "seed=-1"])
def test_a_hostile_address_gets_the_page_with_allowed_values(page, server, query):
    page.goto(f"{server}/?{query}")
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    assert page.get_by_text("Traceback").count() == 0


def test_forward_noises_an_upload(page, server, tmp_path):
    picture = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 90, 3), np.uint8)).save(picture)
    page.goto(f"{server}/forward")
    expect(page.get_by_text("x_0: the image")).to_be_visible()  # without data or upload: a generated image
    page.get_by_text("An upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(picture)
    expect(page.get_by_text("x_0: the image")).to_be_visible()
    slider = page.get_by_role("slider", name="Timestep t")
    slider.focus()
    slider.press("End")
    expect(page.get_by_text("x_t at t = 999")).to_be_visible()


def test_a_text_file_named_png_gets_one_sentence(page, server, tmp_path):
    fake = tmp_path / "fake.png"
    fake.write_text("this is not a picture")
    page.goto(f"{server}/forward?source=An+upload")
    page.locator("input[type=file]").set_input_files(fake)
    expect(page.get_by_text("not a readable image")).to_be_visible()


def test_training_curves_of_the_shipped_runs(page, server):
    page.goto(f"{server}/training_curves")
    expect(page.get_by_role("heading", name="Samples over training")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    expect(page.get_by_role("img", name="Samples of fashion-baseline")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_screenshots(browser, server, scheme, width):
    """Every page in both themes, wide and narrow; nothing is wider than the screen."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    landmarks = {"": "Generate", "forward": "Overlay", "training_curves": "Samples over training"}
    for path, landmark in landmarks.items():
        page.goto(f"{server}/{path}?{SMALL}" if not path else f"{server}/{path}")
        expect(page.get_by_text(landmark, exact=True).first).to_be_visible()
        if not path:
            generate(page)
            finished(page)
        page.wait_for_timeout(1500)  # figures fade in
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=ARTIFACTS / f"{path or 'compare'}-{scheme}-{width}.png")
    context.close()
