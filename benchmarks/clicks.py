"""From a click on Generate to the pictures, beside the networks alone: ``python -m benchmarks.clicks``.

A part of :mod:`benchmarks.dashboard`, which can be run by itself.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import psutil
import tyro
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.timing import machine, table
from benchmarks.visiting import (
    PAINTED,
    RESTING,
    ROOT,
    Cost,
    busy,
    cost_of,
    launch,
    new_page,
    seconds_until,
    server,
    wait_until_up,
)

IMAGES = 60  # of a column, as the Compare page offers first
# A comparison with the settings that the Compare page offers first, without the dashboard, for every line of a seed and models;
# prints seconds and processor seconds. The process goes on, because the first comparisons of a process are slower.
ALONE = f"""
import os, sys, time
from dataclasses import replace
os.environ["OMP_WAIT_POLICY"] = "passive"
from pipelines.sampling.generation import Comparison
from pipelines.sampling.own_steps import default_request
from pipelines.sampling.queue import GenerationQueue
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED
queue = GenerationQueue()
for line in sys.stdin:
    seed, *models = line.split()
    runs = [Run(PUBLISHED / name) for name in models]
    wishes = [(run, replace(default_request(run.config), num_images={IMAGES}, seed=int(seed))) for run in runs]
    before, used = time.perf_counter(), time.process_time()
    queue.wait(queue.submit(Comparison.of(wishes)), 600)
    print(time.perf_counter() - before, time.process_time() - used, flush=True)
"""
STAGE = '[...document.querySelectorAll(".st-key-stage *")].find((element) => element.shadowRoot)?.shadowRoot'
PICTURE = f"() => {STAGE}?.querySelector('.grid[aria-busy=false]')"
# Whether nothing grows and the samples of every column are painted: one image, or as many of more as have room there.
ALL = f"""() => {{
  const stage = {STAGE}, columns = [...(stage?.querySelectorAll(".column") ?? [])]
  return columns.length > 0 && stage.querySelector(".progress").hidden && columns.every((column) =>
    column.querySelector(".grid").ariaBusy === "false" && column.querySelector(".when").textContent === "sample" &&
    column.querySelectorAll(".cells button").length NUMBER)
}}"""
PICTURES, SINGLE = ALL.replace("NUMBER", "> 1"), ALL.replace("NUMBER", "=== 1")


@dataclass(frozen=True)
class Click:
    """What a click on Generate makes.

    Attributes:
        models: of the columns that are computed.
        beside: the model of a column that is known already, with another seed.
    """

    models: tuple[str, ...]
    beside: str = ""

    def address(self, seed: int, known: int) -> str:
        """Return the address of a Compare page that offers it.

        Args:
            seed: of the computed columns.
            known: seed of the column that is known.
        """
        columns = [(name, seed) for name in self.models] + [(self.beside, known)] * bool(self.beside)
        values = [f"model{number}={name}&seed{number}={own}" for number, (name, own) in enumerate(columns, start=1)]
        return "&".join([f"compare?images={IMAGES}", *values])


PAIR = Click(("flowers-attention-64", "flowers-baseline-64"))  # on which the dashboard opens
CLICKS = {
    "32×32, student, beside a known column": Click(("fashion-attention-student",), "fashion-attention-student"),
    "64×64, student, beside a known column": Click(("flowers-baseline-64-student",), "flowers-baseline-64-student"),
    "32×32, student beside its teacher": Click(("fashion-attention-student", "fashion-attention")),
    "64×64, student beside its teacher": Click(("flowers-baseline-64-student", "flowers-baseline-64")),
    "64×64, two models": PAIR,
}


@dataclass(frozen=True)
class Clicked:
    """A click and its networks alone.

    Attributes:
        alone: what its networks cost alone.
        whole: what it cost from the click to the pictures of all columns.
        first: seconds from the click to the first picture.
        again: seconds from a click on Update to the same pictures.
        reload: seconds from a reload of the page to the same pictures.
    """

    alone: Cost
    whole: Cost
    first: float
    again: float
    reload: float


@contextmanager
def networks_alone() -> Iterator[Callable[[Click, int], Cost]]:
    """Yield a function that computes what a click makes, with a seed, without the dashboard."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ALONE], cwd=ROOT, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def alone(click: Click, seed: int) -> Cost:
            print(seed, *click.models, file=process.stdin, flush=True)
            seconds, processor = map(float, process.stdout.readline().split())
            return Cost(processor, 0.0, seconds)

        yield alone
        process.stdin.close()


