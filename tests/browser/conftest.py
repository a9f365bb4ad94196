"""A real server and a real Chromium, with the models that the project ships."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts" / "screenshots"
PATIENCE = 90_000  # milliseconds: the first import of torch from a cold disk is slow; no claim about speed
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--js-flags=--no-maglev --no-turbofan",  # optimising scripts that run for a second or two takes longer than it saves
]
VIEWPORT = {"width": 1440, "height": 900}
# Each theme and each width once: where things are does not depend on their colours.
SCREENS = (("light", 1440), ("dark", 390))


def chromium() -> str | None:
    """The browser to drive: Chromium without windows, which takes two thirds as long for a page, before those with windows."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark every test here; without a browser they are skipped on a person's machine, never in CI."""
    missing = chromium() is None and not os.environ.get("CI")
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)
            if missing:
                item.add_marker(pytest.mark.skip(reason="no Chromium on this machine: apt-get install chromium"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """A failed test leaves what was on the screen: a picture in ARTIFACTS, the words in its report."""
    report = yield
    browser = item.funcargs.get("browser")
    if report.when == "call" and report.failed and browser is not None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        for number, page in enumerate(page for context in browser.contexts for page in context.pages):
            with suppress(Error):
                page.screenshot(path=ARTIFACTS / f"failed-{item.name}-{number}.png", full_page=True, timeout=10_000)
                report.sections.append((f"On the screen of {page.url}", page.inner_text("body", timeout=10_000)))
    return report


def _wait_for_health(address, process, log):
    end = time.monotonic() + PATIENCE / 1000
    while True:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=5)
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, f"the server did not answer in time:\n{log.read_text()}"
            time.sleep(0.1)


@contextmanager
def dashboard(log, start=subprocess.Popen, **environment):
    """The address of a dashboard started as a user starts it, with these environment variables; its output goes to ``log``."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "main_interface.py", "--server.headless", "true"]
    inherited = {key: value for key, value in os.environ.items() if key != "NOISESCOPE_DATA"}
    with log.open("w") as output:
        process = start(
            [*command, "--server.port", str(port)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=inherited | environment,
        )
    address = f"http://localhost:{port}"
    try:
        _wait_for_health(address, process, log)
        yield address
        assert process.poll() is None, f"the server died:\n{log.read_text()}"
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE / 1000)


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory):
    """The folder of the user's own runs; whoever puts some there takes them away again."""
    folder = tmp_path_factory.mktemp("server") / "runs"
    folder.mkdir()
    return folder


def empty(folder):
    """Remove whatever is in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="session")
def server(runs_folder, forking):
    """A dashboard with the models that the project ships, whatever runs this machine's user has."""
    with dashboard(runs_folder.with_name("log.txt"), forking, NOISESCOPE_RUNS=str(runs_folder)) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    expect.set_options(timeout=PATIENCE)  # for what is seen, ``wait_for`` is cheaper: it does not describe the page each time
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tab(browser):
    """The page of all tests: in a new one, the browser would fetch and compile the dashboard's scripts anew."""
    context = browser.new_context(viewport=VIEWPORT, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    return context.new_page()


@pytest.fixture
def page(tab):
    """An empty page. Afterwards nothing is left of what a test has opened beside it or stored in the browser."""
    yield tab
    for other in tab.context.pages:
        if other is not tab:
            other.close()
    if tab.url.startswith("http"):
        tab.evaluate("localStorage.clear(), sessionStorage.clear()")
    tab.context.clear_cookies()
    tab.mouse.move(0, 0)
    tab.goto("about:blank")


def wait_for_script(page):
    """Wait until the server has sent the whole page."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def wait_until(page, condition, arg=None):
    """Wait until a condition holds on the page, which would draw all the while if it were looked at in each frame."""
    page.wait_for_function(condition, arg=arg, polling=100)


def settle(page):
    """Wait until the server has sent the whole page, its figures are drawn, and what fades in or moves is at rest."""
    wait_for_script(page)
    wait_until(
        page,
        """() => [...document.querySelectorAll(".live-figure, [data-testid=stPlotlyChart]")]
        .every(figure => figure.querySelector(".main-svg"))""",
    )
    page.wait_for_timeout(300)  # what has just come begins to fade in
    wait_until(
        page,
        """() => document.getAnimations()
        .every(({playState, effect}) => playState !== "running" || effect.getComputedTiming().endTime === Infinity)""",
    )


@contextmanager
def screen(page, scheme, width, height=900):
    """Show a page in a theme and on a screen of that size, for screenshots; no request leaves the machine."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    asked = set()

    def note(request):
        asked.add(urlsplit(request.url).hostname)  # None of data and blobs

    page.on("request", note)
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    try:
        yield
        assert asked <= {urlsplit(page.url).hostname, None}
    finally:
        page.remove_listener("request", note)
        page.set_viewport_size(VIEWPORT)
        page.emulate_media(color_scheme="light")


def refuse_sideways_scrolling(page):
    """Assert that nothing is wider than the screen, where not the window but the main part of the page would scroll."""
    part = page.get_by_test_id("stMain")
    content, seen, screen = part.evaluate("part => [part.scrollWidth, part.clientWidth, innerWidth]")
    assert content <= seen <= screen


def each_screen(page, height=900):
    """Yield theme and width of each screen, once the page that is open is at rest on it, and nothing is wider than it.

    The first is the one that the page was loaded on, so that of several pages every other one was loaded on the narrow screen.
    """
    for scheme, width in sorted(SCREENS, key=lambda screen: screen[1] != page.viewport_size["width"]):
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        settle(page)
        refuse_sideways_scrolling(page)
        yield scheme, width


def take_screenshots(page, name, height=900):
    """Take a picture of the page that is open on each screen."""
    for scheme, width in each_screen(page, height):
        page.screenshot(path=ARTIFACTS / f"{name}-{scheme}-{width}.png")
