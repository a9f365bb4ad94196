"""What a person does on the Forward page, done by a real browser."""

from functools import partial

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from .conftest import SCREENS, screen, take_screenshots, wait_until

FIGURES = ".live-figure"


def visit(page, server, query=""):
    page.goto(f"{server}/forward?{query}")


def shown(page, t):
    """The player shows timestep ``t``, and it is marked on each of the eight curves."""
    expect(page.get_by_role("slider", name="Frame")).to_have_attribute("aria-valuetext", f"t = {t}")
    expect(page.get_by_role("img", name=f": t = {t}")).to_have_count(2)
    wait_until(
        page,
        f"""() => [...document.querySelectorAll('{FIGURES}')].at(-1)?.data?.filter(curve => curve.mode === 'markers')
        .map(curve => curve.x[0]).join() === '{",".join([str(t)] * 8)}'""",
    )


def test_forward_noises_an_upload(page, server, tmp_path):
    picture = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 90, 3), np.uint8)).save(picture)
    with screen(page, *SCREENS[1]):
        visit(page, server)
        shown(page, 300)  # without data or upload: a generated image
        take_screenshots(page, "forward")
    page.get_by_text("An upload", exact=True).click()
    page.locator("input[type=file]").set_input_files(picture)
    page.get_by_role("slider", name="Frame").wait_for()
    slider = page.get_by_role("slider", name="Frame")
    slider.focus()
    slider.press("End")
    shown(page, 999)


def test_a_text_file_named_png_gets_one_sentence(page, server, tmp_path):
    fake = tmp_path / "fake.png"
    fake.write_text("this is not a picture")
    visit(page, server, "source=An+upload")
    page.locator("input[type=file]").set_input_files(fake)
    page.get_by_text("not a readable image").wait_for()


def test_a_click_on_a_thumbnail_chooses_a_picture_of_a_dataset(page, server, tmp_path):
    for number in range(30):
        Image.new("RGB", (8, 8), (8 * number, 0, 0)).save(tmp_path / f"{number:02}.png")
    visit(page, server, f"source=A+dataset&dataset={tmp_path}")
    page.get_by_role("button", name="Read the folder").click()
    radio = partial(page.get_by_role("radiogroup", name="Pictures of").get_by_role, "radio", exact=True)
    radio(name="Image 4").click()
    number = page.get_by_role("spinbutton", name="Image", exact=True)
    expect(number).to_have_value("4")
    radio(name="Image 4").press("ArrowRight")
    expect(number).to_have_value("6")
    page.get_by_role("button", name="Other pictures").click()
    expect(radio(name="Image 7")).to_have_attribute("aria-checked", "true")
    number.fill("10")
    number.press("Enter")
    expect(radio(name="Image 10")).to_have_attribute("aria-checked", "true")


def test_playing_moves_the_mark_in_charts_that_stay(page, server):
    visit(page, server, "t=0")
    shown(page, 0)
    page.locator(f"{FIGURES} >> .lines").first.wait_for()
    clean = page.locator(FIGURES).first.inner_text()
    page.evaluate("() => document.querySelectorAll('.live-figure').forEach(figure => { figure.stays = true })")
    page.get_by_role("button", name="Play").click()
    x = "[...document.querySelectorAll('.live-figure')].at(-1).data.at(-1).x[0]"
    wait_until(page, f"0 < {x} && {x} < 999")  # the charts follow while it plays
    page.get_by_role("button", name="Pause").click()
    t = page.get_by_role("slider", name="Frame").get_attribute("aria-valuetext").removeprefix("t = ")
    shown(page, int(t))
    assert page.evaluate("() => [...document.querySelectorAll('.live-figure')].every(figure => figure.stays)")
    assert page.locator(FIGURES).first.inner_text() != clean  # the histograms' standard deviations
    page.wait_for_url(f"**t={t}*")


def test_another_schedule_and_another_page_keep_the_timestep(page, server):
    visit(page, server, "t=300&schedule_B=sigmoid")
    shown(page, 300)
    page.get_by_role("slider", name="Frame").press("ArrowRight")
    shown(page, 320)
    page.wait_for_url("**t=320*")  # the server hears of a frame that stays
    page.get_by_text("Rescale to zero terminal SNR").last.click()
    page.get_by_role("figure", name="B: sigmoid, zero terminal SNR").first.wait_for()
    shown(page, 320)
    page.get_by_role("link", name="Home").click()
    page.get_by_role("heading", name="Lessons").wait_for()
    page.get_by_role("link", name="Forward").click()
    shown(page, 320)


def test_a_hostile_address_gets_the_page_with_allowed_values(page, server):
    """Each of these values by itself: tests/pages/test_forward.py."""
    visit(page, server, "schedule_A=../../etc&t=1e9&noise_seed=-1&source_number=99999&zero_terminal_snr_A=2")
    page.get_by_role("slider", name="Frame").wait_for()
    assert page.get_by_text("Traceback").count() == 0
