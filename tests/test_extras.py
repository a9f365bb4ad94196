"""A small installation: which packages belong to which extra, and a dashboard that has none of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from html import unescape
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.common.extras import EXTRAS, missing_extra, require_extra
from tests.test_imports import ROOT

FOLDER = ROOT / "requirements"


def required(name: str) -> list[Requirement]:
    """What a file of requirements/ asks for."""
    lines = (line.partition("#")[0].strip() for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def with_their_own(requirements: Iterable[Requirement]) -> set[str]:
    """The names of the packages that these requirements install here."""
    left, found = list(requirements), set()
    while left:
        one = left.pop()
        known = {(canonicalize_name(one.name), extra) for extra in ("", *one.extras)}
        if known <= found:
            continue
        found |= known
        try:
            own = [Requirement(text) for text in requires(one.name) or ()]
        except PackageNotFoundError:  # for another system
            continue
        left += [each for each in own if each.marker is None or any(each.marker.evaluate({"extra": e}) for _, e in known)]
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def packages() -> dict[str, set[str]]:
    """The names of the packages of each module that is installed here."""
    return {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}


def test_every_extra_is_a_file_and_installs_the_modules_that_it_promises(packages):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    files = {name: f"requirements/{name}.txt" for name in EXTRAS}
    assert extras == {name: {"file": file} for name, file in files.items()} | {"all": {"file": [*files.values()]}}
    assert {path.stem for path in FOLDER.iterdir()} == {"base", *EXTRAS}
    everything = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert everything == [f"-r {file}" for file in ("requirements/base.txt", *files.values())]
    for name, extra in EXTRAS.items():
        asked = {canonicalize_name(one.name) for one in required(name)}
        assert all(packages[module] & asked for module in extra.modules), name


@pytest.fixture(scope="module")
def pages(packages, tmp_path_factory) -> dict[str, dict[str, list[str]]]:
    """What the pages say where nothing is installed beyond requirements/base.txt."""
    there = with_their_own(required("base")) | {"noisescope"}  # where it is installed, by `pip install -e .`
    gone = [module for module, names in packages.items() if not names & there and module.isidentifier()]
    assert {module for extra in EXTRAS.values() for module in extra.modules} <= {*gone}
    own, data = (str(tmp_path_factory.mktemp(name)) for name in ("own", "data"))
    (Path(data) / "fashion_mnist").mkdir()  # read without asking, if anything could read it
    shutil.copytree(ROOT / "checkpoints" / "fashion-text", Path(own) / "finished")
    (Path(own) / "begun").mkdir()
    shutil.copy(ROOT / "checkpoints" / "fashion-baseline" / "config.json", Path(own) / "begun")
    done = subprocess.run(
        [sys.executable, "tests/small_installation.py", *gone],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NOISESCOPE_RUNS": own, "NOISESCOPE_CACHE": own, "NOISESCOPE_DATA": data},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_dashboard_works_with_the_packages_of_the_base_alone(pages):
    for name in ("home", "compare", "reverse", "forward", "training_curves", "evaluate"):
        assert not pages[name]["error"] + pages[name]["warning"], name


def test_what_wants_more_says_what_to_install(pages):
    [problem] = pages["generate"]["beside"]
    assert "ext encoders and vision transformers need" in problem
    wanted = {
        "compare": {"Add a model from the hub": "hub", "Measure": "train"},
        "reverse": {"MP4": "video", "Save film strip": "paper"},
        "evaluate": {"Evaluate…": "train", "Report (HTML)": "paper"},
        "train": {"Resume": "train", "Distil": "train", "Distil a model": "train"},
        "forward": {"Download": "train"},
    }
    for name, buttons in wanted.items():
        for button, extra in buttons.items():
            disabled = pages[name]["disabled"]
            labels = [button] if button in disabled else [label for label in disabled if label.startswith(button)]
            assert [f'pip install -e ".[{extra}]"' in unescape(disabled[label]) for label in labels] == [True], (name, button)
    [above] = pages["train"]["warning"]  # and not again where the data would be shown
    assert 'pip install -e ".[train]"' in unescape(above)


def test_a_missing_package_is_one_sentence(monkeypatch):
    require_extra("lora")
    monkeypatch.setitem(sys.modules, "pytorch_fid", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    told = (
        "Inception's features need torchvision and pytorch-fid, which are not installed: "
        'run `pip install -e ".[inception]"` in Noisescope\'s folder and start again'
    )
    assert missing_extra("inception") == told
    with pytest.raises(ValueError, match="which are not installed"):
        require_extra("inception")
