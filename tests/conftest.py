"""What many tests share: an offline environment, a folder of small pictures, and a run trained on it."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

# Before anything imports huggingface_hub or datasets: they read the environment once.
if "PYTEST_XDIST_WORKER" not in os.environ:  # else those of the process which has loaded the libraries
    _CACHES = tempfile.mkdtemp(prefix="noisescope-tests-")
    atexit.register(shutil.rmtree, _CACHES, ignore_errors=True)
    os.environ["NOISESCOPE_CACHE"] = str(Path(_CACHES) / "noisescope")
    os.environ["HF_HOME"] = str(Path(_CACHES) / "huggingface")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("HF_DATASETS_CACHE", None)
os.environ.pop("NOISESCOPE_DATA", None)
# jsonschema, which checks notebooks, would check addresses in them as well if it could; to build their grammar takes seconds.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
gc.disable()  # until all tests are collected: what is imported stays

import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402
from forked import ForkedPython, make_template  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

# The settings of a run that trains in a moment, by the names of their flags.
SMALL = {
    "channels": (8, 16),
    "image_size": 8,
    "batch_size": 8,
    "steps": 12,
    "warmup_steps": 2,
    "log_every": 2,
    "eval_every": 6,
    "sample_every": 12,
    "save_every": 4,
    "sample_images": 4,
    "ema_half_life": 40,
    "precision": "no",
}


BROWSER = ("browser, to hosts", "browser, from links")
# What takes longest begins first: at the end, one process would wait for another.
LONGEST = (
    *BROWSER,
    "test_notebooks.py",
    "test_jobs.py",
    "test_resume.py",
    "test_two_processes.py",
    "test_loop.py",
    "test_hostile_inputs.py",
    "test_text_encoders.py",
    "test_trackers.py",
    "test_unets.py",
)


def unit_of(nodeid: str) -> str:
    """Return what a test shares a process with: its file, or half of the browser tests, each with a server and a browser."""
    folder, _, file = nodeid.partition("::")[0].rpartition("/")
    if folder == "tests/browser":
        return BROWSER[file > "test_hosts.py"]
    return file


def pytest_collection_modifyitems(items):
    places = {unit: place for place, unit in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(unit_of(item.nodeid), len(LONGEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """Fork the processes that run the tests from one that has loaded the libraries, which would take each of them seconds."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for those of another process are slower than none
    make_template("diffusers.models.unets", "diffusers.schedulers", "scipy.stats", "streamlit.testing.v1")
    subprocess.Popen = ForkedPython


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """Search for garbage seldom, and never in what the libraries have made: as often as usual, it takes a tenth of the time.

    Then make what processes are forked from, for those who need it, while nothing has run.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()
    if any("forking" in getattr(item, "fixturenames", ()) for item in session.items):
        make_template()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Share the tests out by :func:`unit_of`."""
    from xdist.scheduler import LoadFileScheduling

    class ByUnit(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return unit_of(nodeid)

    return ByUnit(config, log)


def draw_shape(number: int, side: int = 12) -> Image.Image:
    """Draw a coloured circle or square on a dark background; every number looks different."""
    image = Image.new("RGB", (side, side), (number, 10, 40))
    box = (1 + number % 3, 1 + number % 4, side - 2 - number % 2, side - 2 - number % 3)
    colour = (255 - 3 * number, 60 + 4 * number, 30 + 97 * number % 200)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if number % 2 else draw.rectangle)(box, fill=colour)
    return image


