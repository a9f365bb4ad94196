"""The training pipeline: ``python -m pipelines.train --data fashion_mnist --unet attention --out runs/my-run``.

Everything random is a function of (seed, step): which images, their mirroring, their timesteps, their noise. So a run that
is stopped, or killed, and resumed logs the same losses as one that never stopped, and the number of processes or
accumulated parts a batch is split into does not change what is learnt (but for dropout, whose masks each part draws itself).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import OmitArgPrefixes

from .common.command_line import DONE, INTERRUPTED, run_command
from .storage.config import RunConfig
from .storage.recipes import read_recipe
from .storage.runs import CONFIG, PRIVATE, Run

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Train:
    """Train a diffusion model, or an autoencoder for one, and write it as a run folder."""

    config: OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)
    out: Path | None = None
    """The run folder to write; runs/<data>-<unet>, or runs/<recipe>, and the like by default."""
    resume: Path | None = None
    """Continue this run exactly where its last saved state left it. Its settings come from the run itself."""
    time_limit: float | None = None
    """Stop after this many minutes, saving first; resume to go on."""
    compile: bool = False
    """Compile the network first (torch.compile), which takes a minute or so and makes every step faster on a GPU."""
    tracker: tuple[Literal["wandb", "tensorboard"], ...] = ()
    """Also log to Weights & Biases or TensorBoard."""
    recipe: str | None = None
    """Take the settings from this recipe (see pipelines/storage/recipes); those given beside it replace its own."""


def from_recipe(words: Sequence[str]) -> Train:
    """The settings that hold where a command line says nothing else: those of the recipe that it names, if any."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe")
    recipe = parser.parse_known_args(words)[0].recipe
    return Train(read_recipe(recipe), recipe=recipe) if recipe else Train()


def _plain(name: str) -> str:
    """The name in letters that every folder may have, as long as one may be."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-_")[:64]


def default_name(config: RunConfig, root: Path, recipe: str | None = None) -> str:
    """What a run is called when nobody says: its recipe, or its data and kind; numbered where ``root`` has one of that name.

    A run that starts from another is named after its data and that one.
    """
    kind = "autoencoder" if config.model == "autoencoder" else config.network.unet
    if config.latent.latent is not None:
        kind = f"latent-{kind}"
    if config.init.init_from is not None:
        kind = f"from-{_plain(Path(config.init.init_from).name.removesuffix('.safetensors'))}"
    data = _plain(Path(config.data.data).name) or "run"
    stem = recipe or f"{data}-{kind}"
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, sys.maxsize))
    return next(name for name in names if not (root / name).exists())


def choose_run(arguments: Train) -> tuple[Run, RunConfig]:
    """The folder to write and the configuration to follow.

    Raises:
        ValueError: the folder is taken, there is nothing to resume, or a resumed run was given settings.
    """
    if arguments.resume is not None:
        if arguments.config != RunConfig() or arguments.out is not None:
            raise ValueError("--resume takes all settings from the run itself: give it alone, or start a new run with --out")
        run = Run(arguments.resume)
        if not (run.path / CONFIG).is_file():
            raise ValueError(f"no run to resume at {run.path}: it has no {CONFIG}")
        return run, run.config
    config = arguments.config
    out = arguments.out
    if out is None:
        out = PRIVATE / default_name(config, PRIVATE, arguments.recipe)
    if out.suffix == ".safetensors":
        raise ValueError(f"{out} is a run's folder, and would be taken for a file of weights: choose another --out")
    if out.exists() and (not out.is_dir() or any(".tmp-" not in child.name for child in out.iterdir())):
        raise ValueError(f"{out} already exists: choose another --out, or continue it with --resume {out}")
    return Run(out), config


def main(arguments: Train) -> int:
    """Train or resume; the exit code."""
    run, config = choose_run(arguments)
    from .training.reading import open_training

    loop = open_training(run, config, arguments.tracker)
    finished = loop.fit(arguments.time_limit, arguments.compile)
    if loop.is_main:
        state = "finished" if finished else f"stopped at step {loop.step}; continue with --resume {run.path}"
        print(f"{run.path}: {state}")
    return INTERRUPTED if loop.interrupted else DONE


if __name__ == "__main__":
    sys.exit(run_command(Train, main, "pipelines.train", from_recipe))
