"""Two processes together learn and draw what one alone does, and write each file once."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.storage.run import Run
from pipelines.storage.weights import read_tensors

SHORT = {"steps": 6, "log_every": 1}
TRAININGS = {
    "class, augmented": {"unet": "class", "augment": 0.5},
    "accumulated, learned weights, two averages": {"accumulation": 2, "weighting": "learned", "ema_also": (16,)},
    "autoencoder": {"model": "autoencoder", "image_size": 16, "latent_channels": 2},
    "low rank": {"lora_rank": 2, "lr": 1e-2},
}
DROPOUT = SHORT | {"dropout": 0.5, "lr": 1e-2}
EVALUATED = ("class", "latent")
MEASURING = ["--num-images", "30", "--steps", "2", "--guidance", "2", "--reference-images", "30", "--batch-size", "7"]
MEASURING += ["--likelihood-images", "3", "--likelihood-levels", "5"]
SAMPLING = ["--num-images", "11", "--steps", "3", "--sampler", "ddpm", "--batch-size", "2"]


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu():
    """All that these tests compare is computed on the CPU, whatever the machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield


@pytest.fixture(scope="module")
def trainings(class_run):
    """The settings of each training; the last one goes on from a run."""
    return {
        name: SHORT | settings | ({"init_from": str(class_run.path)} if "lora_rank" in settings else {})
        for name, settings in TRAININGS.items()
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="module")
def measuring(class_run, latent_run, judge):
    """Returns the arguments that measure a model of classes and one of latents, copied into a folder."""

    def copied(folder):
        runs = zip(EVALUATED, (class_run, latent_run), strict=True)
        paths = [shutil.copytree(run.path, folder / name) for name, run in runs]
        return [*map(str, paths), "--features", str(judge), *MEASURING]

    return copied


def _start(popen, folder: Path, rank: int, environment: dict[str, str]) -> subprocess.Popen:
    """Start one of the two processes, told of the other as torchrun and ``accelerate launch`` tell it."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, "-m", "tests.pipelines.in_turn", "jobs.json", "."]
    with (folder / f"{rank}.out").open("w") as output, (folder / f"{rank}.err").open("w") as error:
        environment = environment | {name: str(value) for name, value in told.items()}
        return popen(command, cwd=folder, env=environment, stdout=output, stderr=error)


@pytest.fixture(scope="module")
def together(forking, shell_environment, flags, trainings, measuring, tiny_run, tmp_path_factory):
    """The folder in which two processes have done everything, what they said, and their reports of each job by its name."""
    folder = tmp_path_factory.mktemp("together")
    jobs = {name: ("pipelines.train", [*flags(**settings), "--out", name]) for name, settings in trainings.items()}
    jobs |= {
        "dropout": ("pipelines.train", [*flags(**DROPOUT), "--out", "dropout"]),
        "dropout, stopped": ("pipelines.train", [*flags(**DROPOUT), "--out", "resumed", "--time-limit", "0"]),
        "masks": ("masks", ["resumed"]),
        "masks again": ("masks", ["resumed"]),
        "dropout, resumed": ("pipelines.train", ["--resume", "resumed"]),
        "samples": ("pipelines.sample", [str(tiny_run.path), *SAMPLING, "--out", "samples"]),
        "measurements": ("pipelines.evaluate", measuring(folder / "measured")),
    }
    numbered = zip(jobs.values(), _free_ports(len(jobs)), strict=True)
    (folder / "jobs.json").write_text(json.dumps([(module, port, arguments) for (module, arguments), port in numbered]))
    processes = [_start(forking, folder, rank, os.environ | shell_environment) for rank in range(2)]
    try:
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:  # one waits for the other, and would do so for long
            process.kill()
    output, error = ("".join((folder / f"{rank}.{name}").read_text() for rank in range(2)) for name in ("out", "err"))
    assert codes == [0, 0], error
    first, second = (map(json.loads, (folder / f"{process}.jsonl").read_text().splitlines()) for process in range(2))
    return folder, output, dict(zip(jobs, zip(first, second, strict=True), strict=True))


def test_there_were_two_processes(together):
    _, output, reports = together
    for name, pair in reports.items():
        assert [(report["process"], report["of"]) for report in pair] == [(0, 2), (1, 2)], name
        assert {report.get("code", 0) for report in pair} == {0}, name
    for name in (*TRAININGS, "dropout", "resumed"):
        assert output.count(f"{name}: finished") == 1


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_learn_what_one_does(together, train, trainings, tmp_path, logged, name):
    one, two = train(tmp_path / "one", **trainings[name]), Run(together[0] / name)
    assert two.config == one.config
    for mine, theirs in zip(logged(one.path), logged(two.path), strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            np.testing.assert_allclose(theirs[key], value, rtol=2e-4, atol=1e-5, err_msg=f"{key}, step {mine['step']}")
    (weights, _), (others, _) = read_tensors(one.model_path), read_tensors(two.model_path)
    assert weights.keys() == others.keys()
    for key, tensor in weights.items():
        torch.testing.assert_close(others[key], tensor, rtol=1e-3, atol=1e-4)
    assert two.samples().keys() == one.samples().keys()


def test_each_process_draws_its_own_dropout_masks(together):
    first, second = together[2]["masks"]
    masks = torch.tensor([*first["masks"], *second["masks"]])
    assert len({tuple(mask) for mask in masks.tolist()}) == 4, "of two processes and two steps"
    assert masks.float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_a_resume_of_two_processes_repeats_their_dropout(together, logged):
    folder, _, reports = together
    assert reports["masks"] == reports["masks again"]
    assert logged(folder / "resumed") == logged(folder / "dropout")
    whole, resumed = (read_tensors(Run(folder / name).model_path)[0] for name in ("dropout", "resumed"))
    assert all(torch.equal(tensor, resumed[key]) for key, tensor in whole.items())


def test_two_processes_write_the_very_same_samples(together, command, tiny_run, tmp_path):
    folder, output, _ = together
    assert command("pipelines.sample", tiny_run.path, *SAMPLING, "--out", tmp_path).code == 0
    files = [sorted(str(path.relative_to(root)) for path in root.rglob("*.*")) for root in (tmp_path, folder / "samples")]
    assert files[0] == files[1]
    assert output.count("11 images") == 1
    for name in files[0]:
        assert (tmp_path / name).read_bytes() == (folder / "samples" / name).read_bytes(), name


def test_two_processes_measure_the_very_same_figures(together, command, measuring, tmp_path):
    folder, output, _ = together
    assert command("pipelines.evaluate", *measuring(tmp_path)).code == 0
    expected = (["loss", "bound", "floor", "samples"], ["loss", "floor", "reconstruction", "samples"])
    for name, kinds in zip(EVALUATED, expected, strict=True):
        files = [root / name / "evaluation.json" for root in (tmp_path, folder / "measured")]
        one, two = (json.loads(file.read_text())["results"] for file in files)
        assert [result["kind"] for result in two] == kinds
        for result in (*one, *two):
            for cost in ("seconds", "memory", "machine"):
                result["found"].pop(cost, None)
        assert two == one
        pictures = [file.with_name("evaluation-neighbours.png").read_bytes() for file in files]
        assert pictures[0] == pictures[1]
        assert output.count(f"{name}: loss: ") == output.count(str(files[1])) == 1


def test_what_works_in_one_process_says_so(command, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    sentence = command("pipelines.classifier", "a.safetensors").refused_in_one_sentence()
    assert "runs in one process, but 2 were launched: start it with python -m pipelines.classifier" in sentence
