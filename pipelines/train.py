"""Train a model: ``python -m pipelines.train --data fashion_mnist --unet attention --out runs/my-run``.

All randomness (the choice of images, their mirroring, timesteps and noise) is a function of (seed, step). A run that is
stopped or killed and then resumed therefore logs the same losses as one that never stopped. Nor does the number of processes
or accumulated parts that share a batch change what is learnt, except for dropout, whose masks each part draws itself.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes

from .common.command_line import DONE, INTERRUPTED, describe, run_command
from .common.extras import require_extra
from .common.paths import expanded, is_weights
from .common.reports import report_result
from .common.settings import Between, Settings
from .common.text import plain_name
from .storage.changes import resumed_with
from .storage.claim import RunClaim, is_free
from .storage.config import RunConfig
from .storage.files import is_file
from .storage.hub_id import HubId
from .storage.layout import CONFIG, STATE
from .storage.presets import dataset_name
from .storage.recipes import cost_of, read_recipe
from .storage.run import Run
from .storage.runs import PRIVATE, find_run


@dataclass(frozen=True)
class Train(Settings):
    """Train a diffusion model, or an autoencoder for one, and write a run folder."""

    config: OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)
    out: Path | None = None
    """Run folder to write; by default in runs/, named after the recipe, or after the data and the network."""
    resume: Path | None = None
    """Continue this run exactly from its last saved state. All settings come from the run itself; only --steps and --lr may be
    given anew, and hold from there on; and --data, if the same images lie elsewhere now."""
    time_limit: Annotated[float | None, Between(0.0)] = None
    """Save and stop after this many minutes; --resume continues."""
    compile: bool = False
    """Compile the network first (torch.compile); this takes about a minute and makes every step faster on a GPU."""
    estimate: bool = False
    """Only say how long training would take, and how much memory: a few steps are taken in a temporary folder."""
    tracker: tuple[Literal["trackio", "mlflow", "tensorboard", "wandb"], ...] = ()
    """Also log to these trackers, whose packages you install: trackio, MLflow, TensorBoard, Weights & Biases."""
    recipe: str | None = None
    """Take the settings from this recipe (see pipelines/storage/recipes); other flags override them."""


def defaults_for(words: Sequence[str]) -> Train:
    """Return the defaults for a command line: the settings of the run to resume or of the recipe that it names, if any."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe")
    parser.add_argument("--resume", type=expanded)
    named = parser.parse_known_args(words)[0]
    if named.resume is not None:
        with suppress(ValueError, OSError):  # choose_run says why it cannot be resumed
            return Train(Run(named.resume).config)
    return Train(read_recipe(named.recipe), recipe=named.recipe) if named.recipe else Train()


def default_name(config: RunConfig, root: Path, recipe: str | None = None) -> str:
    """Return the default name of a run: its recipe, or its data and kind, numbered if ``root`` has a run of that name.

    A run that starts from another is named after its data and that run.
    """
    kind = "autoencoder" if config.model == "autoencoder" else config.network.unet
    if config.latent.latent is not None:
        kind = f"latent-{kind}"
    if config.init.init_from is not None:
        kind = f"from-{plain_name((HubId.parse(config.init.init_from) or Run(config.init.init_from)).name)}"
    data = plain_name(dataset_name(config.data.data)) or "run"
    stem = recipe or f"{data}-{kind}"
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, sys.maxsize))
    return next(name for name in names if not (root / name).exists())


def choose_run(arguments: Train) -> tuple[Run, RunConfig]:
    """Return the run to write and its configuration.

    Raises:
        ValueError: the folder is taken, there is nothing to resume, or settings are given that a resumed run cannot change.
    """
    if arguments.resume is not None:
        if arguments.recipe is not None or arguments.out is not None:
            raise ValueError("--resume takes all settings from the run itself: leave out --out and --recipe")
        run = Run(arguments.resume)
        if not (run.path / CONFIG).is_file() and not (run.path.is_dir() and run.has_weights):
            start = f"; start one with its settings and --out {run.path}" if is_free(run.path) else ""
            raise ValueError(f"no run to resume at {run.path}: it has no {CONFIG}{start}")
        config = run.config
        return run, config if arguments.config == RunConfig() else resumed_with(config, arguments.config)
    config = arguments.config
    out = arguments.out
    if out is None:
        out = PRIVATE / default_name(config, PRIVATE, arguments.recipe)
    if is_weights(out):
        raise ValueError(f"{out} would be taken for a weights file, not a run folder: choose an --out without .safetensors")
    if not is_free(out):
        resume = f", or continue it with --resume {out}" if (out / CONFIG).is_file() else ""
        raise ValueError(f"{out} already exists: choose another --out{resume}")
    return Run(out), config


def main(arguments: Train) -> int:
    """Train or resume; return the exit code."""
    require_extra("train")
    run, config = choose_run(arguments)
    if not is_file(run.path / STATE):  # else it has what it started from
        for source in filter(None, (config.init.init_from, config.latent.latent)):
            find_run(source, download=True)
    if arguments.estimate:
        from .training.rehearsal import rehearse

        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind after Cancel
        report_result(found := rehearse(config))
        print(found.about(config))
        return DONE
    if arguments.recipe is not None and (cost := cost_of(arguments.recipe, config)) is not None:
        print(f"{arguments.recipe}: {cost.about}", flush=True)
    claim = RunClaim(run)  # at once: another training of this folder may end while torch is imported
    from .training.reading import open_training

    loop = open_training(claim, config, arguments.tracker)
    finished = loop.fit(arguments.time_limit, arguments.compile)
    if loop.is_main:
        state = "finished" if finished else f"stopped at step {loop.step}; continue with --resume {run.path}"
        print(f"{run.path}: {state}")
        if not loop.interrupted:
            _leave_curves(run)
    return INTERRUPTED if loop.interrupted else DONE


def _leave_curves(run: Run) -> None:
    """Draw the training curves into the run, or say why they cannot be drawn: the training itself is whole."""
    try:
        from .figures.summary import write_curves

        write_curves(run)
    except Exception as error:
        print(f"the training curves could not be drawn: {describe(error)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_command(Train, main, "pipelines.train", defaults_for))
