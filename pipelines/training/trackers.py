"""Trackers that follow a training beside its own log: trackio, MLflow, TensorBoard and Weights & Biases, through Accelerate.

A tracker that cannot be used is refused before training starts. One that fails later is told of and left out: it never ends a
training, whose own log is whole without it.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, TrackioTracker, WandBTracker

from ..common.command_line import describe
from ..common.images import Pixels, as_pil
from ..storage.config import RunConfig
from ..storage.disk import refuse_unwritable
from ..storage.metrics_log import BY_TIMESTEP
from ..storage.run import Run

PROJECT = "noisescope"
FOLDER = "trackers"  # in the run, of those that keep their files there
REMEDIES = {
    "trackio": "set TRACKIO_DIR to a folder that can be written",
    "mlflow": "set MLFLOW_TRACKING_URI to a store that can be written, such as sqlite:///mlflow.db",
    "tensorboard": "choose another --out",
    "wandb": "log in, or set WANDB_MODE=offline",
}


def refuse_unusable(names: Sequence[str]) -> None:
    """Raise ValueError if the package of a tracker is not installed, or it is known beforehand that it cannot be used."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            again = ", then pip install -r requirements.txt, since it asks for an older Pillow" if name == "trackio" else ""
            raise ValueError(f"--tracker {name} needs the package {name!r}: pip install {name}{again}")
    for name, check in (("trackio", _refuse_unwritable_trackio), ("wandb", _log_in)):
        if name in names:
            _refusing(name, check)


def _refuse_unwritable_trackio() -> None:
    from trackio.utils import TRACKIO_DIR  # trackio only warns of what it cannot write

    refuse_unwritable(TRACKIO_DIR, "choose another folder")


def _log_in() -> None:
    import wandb

    wandb.login()


def _refusing(name: str, attempt: Callable[[], None]) -> None:
    """Attempt something with a tracker; raise ValueError if that fails, which packages tell with errors of many types."""
    try:
        attempt()
    except Exception as error:
        raise ValueError(f"--tracker {name} cannot be used ({describe(error).rstrip('.')}): {REMEDIES[name]}") from error


def start_trackers(accelerator: Accelerator, names: Sequence[str], run: Run, config: RunConfig, resumed: bool = False) -> None:
    """Start trackers, in the main process, and tell them the configuration.

    Args:
        resumed: whether the training goes on from a saved state: trackio then continues its run, and others begin another one.

    Raises:
        ValueError: one of them cannot be used; then none is left, nor a folder of theirs in a run that had none.
    """
    if not accelerator.is_main_process:
        return
    begun = (run.path / FOLDER).exists()
    settings = dict(_flat(asdict(config)))
    try:
        for name in names:
            _refusing(name, lambda name=name: _start(accelerator, _made(name, run, resumed), settings))  # type: ignore[misc]
    except ValueError:
        finish_trackers(accelerator)
        if not begun:
            shutil.rmtree(run.path / FOLDER, ignore_errors=True)
        raise


def _made(name: str, run: Run, resumed: bool) -> GeneralTracker:
    """Return a tracker that has not started. Trackio and MLflow have one store for all runs, others keep each in its folder."""
    folder = run.path / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    match name:
        case "trackio":
            return TrackioTracker(PROJECT, name=run.name, resume="allow" if resumed else "never")
        case "mlflow":
            return MLflowTracker(PROJECT, run_name=run.name)
        case "tensorboard":
            return TensorBoardTracker(PROJECT, folder)
        case _:
            return WandBTracker(PROJECT, name=run.name, dir=folder)


def _start(accelerator: Accelerator, tracker: GeneralTracker, settings: Mapping[str, Any]) -> None:
    tracker.start()
    accelerator.trackers.append(tracker)
    tracker.store_init_configuration(dict(settings))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float]]:
    """Yield settings by dotted name, such as optimizer.lr, as numbers or text; those that are not set are left out."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (str, int, float)):
            yield prefix + name, value
        elif value:
            yield prefix + name, ", ".join(map(str, value))


def track_numbers(accelerator: Accelerator, row: Mapping[str, Any], step: int, timesteps: int) -> None:
    """Send a line of the log to the trackers: its numbers, and the validation loss by timestep as a table.

    Args:
        timesteps: length of the schedule, whose equal parts the losses by timestep belong to.
    """
    numbers = {name: value for name, value in row.items() if name != "step" and isinstance(value, (int, float))}
    _each(accelerator, lambda tracker: tracker.log(numbers, step=step))
    if losses := row.get(BY_TIMESTEP):
        edges = [math.ceil(number * timesteps / len(losses)) for number in range(len(losses) + 1)]
        parts = zip(edges[:-1], edges[1:], losses, strict=True)
        table = [[step, first, following - 1, loss] for first, following, loss in parts]
        _each(accelerator, lambda tracker: _log_table(tracker, BY_TIMESTEP, table, step))


def _log_table(tracker: GeneralTracker, name: str, rows: Sequence[Sequence[float]], step: int) -> None:
    columns = ["step", "from timestep", "to timestep", "loss"]
    match tracker:
        case WandBTracker():
            tracker.log_table(name, columns=columns, data=[list(row) for row in rows], step=step)
        case TrackioTracker():
            import trackio

            tracker.log({name: trackio.Table(columns=columns, data=[list(row) for row in rows])}, step=step)
        case MLflowTracker():
            import mlflow

            mlflow.log_table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)), f"{name}.json")  # appended
        case _:  # TensorBoard shows Markdown
            lines = [columns, ["---"] * len(columns), *rows]
            tracker.log({name: "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)}, step=step)


def track_image(accelerator: Accelerator, name: str, image: Pixels, step: int) -> None:
    """Send an image to the trackers."""
    _each(accelerator, lambda tracker: _log_image(tracker, name, image, step))


def _log_image(tracker: GeneralTracker, name: str, image: Pixels, step: int) -> None:
    match tracker:
        case WandBTracker():
            tracker.log_images({name: image[None]}, step=step)
        case TrackioTracker():
            import trackio

            tracker.log({name: trackio.Image(as_pil(image))}, step=step)
        case MLflowTracker():
            import mlflow

            mlflow.log_image(image, key=name, step=step, synchronous=True)
        case TensorBoardTracker():
            tracker.log_images({name: image[None]}, step=step, dataformats="NHWC")


def finish_trackers(accelerator: Accelerator) -> None:
    """Let the trackers write what they still have, and end them."""
    _each(accelerator, lambda tracker: tracker.finish())
    accelerator.trackers.clear()


def _each(accelerator: Accelerator, do: Callable[[GeneralTracker], None]) -> None:
    """Do something with each tracker. One that fails, in whatever way, is left out from then on."""
    for tracker in list(accelerator.trackers):
        try:
            do(tracker)
        except Exception as error:
            accelerator.trackers.remove(tracker)
            told = f"{tracker.name} has failed and gets nothing more of this training: {describe(error)}"
            print(told, file=sys.stderr, flush=True)
