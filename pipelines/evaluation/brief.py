"""The one figure of an evaluation that lists of models show, and where its files lie."""

from __future__ import annotations

from pathlib import Path

from ..common.json_files import read_json
from ..storage.layout import MODEL
from ..storage.run import Run
from .stored import refuse_damaged

EVALUATION = "evaluation.json"


def file_beside(run: Run, name: str) -> Path:
    """Return the path of a file beside a run's weights; beside a single weights file, its name is prefixed."""
    weights = run.model_path
    return weights.with_name(name if weights.name == MODEL else f"{weights.stem}-{name}")


def held_out_loss(run: Run) -> float | None:
    """Return the newest held-out loss that was measured of a run's weights, in v, or None if it was not measured.

    Raises:
        ValueError, OSError: the run or its evaluation cannot be read.
    """
    path = file_beside(run, EVALUATION)
    if not path.exists():
        return None
    try:
        stored = read_json(path)
        losses = [result for result in stored["results"] if result["kind"] == "loss"]
        if stored["fingerprint"] != run.fingerprint or not losses:
            return None
        refuse_damaged("loss", losses[-1]["asked"], losses[-1]["found"])
        return float(losses[-1]["found"]["whole"]["value"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r})") from error
