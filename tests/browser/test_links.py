"""Links to what is shown, and the way back through them, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from .conftest import VIEWPORT, wait_for_script, wait_until

SHOWN = """() => {
    const roots = [...document.querySelectorAll("*")].map(({ shadowRoot }) => shadowRoot).filter(Boolean)
    const canvases = roots.flatMap((root) => [...root.querySelectorAll(".player canvas")])
    const images = [...document.querySelectorAll(".picture-table img")]
    return [...images.map(({ src }) => src), ...canvases.map((canvas) => canvas.toDataURL())]
}"""  # all pictures that were made


@pytest.fixture
def other(browser):
    """Another person's browser."""
    context = browser.new_context(viewport=VIEWPORT)
    context.set_default_timeout(240_000)
    yield context.new_page()
    context.close()


def link_of(page):
    page.get_by_role("button", name="Share").click()
    link = page.get_by_role("dialog", name="Share").locator("pre").first.text_content()
    page.get_by_role("dialog", name="Share").get_by_role("button", name="Close").click()
    return link


MADE = [
    ("generate", "model=fashion-class&classes=Bag&images_a_cell=2&steps=4&seed=31", "^Generate"),
    ("edit", "model=fashion-class&strengths=0.5&images_a_cell=2&steps=6&seed=31&source_number=3", "^Generate"),
    ("reverse", "model=fashion-baseline&steps=5&seed=31&number=2", "^Denoise"),
    ("forward", "schedule_A=flow", None),
]


def test_a_link_shows_the_same_pixels_at_once(page, other, server):
    """Of every page: with the noise level and the view that were seen, and without pressing anything."""
    for name, query, button in MADE:
        page.goto(f"{server}/{name}?{query}")
        if button:
            page.get_by_role("button", name=re.compile(button)).click()
        slider = page.get_by_role("slider", name="Frame" if name in ("reverse", "forward") else "Noise level")
        if button == "^Denoise":
            expect(slider).to_have_attribute("aria-valuetext", "sample")  # played to the end
            page.wait_for_url("**t=0*")  # and the server has heard of it
        slider.wait_for()
        if button == "^Generate":
            page.get_by_text("Estimate of x0").click()
        before = page.url
        slider.press("ArrowLeft")
        page.wait_for_url(lambda url, before=before: url != before)
        wait_for_script(page)
        shown = page.evaluate(SHOWN)
        assert len(set(shown)) > 1, "pictures"
        other.goto(link_of(page))
        other.get_by_role("slider", name="Frame" if name in ("reverse", "forward") else "Noise level").wait_for()
        wait_for_script(other)
        other.wait_for_function(f"shown => JSON.stringify(({SHOWN})()) === JSON.stringify(shown)", arg=shown, polling=250)


def test_what_one_does_makes_one_entry_in_the_history_at_most(page, server):
    """The back button leads to the page before, or to the lesson before, whatever values have come into the address."""
    page.goto(f"{server}/compare?lesson=samplers")
    wait_until(page, "history.pushState.name === 'pushOnce'")
    columns = page.get_by_role("radio", checked=True).first
    expect(columns).to_have_text("4")
    page.get_by_role("radio", name="3", exact=True).click()
    page.wait_for_url("**columns=3**")
    page.get_by_role("button", name="Set again").click()
    page.wait_for_url("**columns=4**")
    expect(columns).to_have_text("4")
    page.get_by_role("button", name=re.compile("^Next")).click()
    page.get_by_text("Lesson 5 of").wait_for()
    wait_for_script(page)
    page.get_by_role("link", name="Reverse").click()
    expect(page.get_by_role("combobox", name="Sampler")).to_have_count(1)  # no longer one a column
    page.get_by_role("combobox", name="Sampler").click()
    page.get_by_role("option", name="Heun").click()
    page.wait_for_url("**sampler=heun**")
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="flowers-class-64", exact=True).click()
    page.wait_for_url("**model=flowers-class-64**")
    wait_for_script(page)
    page.get_by_role("link", name="Forward").click()
    page.get_by_role("heading", name="Forward", exact=True).wait_for()
    wait_for_script(page)
    page.go_back()
    expect(page.get_by_role("combobox", name="Sampler")).to_have_value("Heun")
    assert "model=flowers-class-64" in page.url
    page.go_back()
    page.get_by_text("Lesson 5 of").wait_for()
    page.go_back()
    page.get_by_text("Lesson 4 of").wait_for()
    wait_for_script(page)


def test_an_unknown_page_is_told_with_the_nearest_one(page, server):
    page.goto(f"{server}/glossary")  # what a fresh server is asked first, it runs twice
    page.get_by_role("heading", name="Glossary").wait_for()
    page.goto(f"{server}/compair?images=7")
    page.get_by_text("There is no page compair").wait_for()
    page.get_by_role("link", name="Did you mean Compare?").click()
    expect(page.get_by_role("spinbutton", name="Images per column")).to_have_value("7")


def test_a_student_follows_a_model_whose_steps_were_chosen(page, server):
    """An address has the steps of the model before, which belong to an input and cannot be deleted."""
    page.goto(f"{server}/compare?model1=fashion-attention&model2=fashion-attention&steps1=6")
    steps = page.get_by_role("spinbutton", name="Steps").first
    expect(steps).to_have_value("6")
    for model, told in (("fashion-attention-student", 1), ("fashion-baseline", 0)):
        page.get_by_role("combobox", name="Model").first.click()
        page.get_by_role("option", name=model, exact=True).click()
        expect(page.get_by_text("which has learnt 4 steps of DDIM only")).to_have_count(told)
        page.get_by_role("button", name="Generate").wait_for()
    expect(steps).to_have_value("6")
