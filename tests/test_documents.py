"""What the documents name is there."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest

from notebooks.execute import NOTEBOOKS
from pages.components.lessons import LESSONS
from pages.components.runs import describe_run, is_diffusion, known_runs
from pipelines.evaluation.results import Evaluation
from pipelines.sampling.own_steps import default_request
from pipelines.storage.runs import PUBLISHED
from tests.test_imports import ROOMS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/ARCHITECTURE.md", "docs/DEPLOYMENT.md"]
DOCUMENTS += ["docs/GLOSSARY.md", "docs/HARDWARE.md", "notebooks/README.md"]
PATH = re.compile(r"`((?:diffusion_core|unets|pipelines|pages|checkpoints|deploy|docs|tests|benchmarks|notebooks)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_paths_lead_somewhere(name):
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    targets = [document.parent / link for link in LINK.findall(text)] + [ROOT / path for path in PATH.findall(text)]
    assert not [str(target) for target in targets if not Path(target).exists()]


def test_the_readme_and_the_notebooks_list_the_lessons_in_their_order():
    contents = (ROOT / "notebooks/README.md").read_text(encoding="utf-8")
    listed = [f"[{one.title}](http://localhost:8501/{one.address}) | {one.question} | [{one.notebook[:2]}]" for one in LESSONS]
    places = [README.find(line) for line in listed]
    assert -1 not in places
    assert places == sorted(places)
    for lesson in LESSONS:
        row = next(line for line in contents.splitlines() if f"({lesson.notebook}.ipynb)" in line)
        assert f"[{lesson.title}](http://localhost:8501/{lesson.address})" in row


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_links_to_its_lessons(path):
    beginning = nbformat.read(path, as_version=4).cells[0].source
    linked = re.findall(r"\[([^\]]+)\]\(http://localhost:8501/([^)]+)\)", beginning)
    assert linked == [(one.title, one.address) for one in LESSONS if one.notebook == path.stem]
    assert linked or path.stem == "08_your_own_network"  # which is about the library alone


def test_the_readmes_models_are_those_of_the_dashboard_with_their_measured_numbers():
    """The same order, the same held-out loss as on Home and Evaluate, and the Fréchet distance of the named sampler."""
    rows = re.findall(r"^\| ([\w-]+) \|.*\| ([\d.]+) M \| ([\d.]+|–).*? \| ([\d.]+) \(([\d.]+)\) \|$", README, re.MULTILINE)
    models = known_runs().models(is_diffusion)
    shipped = [name for name, model in models.items() if model.run.path.parent == PUBLISHED]
    assert [name for name, *_ in rows] == shipped
    for name, millions, loss, distance, floor in rows:
        assert f"{models[name].num_parameters / 1e6:.1f}" == millions
        config, evaluation = models[name].config, Evaluation(models[name].run)
        assert (loss == "–") == (config.distillation is not None)
        assert loss == "–" or f"held-out loss {loss}" in describe_run(models[name])
        usual = asdict(default_request(config))
        ways = ("sampler", "steps", "spacing", "guidance")
        measured = next(
            one for one in evaluation.of_kind("samples") if all(one.asked["request"][way] == usual[way] for way in ways)
        )
        real = next(one for one in evaluation.of_kind("floor") if measured.asked["judge"] == one.asked["judge"])
        for said, found in ((distance, measured), (floor, real)):
            value = found.found["figures"]["frechet_distance"]["value"]
            assert float(said) == round(value, len(said.partition(".")[2])), name


def test_the_design_lists_the_rooms_in_their_order():
    text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \|", text.split("| room |")[1].split("\n\n")[0], re.MULTILINE)
    assert tuple(rows) == tuple(ROOMS)


def test_what_is_shipped_stays_small():
    """For everybody who clones the repository: no weights above 16 MiB, and all published runs together at most 112."""
    files = [path for path in (ROOT / "checkpoints").rglob("*") if path.is_file()]
    sizes = {path: path.stat().st_size / 2**20 for path in files}
    assert max(sizes.values()) <= 16
    assert sum(sizes.values()) <= 112