def until(page: Page, condition: str) -> None:
    """Wait until PICTURE, PICTURES or SINGLE is the case, and the page painted."""
    page.wait_for_function(condition, polling=10)
    page.evaluate(PAINTED)


def click_on(
    browser: Browser, address: str, process: psutil.Process, click: Click, seed: int
) -> tuple[Cost, float, float, float]:
    """Measure a click: its cost, the seconds to the first picture, and to the same again from another click and a reload."""
    page = new_page(browser)
    page.goto(f"{address}/{click.address(seed, 0)}")
    button = page.get_by_role("button", name="Generate")
    button.wait_for()
    page.wait_for_load_state("networkidle")

    first = 0.0

    def make() -> None:
        nonlocal first
        start = time.perf_counter()
        button.click()
        until(page, PICTURE)
        first = time.perf_counter() - start
        until(page, PICTURES)

    cost = cost_of(process, make)
    reload = seconds_until(page.reload, partial(until, page, PICTURES))  # which shows it of its own accord
    again = _again(page)
    page.context.close()
    return cost, first, again, reload


def _again(page: Page) -> float:
    """Let a page show one image, and measure the seconds from a click to as many as before."""
    seconds = 0.0
    for count, outcome in ((1, SINGLE), (IMAGES, PICTURES)):
        page.get_by_role("button", name="Change").click()
        page.get_by_role("button", name="Fold settings").wait_for()
        page.locator(RESTING).wait_for()
        images = page.get_by_label("Images per column", exact=True)
        images.fill(str(count))
        images.press("Enter")
        update = page.get_by_role("button", name="Update")
        update.wait_for()
        page.locator(RESTING).wait_for()
        page.wait_for_load_state("networkidle")
        seconds = seconds_until(update.click, partial(until, page, outcome))
    return seconds


def clicks(browser: Browser, address: str, process: psutil.Process, rounds: int) -> Iterator[tuple[str, ...]]:
    """Measure clicks and, in turn with each, its networks alone; two models also with one core busy. Yield rows below HEADER.

    The first round, which loads the models and makes the known columns, does not count.
    """
    with networks_alone() as alone:
        for name, click in CLICKS.items():
            alone(click, 999)
            click_on(browser, address, process, click, 999)
            for cores, where in ((0, ""), (1, ", one core busy"))[: 1 + (click is PAIR)]:
                measured = []
                for seed in range(1000 + 100 * cores, 1000 + 100 * cores + rounds):
                    with busy(cores):
                        measured.append(Clicked(alone(click, seed), *click_on(browser, address, process, click, seed)))
                yield f"{name}{where}", *_figures(measured)


HEADER = (
    f"a click on Generate, {IMAGES} images a column", "first picture, s", "all pictures, s (range)", "networks alone, s",
    "all pictures / networks alone", "processor seconds of server and browser / of the networks alone",
    "of these, of the server", "the same again, by click, s", "from reload, s",
)  # fmt: skip


def _figures(clicked: list[Clicked]) -> Iterator[str]:
    seconds = [one.whole.seconds for one in clicked]
    for number, values in enumerate((
        [one.first for one in clicked],
        seconds,
        [one.alone.seconds for one in clicked],
        [one.whole.seconds / one.alone.seconds for one in clicked],
        [(one.whole.server + one.whole.browser) / one.alone.server for one in clicked],
        [one.whole.server / one.alone.server for one in clicked],
        [one.again for one in clicked],
        [one.reload for one in clicked],
    )):  # fmt: skip
        yield f"{np.median(values):.2f}" + f" ({min(seconds):.2f} – {max(seconds):.2f})" * (number == 1)


def main(rounds: int = 3) -> None:
    """Measure clicks and print Markdown.

    Args:
        rounds: measurements of each click; the median counts.
    """
    with sync_playwright() as playwright, server() as (address, process, _):
        browser = launch(playwright)
        wait_until_up(address)
        print(f"{machine()}\n\n{table(HEADER, [])}")
        for row in clicks(browser, address, process, rounds):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
