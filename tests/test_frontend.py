"""The scripts and styles that run in the browser: linted, whole, and used."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pages.components import frontend, live_figure, painter, player, samples, sharing, stage
from pipelines.figures.chart import Chart, Panel
from pipelines.sampling.generation import Comparison, Frame, Generation
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.catalogue import read_catalogue
from pipelines.storage.config import RunConfig
from pipelines.storage.run import Run

ROOT = Path(__file__).resolve().parent.parent
STATES = ("shown", "painted", "step", "image")  # that components report; none is reported here
SCRIPTS = sorted(path.name for path in frontend.FOLDER.glob("*.js"))
PYTHON = [ROOT / "main_interface.py", *sorted((ROOT / "pages").rglob("*.py"))]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """As ``.ci/run`` does, by this project's rules."""
    oxlint = shutil.which("oxlint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert oxlint, "no linter for JavaScript: pip install -r requirements-dev.txt"
    return subprocess.run([oxlint, "."], cwd=folder, capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert f"on {len(SCRIPTS)} files" in done.stdout  # all of them, and there are no others


@pytest.mark.parametrize(
    "mistake", ["coutn.textContent = 1", "let never = 1", "if (document.title == 1) document.title = 2", "const = 1"]
)
def test_the_linter_sees_mistakes(tmp_path, mistake):
    shutil.copy(ROOT / ".oxlintrc.json", tmp_path)
    shutil.copytree(frontend.FOLDER, tmp_path / "frontend", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    assert lint(tmp_path).returncode == 0
    with (tmp_path / "frontend" / "player.js").open("a") as script:
        script.write(f"{mistake}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "player.js" in done.stdout


def test_a_component_loads_its_script_from_a_folder_that_is_served():
    """Streamlit sends the text of a component's script with every rerun, so the text only names the file."""
    for name in SCRIPTS:
        for needed in re.findall(r'from "\./(.+)"', frontend.text(name)):
            assert needed in SCRIPTS
    assert frontend.url(frontend._FILES, "stage.js") == f"/component/{frontend._FILES.name}/stage.js"
    assert Path(frontend._FILES.path) == frontend.FOLDER


def documented(script: str, shape: str) -> set[str]:
    """The names of the properties of a shape that a script describes."""
    [comment] = re.findall(rf"@typedef {{object}} {shape}\n(.*?)\*/", frontend.text(script), re.DOTALL)
    return set(re.findall(r"@property {[^}]+} (\w+)", comment))


@pytest.mark.parametrize(
    ("module", "shape", "show"),
    [
        (player, "Film", lambda picture: player.player(picture[None, None], ["sample"], "key", alt="")),
        (painter, "Canvas", lambda picture: painter.painter(picture, "key", alt="")),
        (sharing, "Shared", lambda _: sharing.show_sharing("compare", {})),
        (live_figure, "Chart", lambda _: live_figure.live_figure(Chart((Panel(()),)), "key", "")),
        (samples, "Samples", lambda _: samples.show_samples({"a": read_catalogue("checkpoints").runs["fashion-baseline"]}, [])),
    ],
    ids=["player", "painter", "sharing", "live_figure", "samples"],
)
def test_a_script_describes_what_python_sends(module, shape, show, monkeypatch):
    sent = []
    monkeypatch.setattr(module, "_component", lambda data, **_: sent.append(data) or SimpleNamespace(**dict.fromkeys(STATES)))
    show(np.zeros((2, 3, 1), np.uint8))
    assert documented(f"{module.__name__.split('.')[-1]}.js", shape) == set(sent[0])


def test_the_stage_describes_what_python_sends():
    noise = np.zeros((1, 2, 2, 3), np.uint8)
    frames = [Frame(0, 999.0, -math.inf, noise, noise, nfe=0, seconds=0.0)]
    column = Generation(Run("nowhere"), SamplingRequest(), "", RunConfig(image_shape=(3, 2, 2)), frames)
    sent = stage.stage_data(["1"], Comparison([column]))
    for shape, part in (("Shown", sent), ("Column", sent["columns"][0]), ("Level", sent["levels"][0])):
        assert documented("stage_scene.js", shape) == set(part)
    assert documented("stage_scene.js", "Frame") == set(sent["columns"][0]["frames"][0])


def test_every_file_is_used():
    """By Python or by another file; nothing is left over."""
    ours = "\n".join([*(path.read_text() for path in PYTHON), *map(frontend.text, SCRIPTS)])
    files = [path.name for path in frontend.FOLDER.iterdir() if path.suffix in {".js", ".css", ".html"}]
    assert len(files) > len(SCRIPTS)
    for name in files:
        assert re.search(rf"[/\"'](?:{re.escape(name)}|{name.split('.')[0]})[\"']", ours), f"nothing uses {name}"


def test_python_holds_no_script_and_no_stylesheet():
    """Where no linter would see them."""
    for path in PYTHON:
        found = re.search(r"\b(const|let) \w+ = |=> \{|addEventListener|^\s*[.\w-]+ \{.*:.*;", path.read_text(), re.MULTILINE)
        assert not found, f"{path}: {found}"
