"""What a person does on the Reverse page, done by a real browser."""

import base64
import io
import re

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from .conftest import ARTIFACTS, SCREENS, each_screen, screen, settle, wait_for_script, wait_until


def open_page(page, server, query=""):
    page.goto(f"{server}/reverse?{query}")
    page.get_by_role("button", name="Denoise").click()
    slider = page.get_by_role("slider", name="Frame")
    slider.wait_for()
    return slider


def wait_for_mark(page, condition):
    """Wait until the chart's dotted line, which the server draws, stands where it should."""
    wait_until(page, f"document.querySelector('.js-plotly-plot')?.layout?.shapes?.[0]?.x0 {condition}")


def watch(page):
    """Note the label of every frame that the player shows from now on, in window.seen."""
    page.evaluate(
        """() => { window.seen = []
        const host = [...document.querySelectorAll('*')].find(element => element.shadowRoot?.querySelector('canvas'))
        new MutationObserver(() => seen.push(host.shadowRoot.querySelector('input').getAttribute('aria-valuetext')))
        .observe(host.shadowRoot, {subtree: true, attributes: true, attributeFilter: ['aria-valuetext']}) }"""
    )


def pictures(page):
    """What the player shows, side by side, at the images' own resolution: state, estimate and noise, (3, H, W)."""
    player = page.get_by_role("group", name="State x_t, Estimate of x0, Predicted noise")
    urls = player.locator("canvas").evaluate_all("all => all.map(canvas => canvas.toDataURL().split(',')[1])")
    return np.stack([np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")) for data in urls])


def download(page, name):
    page.wait_for_timeout(500)  # longer than the player waits before it reports its frame, which renews the buttons
    wait_for_script(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name, exact=True).click()
    return waiting.value.path().read_bytes()


def test_a_trajectory_is_saved_and_scrubbed(page, server):
    """GIF and MP4 hold every frame; the keyboard moves picture, numbers and chart."""
    import av

    slider = open_page(page, server, "steps=10&model=fashion-baseline")
    expect(slider).to_have_attribute("aria-valuetext", "sample")
    sample = pictures(page)
    assert sample.shape == (3, 32, 32)
    assert np.array_equal(sample[0], sample[1])  # x_t is x0
    assert (sample[2] == 128).all()  # and nothing is predicted to be noise
    with Image.open(io.BytesIO(download(page, "GIF"))) as gif:
        assert gif.n_frames == 11
        gif.seek(10)
        last = np.asarray(gif.convert("L"))
        assert last.shape == (28 + 192, 600)  # a line of titles over three pictures
    shown = sample[0].astype(int)
    assert np.abs(last[28::6, :192:6] - shown).max() <= 2
    with av.open(io.BytesIO(download(page, "MP4"))) as video:
        frames = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
    assert len(frames) == 11
    assert frames[0].shape == (28 + 192, 600)
    assert np.abs(frames[-1][31::6, 3:192:6].astype(int) - shown).mean() < 8
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "t = 999")
    page.get_by_text("999", exact=True).wait_for()  # the server has heard of it
    wait_for_mark(page, "=== 0")
    assert not np.array_equal(pictures(page), sample)
    for _ in range(3):
        slider.press("ArrowRight")
    expect(slider).to_have_value("3")
    wait_for_mark(page, "=== 3")
    page.get_by_text("4 / 11").wait_for()


def test_it_plays_from_noise_to_the_sample_and_stops_and_does_so_again_or_loops(page, server):
    page.goto(f"{server}/reverse?steps=6&model=fashion-baseline&seed=61")
    button = page.get_by_role("button", name="Denoise")
    button.wait_for()
    page.evaluate(
        "window.frames_seen = []; document.addEventListener('noisescope:frame', event => frames_seen.push(event.detail.frame))"
    )
    button.click()
    slider = page.get_by_role("slider", name="Frame")
    for _ in range(2):
        expect(slider).to_have_attribute("aria-valuetext", "sample")
        page.get_by_role("button", name="Play").wait_for()
        assert set(page.evaluate("frames_seen")) == set(range(7))  # every frame, from noise to sample
        wait_for_mark(page, "=== 6")
        page.evaluate("window.frames_seen = []")
        page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Play").wait_for()
    loop = page.get_by_role("button", name="Loop")
    loop.press("Space")
    expect(loop).to_have_attribute("aria-pressed", "true")
    watch(page)
    page.get_by_role("button", name="Play").click()
    wait_until(page, "seen.filter(label => label === 'sample').length > 2")
    assert page.evaluate("seen.filter(label => label === 't = 999').length") > 1
    page.get_by_role("button", name="Pause").wait_for()
    loop.click()
    page.get_by_role("button", name="Play").wait_for()


def test_space_pauses_and_the_server_knows_where(page, server):
    slider = open_page(page, server, "steps=40&model=fashion-baseline")
    slider.press("Home")
    wait_for_mark(page, "=== 0")
    slider.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    wait_for_mark(page, "> 3")  # told while it plays
    slider.press("Space")
    page.get_by_role("button", name="Play").wait_for()
    shown = int(slider.input_value())
    assert 3 < shown < 40
    wait_for_mark(page, f"=== {shown}")
    page.wait_for_timeout(500)
    assert int(slider.input_value()) == shown
    slider.blur()
    page.get_by_role("img", name="State x_t").click()  # plays, and the keys work from here
    page.get_by_role("button", name="Pause").wait_for()
    page.keyboard.press("Home")
    page.get_by_role("button", name="Play").wait_for()
    expect(slider).to_have_value("0")


def test_a_new_request_is_played_to_its_own_sample_and_a_frame_stays_when_settings_move_the_player(page, server):
    """Other settings are drawn above the player on a narrow screen; the frame shown and the chart go on to agree."""
    slider = open_page(page, server, "steps=6&model=fashion-baseline")
    slider.press("Home")
    before = pictures(page)
    seed = page.get_by_label("Seed", exact=True)
    seed.fill("5")
    seed.press("Tab")
    page.get_by_role("button", name="Denoise").click()
    page.get_by_role("heading", name="image 0 of seed 5").wait_for()
    expect(slider).to_have_attribute("aria-valuetext", "sample")
    wait_for_mark(page, "=== 6")
    assert not np.array_equal(pictures(page), before)
    slider.press("Home")
    slider.press("ArrowRight")
    wait_for_mark(page, "=== 1")
    shown = pictures(page)
    page.get_by_text("An image", exact=True).click()
    page.get_by_text("The results below are of other settings").wait_for()
    settle(page)
    assert slider.get_attribute("aria-valuetext") == "t = 832"
    wait_for_mark(page, "=== 1")
    assert np.array_equal(pictures(page), shown)
    page.get_by_role("link", name="Generate", exact=True).click()
    page.get_by_role("heading", name="Generate", exact=True).wait_for()
    page.get_by_role("link", name="Reverse").click()
    expect(slider).to_have_attribute("aria-valuetext", "t = 832")


def denoise_and_see_whether_it_is_computed(page):
    """Press Denoise, wait for the result, and return whether its progress was shown on the way."""
    button = page.get_by_role("button", name="Denoise")
    button.wait_for()
    page.evaluate(
        """() => { window.computed = false
        new MutationObserver(() => { window.computed ||= document.body.textContent.includes("Denoising:") })
        .observe(document.body, {subtree: true, childList: true, characterData: true}) }"""
    )
    button.click()
    page.get_by_role("slider", name="Frame").wait_for()
    return page.evaluate("window.computed")


def test_the_same_request_again_is_there_at_once(page, server):
    page.goto(f"{server}/reverse?steps=30&start=Between+two+seeds&model=fashion-baseline&seed=30")
    first = denoise_and_see_whether_it_is_computed(page)
    slider = page.get_by_role("slider", name="Frame")
    slider.press("Home")
    expect(slider).to_have_value("0")
    page.reload()
    assert (first, denoise_and_see_whether_it_is_computed(page)) == (True, False)


def test_a_trajectory_is_kept_while_one_looks_at_another_page(page, server):
    page.goto(f"{server}/reverse?steps=300&sampler=ddim&seed=77&model=fashion-attention")
    page.get_by_role("button", name="Denoise").click()
    page.get_by_text(re.compile(r"Denoising: \d+ of 300 steps")).wait_for()
    page.get_by_role("link", name="Generate", exact=True).click()
    page.get_by_role("heading", name="Generate", exact=True).wait_for()
    page.get_by_role("link", name="Reverse").click()
    page.get_by_text(re.compile(r"Denoising: \d+ of 300 steps")).wait_for()
    page.get_by_role("slider", name="Frame").wait_for()
    page.get_by_role("heading", name="image 0 of seed 77").wait_for()


def test_between_two_seeds_every_weight_has_its_own_way(page, server, wait_for):
    slider = open_page(page, server, "steps=4&start=Between+two+seeds&model=fashion-baseline&weight=0.0")
    expect(slider).to_have_attribute("aria-valuetext", "sample")  # played to the end
    page.wait_for_url(re.compile(r"[?&]t=0(&|$)"))  # and the server has heard of it
    slider.press("Home")
    page.wait_for_url(re.compile(r"[?&]t=999(&|$)"))
    first = pictures(page)
    weight = page.get_by_role("slider", name="Weight of the second seed")
    weight.focus()
    weight.press("End")
    wait_for(lambda: not np.array_equal(pictures(page), first))
    expect(slider).to_have_attribute("aria-valuetext", "t = 999")  # the timestep stays


def test_an_upload_comes_back_nearly_unchanged_at_little_strength(page, server, tmp_path):
    file = tmp_path / "square.png"
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[16:48, 16:48] = 220
    Image.fromarray(picture).save(file)
    page.goto(f"{server}/reverse?start=An+image&source=An+upload&strength=0.05&model=fashion-baseline")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("img", name="The image to start from").wait_for()
    page.get_by_role("button", name="Denoise").click()
    slider = page.get_by_role("slider", name="Frame")
    expect(slider).to_have_attribute("max", "1")
    expect(slider).to_have_attribute("aria-valuetext", "sample")
    sample = pictures(page)[0]
    assert sample[12:20, 12:20].mean() > 150
    assert sample[:4].mean() < 60


def test_screenshots(page, server):
    """In both themes, wide and narrow; nothing is wider than the screen, and every pixel of the image is whole."""
    with screen(page, *SCREENS[1]):
        page.goto(server)  # the front door first
        page.get_by_role("heading").first.wait_for()
        slider = open_page(page, server, "start=Between+two+seeds&steps=12")
        for _ in range(8):
            slider.press("ArrowLeft")
        for scheme, width in each_screen(page):
            box = page.get_by_role("img", name="State x_t").bounding_box()
            assert box["width"] == box["height"]
            assert box["width"] % 64 == 0  # whole screen pixels for each of the default model's
            page.screenshot(path=ARTIFACTS / f"reverse-{scheme}-{width}.png", full_page=True)
