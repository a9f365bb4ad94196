"""The dashboard's speed and cost for its visitors: ``python -m benchmarks.dashboard``, with a real server and a real Chromium.

Measures the time until the first page is usable, the cost of interactions with every page, clicks on Generate against the
networks alone, the time of page switches, the time for eight simultaneous visitors, and the growth of memory over many
comparisons. Needs requirements-dev.txt and Chromium.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tyro
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.clicks import HEADER, clicks
from benchmarks.timing import machine, table
from benchmarks.visiting import Cost, cost_of_reruns, launch, new_page, seconds_until, server, wait_until_up

PAGES = {
    "Compare": "Compare",
    "Forward": "Forward",
    "Reverse": "Reverse",
    "Training curves": "Training curves",
    "Train": "Train",
    "Home": "Noisescope",
}
SMALL = "images=4&steps1=4&steps2=4"  # a short comparison
SIX = "&".join(f"runs={name}" for name in ("fashion-baseline", "fashion-attention", "fashion-class", "flowers-baseline-64",
                                             "flowers-attention-64", "flowers-text"))  # fmt: skip


@dataclass(frozen=True)
class Dashboard:
    """Measure the dashboard."""

    rounds: int = 3
    """Measurements of each time; the median counts."""
    visitors: int = 8
    """Number of visitors who generate at the same time; 0 leaves this out."""
    soak_minutes: float = 10.0
    """Minutes during which one visitor generates repeatedly; 0 leaves this out."""


def rerun(page: Page, _: int) -> None:
    """Let the page's script run again, with nothing changed."""
    page.keyboard.press("r")


def clicking(*names: str) -> Callable[[Page, int], None]:
    """Return an interaction that clicks the texts in turn."""
    return lambda page, number: page.get_by_text(names[number % len(names)], exact=True).first.click()


INTERACTIONS: dict[str, tuple[str, Callable[[Page, int], object]]] = {
    "Home, again": ("", rerun),
    "Compare, another number of columns": ("compare", clicking("3", "2")),
    "Forward, another schedule": ("forward", clicking("Rescale to zero terminal SNR")),
    "Reverse, again": ("reverse", rerun),
    "Generate, again": ("generate", rerun),
    "Edit, again": ("edit", rerun),
    "Training curves, again": ("training_curves", rerun),
    "Training curves of six runs, again": (f"training_curves?{SIX}", rerun),
    "Evaluate, again": ("evaluate", rerun),
    "Train, again": ("train", rerun),
    "Glossary, again": ("glossary", rerun),
}


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


def interactions(browser: Browser, address: str, process: psutil.Process, rounds: int) -> dict[str, list[Cost]]:
    """Measure the cost of an interaction with every page, and with the smallest page that Streamlit can show."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "smallest.py"
        script.write_text("import streamlit as st\nst.slider('A slider')\n")
        with server(script) as (smallest, other, _):
            wait_until_up(smallest)
            costs = {"a page with one slider, again": cost_of_reruns(browser, other, smallest, rerun, rounds)}
    return costs | {
        name: cost_of_reruns(browser, process, f"{address}/{path}", interact, rounds)
        for name, (path, interact) in INTERACTIONS.items()
    }


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
        assert page.get_by_text("Generation failed").count() == 0
        page.context.close()
    return elapsed


def soak(browser: Browser, address: str, process: psutil.Process, minutes: float) -> list[float]:
    """Return the server's memory in MiB after each of many comparisons with new seeds."""
    page = new_page(browser)
    memory: list[float] = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end or len(memory) < 100:
        seed = 3000 + len(memory)
        page.goto(f"{address}/compare?{SMALL}&seed1={seed}&seed2={seed}")
        generate(page)
        finished(page)
        memory.append(process.memory_info().rss / 2**20)
    page.context.close()
    return memory


def median(values: list[float]) -> str:
    """Format the median and the range."""
    return f"{np.median(values):.2f} ({min(values):.2f} – {max(values):.2f})"


def main(arguments: Dashboard) -> None:
    """Measure and print Markdown."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        rows = {
            "server start to Home": [first_use(browser, "", "Compare two models") for _ in range(arguments.rounds)],
            "server start to Compare": [first_use(browser, "compare", "Generate") for _ in range(arguments.rounds)],
        }
        memory: list[float] = []
        with server() as (address, process, log):
            wait_until_up(address)
            clicked = list(clicks(browser, address, process, arguments.rounds))
            costs = interactions(browser, address, process, arguments.rounds)  # after everything has been imported
            page = new_page(browser)
            page.goto(address)
            for name, times in page_switches(page, arguments.rounds).items():
                rows[f"switch to {name}"] = times
            page.context.close()
            if arguments.visitors:
                rows[f"{arguments.visitors} visitors at once: all finished"] = [crowd(browser, address, arguments.visitors)]
            if arguments.soak_minutes:
                memory = soak(browser, address, process, arguments.soak_minutes)
            errors = log.read_text().count("Traceback")
    print(f"{machine()}\n")
    print(table(("what", "seconds: median (range)"), ((name, median(times)) for name, times in rows.items())))
    print(f"\n{table(HEADER, clicked)}\n")
    header = ("interaction", "processor ms: server", "browser", "ms until painted", "kB received")
    print(table(header, ((name, *in_figures(own)) for name, own in costs.items())))
    print(f"\nErrors in the server's log: {errors}.")
    if memory:
        growth = memory[99] / memory[9] - 1
        print(
            f"\nMemory of server: {memory[9]:.0f} MiB after 10 comparisons, {memory[99]:.0f} MiB after 100 ({growth:+.1%}), "
            f"{memory[-1]:.0f} MiB after {len(memory)}."
        )


def in_figures(costs: list[Cost]) -> Iterator[str]:
    """Yield the medians of costs."""
    for name, unit in (("server", 1e3), ("browser", 1e3), ("seconds", 1e3), ("received", 1e-3)):
        yield f"{unit * np.median([getattr(cost, name) for cost in costs]):.0f}"


if __name__ == "__main__":
    main(tyro.cli(Dashboard))
