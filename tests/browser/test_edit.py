"""What a person does on the Edit page, done by a real browser."""

import re

import pytest
from playwright.sync_api import expect

from .conftest import PATIENCE, SCREENS, screen, take_screenshots, wait_until

PAINT = "model=fashion-baseline&edit=Inpaint&steps=4&images_a_cell=1&methods=one pass"

UNEVEN = """() => {
    const roots = [document, ...[...document.querySelectorAll("*")].map(({ shadowRoot }) => shadowRoot).filter(Boolean)]
    const shown = roots.flatMap((root) => [...root.querySelectorAll("canvas, img:not(.st-key-example *)")])
    return shown.filter(({ clientWidth }) => clientWidth > 0).map((picture) => {
        const factor = picture.getBoundingClientRect().width * devicePixelRatio / (picture.naturalWidth || picture.width)
        return [picture.alt || picture.ariaLabel, factor]
    }).filter(([, factor]) => factor < 0.9 || Math.abs(factor - Math.round(factor)) > 0.02)
}"""  # pictures whose pixels are not whole numbers of screen pixels


def open_painter(page, server):
    page.goto(f"{server}/edit?{PAINT}")
    canvas = page.get_by_role("application")
    canvas.wait_for()
    expect(page.get_by_role("button", name=re.compile("^Generate"))).to_be_disabled()
    wait_until(
        page,
        """() => [...document.querySelectorAll('*')]
        .some(element => element.shadowRoot?.querySelector('canvas')?.width === 32)""",
    )
    return canvas


def drag(page, canvas, start, end):
    """With the mouse, from one place to another; shares of the canvas's sides."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    (x, y), (to_x, to_y) = ((box["x"] + right * box["width"], box["y"] + down * box["height"]) for right, down in (start, end))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(to_x, to_y, steps=10)
    page.mouse.up()


def test_a_stroke_of_the_brush_is_made_anew_and_can_be_undone(page, server):
    canvas = open_painter(page, server)
    drag(page, canvas, (0.2, 0.5), (0.8, 0.5))
    painted = page.get_by_text(re.compile(r"\d+ % masked"))
    painted.wait_for()
    first = painted.text_content()
    drag(page, canvas, (0.5, 0.1), (0.5, 0.9))
    expect(painted).not_to_have_text(first)
    page.get_by_role("button", name="Undo").click()
    expect(painted).to_have_text(first)
    page.get_by_role("button", name="Erase").click()
    drag(page, canvas, (0.2, 0.5), (0.4, 0.5))
    expect(painted).not_to_have_text(first)
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name=re.compile("^Generate")).click()
    page.get_by_role("button", name="All images (ZIP)").wait_for()
    expect(page.get_by_role("table", name="Generated images").get_by_role("img")).to_have_count(2)  # beside the original
    assert page.evaluate(UNEVEN) == []
    page.get_by_role("link", name="Home").click()
    page.get_by_text("Models", exact=True).wait_for()
    page.get_by_role("link", name="Edit").click()
    expect(painted).to_have_text(first)  # leaving the page loses nothing
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.get_by_role("button", name=re.compile("^Generate"))).to_be_disabled()


def test_a_finger_paints_and_does_not_scroll(browser, server):
    small = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "has_touch": True, "is_mobile": True}
    context = browser.new_context(**small)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    canvas = open_painter(page, server)
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    box = canvas.bounding_box()
    x, y = box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"]
    touch = context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for share in range(1, 11):  # downwards: a page would scroll
        point = {"x": x, "y": y + share * 0.06 * box["height"]}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.get_by_text(re.compile(r"\d+ % masked")).wait_for()
    assert canvas.bounding_box()["y"] == pytest.approx(box["y"], abs=1)
    assert page.evaluate(UNEVEN) == []
    page.goto(server)
    page.get_by_role("img", name="Samples of").first.wait_for()
    wait_until(page, f"({UNEVEN})().length === 0")
    context.close()


def test_the_keyboard_paints(page, server):
    canvas = open_painter(page, server)
    undo, generate = (page.get_by_role("button", name=re.compile(f"^{name}")) for name in ("Undo", "Generate"))
    expect(undo).to_be_disabled()
    canvas.focus()
    canvas.press(" ")
    painted = page.get_by_text(re.compile(r"\d+ % masked"))
    painted.wait_for()
    expect(generate).to_be_enabled()
    first = painted.text_content()
    canvas.press("Shift+ArrowRight")  # beside what is painted already
    canvas.press(" ")
    expect(painted).to_have_text(re.compile(rf"^{2 * int(first.split()[0])} %|^{2 * int(first.split()[0]) + 1} %"))
    undo.press("Control+z")  # wherever in the painter one is
    expect(painted).to_have_text(first)
    canvas.press("Control+z")
    expect(undo).to_be_disabled()
    expect(generate).to_be_disabled()


def test_what_a_painted_page_looks_like(page, server):
    with screen(page, *SCREENS[1]):
        canvas = open_painter(page, server)
        drag(page, canvas, (0.2, 0.3), (0.8, 0.3))
        page.get_by_role("button", name=re.compile("^Generate")).click()
        page.get_by_role("button", name="All images (ZIP)").wait_for()
        take_screenshots(page, "edit-painted")
