"""Looking at a comparison in a real browser: what its stage shows is what NumPy computes from the downloaded images."""

import base64
import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from pipelines.common.picture_metrics import mean_squared_error, structural_similarity

from .conftest import ARTIFACTS, SCREENS, refuse_sideways_scrolling, screen, settle
from .test_compare import finished
from .test_compare import generate as press_generate

COUNT, SIDE = 12, 32
QUERY = f"model1=fashion-baseline&model2=fashion-baseline&sampler2=ddim&images={COUNT}&steps1=5&steps2=9"


def generate(page, server, query):
    page.goto(f"{server}/compare?{query}")
    press_generate(page)
    finished(page)


def downloaded_samples(page):
    """The samples of both columns, (2, COUNT, SIDE, SIDE, 3)."""
    with page.expect_download() as download:
        page.get_by_role("button", name="All images (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = sorted(name for name in archive.namelist() if re.search(r"/\d{5}\.png$", name))
        images = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    return np.stack(images).reshape(2, COUNT, SIDE, SIDE, 3)


def canvas_pixels(canvas):
    data = canvas.evaluate("canvas => canvas.toDataURL().split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def grid_images(page, column):
    """The images that the grid of a column shows, in their own resolution, by their number."""
    grid = page.locator(".column .grid").nth(column)
    expect(grid).to_have_attribute("aria-busy", "false")
    sheet = canvas_pixels(grid.locator("canvas"))
    shown = {}
    for cell in grid.locator(".cells button").all():
        left, top, width, number = cell.evaluate("one => [one.offsetLeft, one.offsetTop, one.offsetWidth, one.dataset.image]")
        factor = width // SIDE
        assert width == factor * SIDE >= 64
        image = sheet[top : top + width, left : left + width]
        shown[int(number)] = image[::factor, ::factor]
        assert np.array_equal(shown[int(number)].repeat(factor, 0).repeat(factor, 1), image)  # whole pixels, not smoothed
    return shown


def test_grids_differences_order_and_inspector_agree_with_numpy(page, server):
    generate(page, server, QUERY)
    samples = downloaded_samples(page)
    one, two = samples.astype(int)
    for column in (0, 1):
        shown = grid_images(page, column)
        assert sorted(shown) == list(range(COUNT))
        assert all(np.array_equal(shown[image], samples[column, image]) for image in shown)

    page.get_by_role("button", name="×4").click()
    told = page.get_by_text("Difference from column 1: MSE")
    told.wait_for()
    assert float(told.inner_text().split("MSE ")[1]) == pytest.approx(mean_squared_error(samples[1], samples[0]), rel=5e-3)
    colours = canvas_pixels(page.locator(".bar .scale"))[0]  # of −255 to 255
    signed = np.take_along_axis(two - one, np.abs(two - one).argmax(-1, keepdims=True), -1)[..., 0]
    shown = grid_images(page, 1)
    for image in shown:
        assert np.array_equal(shown[image], colours[np.clip(4 * signed[image], -255, 255) + 255])
    assert np.array_equal(grid_images(page, 0)[3], samples[0, 3])  # the first column stays as it is

    page.get_by_role("combobox", name="Order").select_option("most different first")
    errors = np.square((two - one) / 255).mean((1, 2, 3))
    expect(page.locator(".column .cells button").first).to_have_attribute("data-image", str(errors.argmax()))
    assert list(grid_images(page, 1)) == np.argsort(-errors, kind="stable").tolist()

    page.locator(".column .cells button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    second = int(np.argsort(-errors, kind="stable")[1])
    inspector = page.get_by_role("dialog")
    inspector.get_by_role("heading", name=f"Image {second}", exact=True).wait_for()
    told = inspector.locator(".numbers").nth(1)
    expect(told).to_contain_text("MSE")
    pair = samples[1, second : second + 1], samples[0, second : second + 1]
    mse, ssim = map(float, re.search(r"MSE ([\d.e-]+) · SSIM (-?[\d.]+)", told.inner_text()).groups())
    assert mse == pytest.approx(mean_squared_error(*pair), rel=5e-3)
    assert ssim == pytest.approx(structural_similarity(*pair), abs=6e-4)

    inspector.get_by_role("button", name="Swipe").click()  # shows the images, although differences are asked for
    expect(inspector.get_by_text("Difference", exact=True)).to_be_hidden()
    large = canvas_pixels(inspector.get_by_role("img", name=f"Image {second} of column 1"))
    factor = len(large) // SIDE
    assert np.array_equal(large[::factor, ::factor][:, :15], samples[0, second][:, :15])
    assert np.array_equal(large[::factor, ::factor][:, 17:], samples[1, second][:, 17:])


def test_keys_move_between_images_and_levels_and_the_address_brings_both_back(page, server):
    generate(page, server, QUERY)
    page.get_by_role("button", name="Image 4 of column 2").click()
    inspector = page.get_by_role("dialog")
    level = inspector.get_by_role("slider", name="Noise level")
    expect(level).to_have_attribute("aria-valuetext", "sample")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    inspector.get_by_role("heading", name="Image 5", exact=True).wait_for()
    expect(level).not_to_have_attribute("aria-valuetext", "sample")
    noisy = level.get_attribute("aria-valuetext")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    inspector.get_by_role("button", name="Copy link").click()
    inspector.get_by_role("button", name="Copied").wait_for()
    assert re.search("image=5.*level=|level=.*image=5", page.evaluate("navigator.clipboard.readText()"))
    expect(page).to_have_url(re.compile(r"image=5.*level=|level=.*image=5"))
    page.reload()  # shows the result of its own accord, since it is cached
    inspector.get_by_role("heading", name="Image 5", exact=True).wait_for()
    expect(level).to_have_attribute("aria-valuetext", noisy)
    page.keyboard.press("Escape")
    expect(inspector).to_be_hidden()
    expect(page).not_to_have_url(re.compile("image=5"))


def test_scrubbing_and_playing_ask_the_server_for_nothing(page, server):
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda _: sent.append(1)))
    generate(page, server, QUERY)
    grid_images(page, 1)
    sent.clear()
    level = page.get_by_role("slider", name="Noise level")
    sample = grid_images(page, 0)[0]
    level.press("Home")
    expect(level).to_have_value("0")
    assert not np.array_equal(grid_images(page, 0)[0], sample)
    page.get_by_role("button", name="Play from noise").click()
    expect(level).to_have_attribute("aria-valuetext", "sample")  # it plays to the end and stops
    page.get_by_role("button", name="Play from noise").wait_for()
    assert np.array_equal(grid_images(page, 0)[0], sample)
    assert not sent


def test_the_icon_of_a_button_under_the_mouse_is_seen(page, server):
    """A regression: the icon had the colour of its background."""
    generate(page, server, QUERY)
    button = page.get_by_role("button", name="Play from noise")
    colours = "one => [getComputedStyle(one).color, getComputedStyle(one).backgroundColor]"
    before = button.evaluate(colours)
    button.hover()
    assert len(set(before)) == 2
    assert button.evaluate(colours) == before


@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_screenshots(page, server, scheme, width):
    """In both themes, wide and narrow; nothing is wider than the screen, and a narrow one shows one column at a time."""
    with screen(page, scheme, width):
        generate(page, server, QUERY)
        if width < 600:
            page.get_by_role("button", name="Column 2", exact=True).click()
            expect(page.locator(".column").first).to_be_hidden()
        page.locator(".column").last.wait_for()
        settle(page)
        refuse_sideways_scrolling(page)
        film = page.locator(".strip:visible .scroll").first.evaluate("one => [one.clientWidth, one.scrollWidth]")
        assert film[0] % 66 == 64  # whole images
        if film[0] < film[1]:
            page.get_by_text("scroll sideways").wait_for()
        page.screenshot(path=ARTIFACTS / f"compare-{scheme}-{width}.png", full_page=True)
        page.get_by_role("button", name="Image 3 of column 2").click()
        dialog = page.get_by_role("dialog")
        dialog.wait_for()
        page.screenshot(path=ARTIFACTS / f"inspector-{scheme}-{width}.png")
        for way in ("Side by side", "Blink", "Swipe"):
            dialog.get_by_role("button", name=way).click()
            assert width < 600 or dialog.evaluate("one => one.scrollHeight - one.clientHeight") == 0, way
        page.screenshot(path=ARTIFACTS / f"swipe-{scheme}-{width}.png")
