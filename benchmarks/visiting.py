"""A dashboard and its visitors for measurements: a real server, a real Chromium, and what an interaction costs both."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, Playwright
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120_000  # milliseconds after which something counts as broken
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
RESTING = "[data-testid=stApp][data-test-script-state=notRunning]"  # the page, while its script does not run
PAINTED = "() => new Promise(painted => requestAnimationFrame(() => requestAnimationFrame(painted)))"


@contextmanager
def server(script: Path = ROOT / "main_interface.py") -> Iterator[tuple[str, psutil.Process, Path]]:
    """Start a Streamlit server; yield its address, its process and its log."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true"]
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


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep some cores of the processor busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def launch(playwright: Playwright) -> Browser:
    """Start a Chromium."""
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        sys.exit("this benchmark needs Chromium, which is not installed: apt-get install chromium")
    return playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])


def new_page(browser: Browser) -> Page:
    """Open a page in a new browser context: a new visitor."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    return context.new_page()


def seconds_until(action: Callable[[], object], outcome: Callable[[], object]) -> float:
    """Return the seconds from ``action()`` until ``outcome()`` returns."""
    start = time.perf_counter()
    action()
    outcome()
    return time.perf_counter() - start


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process has taken."""
    times = process.cpu_times()
    return times.user + times.system


def browser_seconds() -> float:
    """Return the processor time that this process's browser has taken."""
    children = psutil.Process().children(recursive=True)
    return sum(processor_seconds(child) for child in children if "chrom" in child.name() or "headless" in child.name())


@dataclass(frozen=True)
class Cost:
    """What something on a page cost: processor seconds of the server and of the browser, seconds, and bytes received."""

    server: float
    browser: float
    seconds: float
    received: int = 0


def cost_of(process: psutil.Process, action: Callable[[], object], received: Callable[[], int] = int) -> Cost:
    """Measure the cost of an action, which ends when its outcome is there.

    Args:
        received: returns the bytes that the page has received so far.
    """
    server, browser, start, before = processor_seconds(process), browser_seconds(), time.perf_counter(), received()
    action()
    seconds = time.perf_counter() - start
    return Cost(processor_seconds(process) - server, browser_seconds() - browser, seconds, received() - before)


def ends_run(frame: bytes) -> bool:
    """Return whether a message to the page says that its whole script has run to its end."""
    message = ForwardMsg.FromString(frame)
    return message.WhichOneof("type") == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY


def wait_until(page: Page, there: Callable[[], bool]) -> None:
    """Wait until something is the case that the events of a page bring about."""
    end = time.monotonic() + PATIENCE / 1000
    while not there():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened for {PATIENCE // 1000} seconds on {page.url}")
        page.wait_for_timeout(2)


def cost_of_reruns(
    browser: Browser, process: psutil.Process, address: str, interact: Callable[[Page, int], object], rounds: int
) -> list[Cost]:
    """Measure interactions with a page, each until its script has ended and the result is painted; the first does not count.

    The ends of runs are counted in what the server sends: a busy browser may draw nothing between a run's beginning and end.

    Args:
        interact: interacts with the page, given the number of the round.
    """
    page, received, ended = new_page(browser), [0], [0]

    def count(frame: str | bytes) -> None:
        received[0] += len(frame)
        ended[0] += isinstance(frame, bytes) and ends_run(frame)

    page.on("websocket", lambda socket: socket.on("framereceived", count))
    page.goto(address)
    wait_until(page, lambda: ended[0] > 0)
    page.wait_for_load_state("networkidle")

    def act(number: int) -> None:
        before = ended[0]
        interact(page, number)
        wait_until(page, lambda: ended[0] > before)
        page.locator(RESTING).wait_for()
        page.evaluate(PAINTED)

    costs = [cost_of(process, partial(act, number), lambda: received[0]) for number in range(rounds + 1)]
    page.context.close()
    return costs[1:]
