"""Trackers, such as TensorBoard, that follow a training beside its own log."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate import Accelerator

from ..common.images import Pixels
from ..storage.runs import Run


def refuse_unusable(trackers: Sequence[str]) -> None:
    """Raise ValueError if the package of a tracker is not installed, or wandb is not logged in."""
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"--tracker {tracker} needs the package {tracker!r}: pip install {tracker}")
    if "wandb" in trackers:
        import wandb

        try:
            wandb.login()
        except wandb.errors.UsageError as error:
            told = " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"--tracker wandb cannot be used ({told}): log in, or set WANDB_MODE=offline") from error


def start_trackers(accelerator: Accelerator, run: Run) -> None:
    """Start the accelerator's trackers, if there are any; wandb keeps its files in the run's folder."""
    accelerator.init_trackers("noisescope", config={"run": run.name}, init_kwargs={"wandb": {"dir": run.path}})


def track_numbers(accelerator: Accelerator, row: Mapping[str, Any], step: int) -> None:
    """Send the floating-point numbers of a line of the log to the trackers, if there are any."""
    accelerator.log({key: value for key, value in row.items() if isinstance(value, float)}, step=step)


def track_image(accelerator: Accelerator, name: str, image: Pixels, step: int) -> None:
    """Send an image to the trackers, if there are any."""
    for tracker in accelerator.trackers:
        layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({name: image[None]}, step=step, **layout)