def write_shapes(folder: Path, numbers: range) -> Path:
    """Draw shapes into sub-folders of ``folder``, one per class, the layout that ``datasets`` reads as labels."""
    for number in numbers:
        kind = folder / ("circles" if number % 2 else "squares")
        kind.mkdir(parents=True, exist_ok=True)
        draw_shape(number).save(kind / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Return a function that makes a folder by its name, once for all processes that share the tests out."""
    root = tmp_path_factory.getbasetemp()
    shared = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "shared"
    shared.mkdir(exist_ok=True)

    def make(name, write):
        folder, made = shared / name, shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                write(folder)
                made.touch()
        return folder

    return make


@pytest.fixture(scope="session", autouse=True)
def short_grids():
    """Networks in training draw their grids in three steps: the usual twenty would take a third of a small training."""
    from pipelines.training import diffusion

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion, "SAMPLE_STEPS", 3)
        yield


@pytest.fixture(scope="session")
def image_folder(made_once):
    """Forty small coloured shapes in two sub-folders; shared, like the runs below: copy it before you change it."""
    return made_once("shapes", lambda folder: write_shapes(folder, range(40)))


@pytest.fixture(scope="session")
def small_settings(image_folder):
    """The settings of a small run on the shapes, by the names of their flags."""
    return SMALL | {"data": str(image_folder)}


@pytest.fixture(scope="session")
def small_config(small_settings):
    """Return a function that makes a RunConfig from leaf settings by name: ``small_config(steps=20, unet="attention")``."""
    from pipelines.storage.config import RunConfig

    def make(**changes):
        wanted = small_settings | changes
        config = RunConfig(seed=wanted.pop("seed", 0), model=wanted.pop("model", "diffusion"))
        for section in ("network", "diffusion", "data", "condition", "optimizer", "log", "init", "autoencoder", "latent"):
            part = getattr(config, section)
            own = {field.name: wanted.pop(field.name) for field in fields(part) if field.name in wanted}
            config = replace(config, **{section: replace(part, **own)})
        assert not wanted, wanted
        return config

    return make


@pytest.fixture(scope="session")
def make_trainer(small_config):
    """Return a function that prepares a training loop in this process, after resetting Accelerate's global state."""

    def make(out, config=None, trackers=(), **changes):
        from accelerate.state import AcceleratorState, GradientState

        from pipelines.storage.run import Run
        from pipelines.training.reading import open_training

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        config = config or small_config(**changes)
        return open_training(Run(out), config, trackers)

    return make


@pytest.fixture(scope="session")
def train(make_trainer):
    """Return a function that trains in this process and returns the Run; an existing folder is resumed."""

    def run_it(out, config=None, **changes):
        trainer = make_trainer(out, config, **changes)
        trainer.fit()
        return trainer.run

    return run_it


@pytest.fixture(scope="session")
def trained_once(made_once, train):
    """Return a function that trains a run of that name, once for all processes that share the tests out."""
    from pipelines.storage.run import Run

    return lambda name, **changes: Run(made_once(name, lambda folder: train(folder, **changes)))


@pytest.fixture(scope="session")
def tiny_run(trained_once):
    """A baseline U-Net trained for a few steps."""
    return trained_once("tiny", steps=24)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hugging Face hub that clients in this process and in those that it starts talk to, with a token and an empty cache."""
    from hub_server import TOKEN, serving
    from huggingface_hub import constants

    with serving() as hub:
        files = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        cache, runs = tmp_path / "cache", tmp_path / "runs"
        own = {
            "ENDPOINT": hub.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": files,
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }
        for name, value in (own | {"HF_HUB_CACHE": str(cache)}).items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr("pipelines.storage.runs.PRIVATE", runs)
        environment = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
        for name, value in (environment | {"HF_HUB_CACHE": str(cache), "NOISESCOPE_RUNS": str(runs)}).items():
            monkeypatch.setenv(name, value)
        yield hub


@pytest.fixture(scope="session")
def class_run(trained_once):
    """A class-conditional U-Net trained for a few steps on circles and squares."""
    return trained_once("class", unet="class", steps=24)


@pytest.fixture(scope="session")
def text_run(trained_once):
    """A text-conditional U-Net with MiniLM, trained for a few steps."""
    return trained_once("text", unet="text", steps=12)


@pytest.fixture(scope="session")
def clip_folder(made_once):
    """The folder of a small CLIP, for the setting ``encoder``."""
    from small_clip import save_clip

    return made_once("clip", save_clip)


@pytest.fixture(scope="session")
def autoencoder_run(trained_once):
    """An autoencoder of the shapes at 16×16, with latents of 2×8×8."""
    return trained_once("autoencoder", model="autoencoder", image_size=16, latent_channels=2, steps=120, lr=3e-3)


@pytest.fixture(scope="session")
def latent_run(trained_once, autoencoder_run):
    """A class-conditional U-Net of that autoencoder's latents, trained for a few steps."""
    return trained_once("latent", unet="class", image_size=16, latent=str(autoencoder_run.path), steps=24)


@pytest.fixture(scope="session")
def judge(made_once, image_folder):
    """A classifier of the shapes."""
    from pipelines.classifier import TrainClassifier, main
    from pipelines.storage.config import DataConfig

    def train_classifier(folder):
        data = DataConfig(data=str(image_folder), image_size=8)
        assert main(TrainClassifier(folder / name, data, channels=(8, 16), epochs=20, batch_size=16)) == 0

    name = "shapes.safetensors"
    return made_once("classifiers", train_classifier) / name


@pytest.fixture
def queue_folder(tmp_path):
    """The folder of the queue's runs."""
    return tmp_path / "runs"


@pytest.fixture
def queue(queue_folder):
    """A training queue over an empty folder of runs; processes still running at the end are killed."""
    import psutil

    from pipelines.storage.layout import PROCESS
    from pipelines.storage.processes import read_record
    from pipelines.training.jobs import WORKER, TrainingQueue

    queue = TrainingQueue(queue_folder)
    yield queue
    for path in [queue.root / WORKER, *(run / PROCESS for run in queue.root.glob("*/"))]:
        record = read_record(path)
        if record is not None and record.alive:
            psutil.Process(record.pid).kill()


@pytest.fixture(scope="session")
def forking():
    """A ``subprocess.Popen`` whose Python processes begin with the libraries that the tests have loaded; see forked.py."""
    return ForkedPython


@pytest.fixture
def forked(forking, monkeypatch):
    """Each Python process that a test starts is such a one."""
    monkeypatch.setattr(subprocess, "Popen", forking)


@pytest.fixture(scope="session")
def wait_for():
    """Return a function that waits until a condition holds."""

    def wait(condition, seconds=200.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.05)  # looking at a queue costs milliseconds, which its training needs

    return wait
