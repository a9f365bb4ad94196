"""Runs whose names, settings and logs are markup: every page shows them as they are and asks no foreign address."""

import json
import re
import shutil
from urllib.parse import urlencode

import pytest

from .conftest import ROOT, empty, wait_until

NAMES = (
    "lr=$1e-3$ vs $2e-3$",
    "*best* _x_ `c` ~~s~~",
    ":red[x] :smile: :streamlit:",
    "<b>x<b> <img src=x>",
    "[a](https:www.evil.example) ![i](x.png)",
    "# a?b#c&d=%2F+e%",
    "x" * 255,
)
MARKUP = (
    "[a](https://evil.example/x) ![i](https://evil.example/i.png) <img src=https://evil.example/i.png> https://evil.example"
)
BAD, TORN = "bad run", "*torn* $run$"


@pytest.fixture(scope="module")
def hostile(server, runs_folder):
    """A dashboard over runs with such names, and one whose every file is damaged."""
    for number, name in enumerate(NAMES):
        run = shutil.copytree(ROOT / "checkpoints" / "fashion-attention", runs_folder / name)
        config = json.loads((run / "config.json").read_text())
        config["versions"] = {f"torch{number}": MARKUP}
        (run / "config.json").write_text(json.dumps(config))
        evaluation = json.loads((run / "evaluation.json").read_text())
        for result in evaluation["results"]:
            if result["kind"] == "samples":
                result["asked"]["features"] = f"{MARKUP} {number}"
        (run / "evaluation.json").write_text(json.dumps(evaluation))
        with (run / "metrics.jsonl").open("a") as log:
            log.write("[" * 100_000 + "\n")
    bad = shutil.copytree(runs_folder / NAMES[0], runs_folder / BAD)
    (bad / "config.json").write_text(json.dumps(config | {"optimizer": config["optimizer"] | {"steps": 9}}))
    (bad / "evaluation.json").write_text('{"fingerprint": "x"}')
    for file in ("job.json", "process.json", "outcome.json", "progress.json"):
        (bad / "state").mkdir(exist_ok=True)
        (bad / "state" / file).write_text("[" * 100_000)
    shutil.copytree(runs_folder / NAMES[0], runs_folder / TORN)
    (runs_folder / TORN / "config.json").write_text("{")
    yield server
    empty(runs_folder)


PAGES = {
    "": [*NAMES, BAD, TORN],
    "compare": [f"{TORN} cannot be read: "],
    "training_curves": [*NAMES, f"{NAMES[0]}: 1 damaged line skipped", MARKUP, f"{TORN} cannot be read: "],
    "evaluate": [*NAMES, f"in feature space ({MARKUP}", f"{TORN} cannot be read: "],
    "train": [BAD, "state/job.json and state/process.json"],
}
SHOWN = """texts => {
    const shown = document.querySelector('[data-testid=stMain]').innerText.replaceAll('\u2060', '')
    return texts.every(text => shown.includes(text)) && !document.querySelector('[data-testid=stSkeleton]')
}"""


@pytest.mark.parametrize("path", PAGES)
def test_names_appear_literally_and_nothing_foreign_is_asked_for(page, hostile, path):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    inputs = {"compare": [("model1", NAMES[0])], "": [], "train": []}
    chosen = urlencode(inputs.get(path, [("differences", "true"), *(("runs", name) for name in (*NAMES, BAD))]))
    page.goto(f"{hostile}/{path}?{chosen}")
    if not path:
        page.get_by_test_id("stMain").get_by_text(re.compile(r"^\d+ more models$")).click()  # Home folds all models
    wait_until(page, SHOWN, arg=PAGES[path])
    main = page.get_by_test_id("stMain")
    for wrong in ("em", "del", ".katex", "a[href*='//evil']", "img[src*=evil]", "img[src='x']", "[alt='Streamlit logo']"):
        assert main.locator(wrong).count() == 0, wrong
    assert not [url for url in asked if not url.startswith((hostile, "data:", "blob:"))]
