"""The speed of the dashboard for its visitors: ``python -m benchmarks.dashboard``, with a real server and a real Chromium.

Measures the time until the first page is usable, the time of page switches and comparisons, the time for eight simultaneous
visitors, and the growth of memory over many comparisons. Needs requirements-dev.txt and Chromium.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tyro
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.timing import machine

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 600_000  # milliseconds after which something counts as broken
PAGES = {
    "Compare": "Compare",
    "Forward": "Forward",
    "Reverse": "Reverse",
    "Training curves": "Training curves",
    "Train": "Train",
    "Home": "A microscope for diffusion models",
}
SMALL = "images=4&steps1=4&steps2=4"  # a short comparison


@dataclass(frozen=True)
class Dashboard:
    """Measure the dashboard."""

    rounds: int = 3
    """Measurements of each time; the median counts."""
    visitors: int = 8
    """Number of visitors who generate at the same time."""
    soak_minutes: float = 10.0
    """Minutes during which one visitor generates repeatedly."""


@contextmanager
def server() -> Iterator[tuple[str, psutil.Process, Path]]:
    """Start a dashboard; yield its address, its process and its log."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "main_interface.py", "--server.headless", "true"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--server.port", str(port)], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield f"http://localhost:{port}", psutil.Process(process.pid), log
        finally:
            process.terminate()
            process.wait(30)


def wait_until_up(address: str) -> None:
    """Wait until the server answers."""
    while True:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
            return
        except OSError:
            time.sleep(0.01)


def new_page(browser: Browser) -> Page:
    """Open a page in a new browser context: a new visitor."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    return context.new_page()


def seconds_until(action: Any, outcome: Any) -> float:
    """Return the seconds from ``action()`` until ``outcome()`` returns."""
    start = time.perf_counter()
    action()
    outcome()
    return time.perf_counter() - start


def first_use(browser: Browser, path: str, button: str) -> float:
    """Measure the seconds from starting a server to a page with a usable button."""
    start = time.perf_counter()
    with server() as (address, _, _):
        wait_until_up(address)
        page = new_page(browser)
        page.goto(f"{address}/{path}")
        page.get_by_role("button", name=button).wait_for()
        elapsed = time.perf_counter() - start
        page.context.close()
    return elapsed


def generate(page: Page) -> None:
    """Press the Generate button."""
    page.get_by_role("button", name="Generate").click()


def finished(page: Page) -> None:
    """Wait for the downloads, which appear with the last step."""
    page.get_by_role("button", name="Denoising (GIF)").wait_for()


def first_preview(page: Page) -> None:
    """Wait for the image of the first step."""
    page.get_by_text("noisy state x_t, t = 999").first.wait_for()


def page_switches(page: Page, rounds: int) -> dict[str, list[float]]:
    """Measure the seconds from a click in the navigation to the page's heading, after every page has been visited once."""
    times: dict[str, list[float]] = {name: [] for name in PAGES}
    for number in range(rounds + 1):
        for name, heading in PAGES.items():
            link = page.get_by_role("link", name=name, exact=True).first
            seconds = seconds_until(link.click, page.get_by_role("heading", name=heading, exact=True).first.wait_for)
            page.wait_for_timeout(1500)
            if number:
                times[name].append(seconds)
    return times


def comparisons(browser: Browser, address: str, rounds: int) -> dict[str, list[float]]:
    """Measure the seconds to the first preview, to the end, and to a repetition of the default comparison with new seeds."""
    times: dict[str, list[float]] = {"first preview": [], "finished": [], "the same again": []}
    for number in range(rounds):
        page = new_page(browser)
        page.goto(f"{address}/compare?seed1={1000 + number}&seed2={1000 + number}")
        page.get_by_role("button", name="Generate").wait_for()
        page.wait_for_timeout(1000)
        start = time.perf_counter()
        generate(page)
        first_preview(page)
        times["first preview"].append(time.perf_counter() - start)
        finished(page)
        times["finished"].append(time.perf_counter() - start)
        page.reload()
        page.get_by_role("button", name="Generate").wait_for()
        page.wait_for_timeout(1000)
        times["the same again"].append(seconds_until(lambda page=page: generate(page), lambda page=page: finished(page)))
        page.context.close()
    return times


def crowd(browser: Browser, address: str, visitors: int) -> float:
    """Measure the seconds until all visitors, who press the button at the same time, have their comparison."""
    pages = [new_page(browser) for _ in range(visitors)]
    for number, page in enumerate(pages):
        page.goto(f"{address}/compare?images=16&steps1=10&steps2=10&seed1={2000 + number}&seed2={2000 + number}")
        page.get_by_role("button", name="Generate").wait_for()
    start = time.perf_counter()
    for page in pages:
        generate(page)
    for page in pages:
        finished(page)
    elapsed = time.perf_counter() - start
    for page in pages:
        assert page.get_by_text("could not be made").count() == 0
        page.context.close()
    return elapsed


def soak(browser: Browser, address: str, process: psutil.Process, minutes: float) -> list[float]:
    """Return the server's memory in MiB after each of many comparisons with new seeds."""
    page = new_page(browser)
    page.goto(f"{address}/compare?{SMALL}")
    page.get_by_text("Seed, spacing").first.click()
    field = page.get_by_role("spinbutton", name="Seed").first
    memory: list[float] = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end or len(memory) < 100:
        seed = 3000 + len(memory)
        field.fill(str(seed))
        field.press("Tab")
        page.wait_for_url(f"**seed1={seed}*")
        generate(page)
        page.get_by_text(f"4 images of seed {seed}, 3 per row: noisy state x_t, sample").wait_for()
        finished(page)
        memory.append(process.memory_info().rss / 2**20)
    page.context.close()
    return memory


def median(values: list[float]) -> str:
    """Format the median and the range."""
    return f"{np.median(values):.2f} ({min(values):.2f} – {max(values):.2f})"


def main(arguments: Dashboard) -> None:
    """Measure and print Markdown."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("this benchmark needs Chromium, which is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        rows = {
            "server start to Home": [first_use(browser, "", "Compare two models") for _ in range(arguments.rounds)],
            "server start to Compare": [first_use(browser, "compare", "Generate") for _ in range(arguments.rounds)],
        }
        with server() as (address, process, log):
            wait_until_up(address)
            for name, times in comparisons(browser, address, arguments.rounds).items():
                rows[f"two strips of 60 images: {name}"] = times
            page = new_page(browser)
            page.goto(address)
            for name, times in page_switches(page, arguments.rounds).items():
                rows[f"switch to {name}"] = times
            page.context.close()
            rows[f"{arguments.visitors} visitors at once: all finished"] = [crowd(browser, address, arguments.visitors)]
            memory = soak(browser, address, process, arguments.soak_minutes)
            errors = log.read_text().count("Traceback")
    print(f"{machine()}\n\n| what | seconds: median (range) |\n| --- | --: |")
    for name, times in rows.items():
        print(f"| {name} | {median(times)} |")
    growth = memory[99] / memory[9] - 1
    print(
        f"\nMemory of the server: {memory[9]:.0f} MiB after 10 comparisons, {memory[99]:.0f} MiB after 100 ({growth:+.1%}), "
        f"{memory[-1]:.0f} MiB after {len(memory)}. Errors in its log: {errors}."
    )


if __name__ == "__main__":
    main(tyro.cli(Dashboard))
