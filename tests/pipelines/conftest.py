"""Ways to run the commands: in this process (fast), and as a person does."""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = {
    "pipelines.import_diffusers": "Import",
    "pipelines.export_diffusers": "Export",
    "pipelines.data": "Data",
    "pipelines.train": "Train",
    "pipelines.distill": "Distill",
    "pipelines.sample": "Sample",
    "pipelines.spacing": "Spacing",
    "pipelines.publish": "Publish",
    "pipelines.download": "Download",
    "pipelines.classifier": "TrainClassifier",
    "pipelines.evaluate": "Evaluate",
    "pipelines.figure": "COMMANDS",
}


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    output: str
    error: str

    def refused_in_one_sentence(self) -> str:
        """Assert that the command gave up politely, and return what it said."""
        assert self.code == 2, (self.code, self.output, self.error)
        said = [line for line in self.error.splitlines() if line.startswith("error: ")]
        assert len(said) == 1, self.error
        assert "Traceback" not in self.error
        return said[0].removeprefix("error: ")


@pytest.fixture(scope="session", autouse=True)
def leave_curves():
    """Trainings by command leave no curves here, which take as long to draw as a small training; this draws them."""
    from pipelines import train

    with pytest.MonkeyPatch.context() as patch:
        drawing = train._leave_curves
        patch.setattr(train, "_leave_curves", lambda run: None)
        yield drawing


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs ``python -m program arguments`` in this process."""

    def run(program, *arguments):
        from accelerate.state import AcceleratorState, GradientState

        from pipelines.common.command_line import run_command

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        module = importlib.import_module(program)
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        capsys.readouterr()
        try:
            default = getattr(module, "defaults_for", None)
            code = run_command(getattr(module, ARGUMENTS[program]), module.main, program, default)
        except SystemExit as stop:  # the parser's own refusal
            code = stop.code
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def shell_environment(tmp_path_factory):
    """What a child process's environment has besides that of the tests: nothing of the person's own is in reach."""
    home = tmp_path_factory.mktemp("wandb-home")
    own = {name: str(home) for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}
    return own | {"WANDB_MODE": "offline", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def usual_grids(monkeypatch):
    """Networks in training draw samples in as many steps as in other processes."""
    from pipelines.training import diffusion
    from pipelines.training.comparison import STEPS

    monkeypatch.setattr(diffusion, "SAMPLE_STEPS", STEPS)


@pytest.fixture(scope="session")
def shell(shell_environment):
    """Runs Python with arguments in a process of its own and waits for it."""

    def run(*arguments, cwd=ROOT):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=os.environ | shell_environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start(shell_environment):
    """Starts Python with arguments and returns the Popen; whatever still runs at the end of the test is killed."""
    started = []

    def run(*arguments):
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | shell_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def flags(small_settings):
    """Settings as command line arguments: ``flags(steps=20)`` -> ["--steps", "20", …]."""

    def make(**changes):
        arguments = []
        for name, value in (small_settings | changes).items():
            values = value if isinstance(value, tuple) else (value,)
            arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
        return arguments

    return make


@pytest.fixture
def copied_run(tiny_run, tmp_path):
    """A copy of the tiny run that a test may damage."""
    from pipelines.storage.run import Run

    return Run(shutil.copytree(tiny_run.path, tmp_path / "copied"))


@pytest.fixture(scope="session")
def logged():
    """The lines of a run's metrics.jsonl, bit for bit, without the wall-clock time."""

    def read(run):
        rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    return read


class FullDisk:
    """A folder in which nothing can be written between :meth:`fill` and :meth:`free`."""

    def __init__(self, folder: Path, mounted: bool) -> None:
        self.folder, self._mounted = folder, mounted
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        if not self._mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._limits[1]))
            return
        with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        (self.folder / "filler").unlink(missing_ok=True)


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 8 MiB that a test can fill and free; without the right to mount one, a limit on the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    disk = FullDisk(folder, mounted)
    yield disk
    disk.free()
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
