"""Damaged and hostile files: each is read or refused with one sentence. benchmarks/fuzz.py does the same for hours."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz import examine, make_mutant, remove
from benchmarks.fuzzing.child import FAILED, REFUSED, Child, judge
from benchmarks.fuzzing.kinds import KINDS
from benchmarks.fuzzing.seeds import Seeds
from pipelines.storage.files import CLASSIFIERS

ROOT = Path(__file__).resolve().parents[1]
# Of each kind as many as a few seconds allow; the kinds left out need a page or a library that takes as long to load.
MUTANTS = {
    "picture": 40,
    "records": 6,
    "special": 5,
    "vanishing": 2,
    "recipe": 60,
    "prompts": 20,
    "classifier": 20,
    "config": 20,
    "weights": 10,
    "card": 10,
    "state": 6,
    "dataset": 4,
}


@pytest.fixture(scope="module")
def seeds(class_run, image_folder, tmp_path_factory):
    """The valid inputs that the kinds here need: no text encoder and no pipeline."""
    missing = tmp_path_factory.mktemp("seeds") / "missing"
    return Seeds(class_run.path, image_folder, missing, missing, CLASSIFIERS / "fashion-mnist.safetensors")


@pytest.fixture(scope="module")
def child(forking, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, Child(tmp_path_factory.mktemp("fuzz")) as child:
        patch.setattr(subprocess, "Popen", forking)
        yield child
        remove(child.work)


@pytest.mark.parametrize("kind", MUTANTS)
def test_a_mutant_is_read_or_refused_with_one_sentence(kind, child, seeds):
    found = {number: examine(child, kind, 0, number, seeds) for number in range(MUTANTS[kind])}
    failed = {number: verdict.told for number, verdict in found.items() if verdict.outcome == FAILED}
    assert not failed


def test_a_mutant_is_the_same_each_time(seeds, tmp_path):
    def digests(kind: str, number: int) -> dict[str, str]:
        make_mutant(kind, 3, number, seeds, tmp_path / "mutant")
        files = sorted(path for path in (tmp_path / "mutant").rglob("*") if path.is_file())
        return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    for kind in ("picture", "records", "weights", "recipe"):
        assert digests(kind, 0) == digests(kind, 0) != digests(kind, 1)
    assert MUTANTS.keys() <= KINDS.keys()


def test_only_sentences_of_ours_and_of_the_system_count_as_refusals():
    from pipelines.storage.recipes import read_recipe

    def verdict_of(function, *arguments):
        try:
            function(*arguments)
        except Exception as error:
            return judge(error).outcome

    assert verdict_of(read_recipe, "nonsense") == REFUSED
    assert verdict_of(Path("/nowhere/at/all").read_bytes) == REFUSED
    assert verdict_of(b"\xff".decode) == FAILED
    assert verdict_of(int, "one") == FAILED
    assert verdict_of({}.__getitem__, "key") == FAILED


def test_the_watch_notes_what_no_input_may_cause(tmp_path):
    script = """
import socket, subprocess, sys
from pathlib import Path
from benchmarks.fuzzing.child import Watch
work = Path(sys.argv[1])
for name in ("mutant", "outside"):
    (work / name).mkdir()
(work / "outside/secret").touch()
watch = Watch(work)
watch.active = True
(work / "mutant/file").write_text("allowed")
assert not watch.noted, watch.noted
for harm in (
    lambda: subprocess.run(["true"]),
    lambda: socket.getaddrinfo("example.invalid", 80),
    lambda: (work / "file").write_text(""),
    lambda: (work / "file").unlink(),
    lambda: (work / "outside/secret").read_text(),
):
    try:
        harm()
    except OSError:
        pass
    assert watch.noted, harm
    watch.noted.clear()
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
