"""The valid inputs that are damaged: a trained run, images, a text encoder, a model of diffusers, a classifier."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from pipelines.storage.files import CLASSIFIERS, ROOT

SMALL = (  # a training of a few seconds
    "--channels 8 16 --image-size 8 --batch-size 8 --steps 12 --warmup-steps 2 --log-every 2 --eval-every 6 --sample-every 6 "
    "--save-every 6 --sample-images 4 --ema-half-life 40 --precision no"
)


@dataclass(frozen=True)
class Seeds:
    """Where the valid inputs are.

    Attributes:
        run: a run with its state, a finished training of ``shapes``.
        shapes: a folder of images in two classes.
        encoder: a text encoder's folder.
        pipeline: a folder written by diffusers.
        classifier: a classifier's file.
    """

    run: Path
    shapes: Path
    encoder: Path
    pipeline: Path
    classifier: Path


def make_seeds(folder: Path) -> Seeds:
    """Make all valid inputs in ``folder``, or return those that are there."""
    classifier = CLASSIFIERS / "fashion-mnist.safetensors"
    seeds = Seeds(*(folder / name for name in ("tiny", "shapes", "encoder", "pipeline")), classifier)
    if not seeds.shapes.exists():
        _draw_shapes(seeds.shapes)
    if not seeds.run.exists():
        _train(seeds)
    if not seeds.encoder.exists():
        from tests.small_clip import save_clip

        save_clip(seeds.encoder)
    if not seeds.pipeline.exists():
        save_pipeline(seeds.pipeline)
    return seeds


def _draw_shapes(folder: Path) -> None:
    for number in range(24):
        image = Image.new("RGB", (12, 12), (number, 10, 40))
        draw = ImageDraw.Draw(image)
        (draw.ellipse if number % 2 else draw.rectangle)((2, 2, 9, 8 + number % 3), fill=(200 - number, 90, 30))
        file = folder / ("circles" if number % 2 else "squares") / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)


def _train(seeds: Seeds) -> None:
    words = f"-m pipelines.train --data {seeds.shapes} --unet class --out {seeds.run} {SMALL}".split()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True)


def save_pipeline(folder: Path) -> None:
    """Save a small pipeline of diffusers with random weights."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    network = UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(folder)


def copy_run(seeds: Seeds, folder: Path) -> None:
    """Copy the run with everything a run may hold: an evaluation of its weights, and its processes' reports."""
    from pipelines.storage.run import Run

    shutil.copytree(seeds.run, folder)
    published = ROOT / "checkpoints/fashion-class"
    evaluation = json.loads((published / "evaluation.json").read_text()) | {"fingerprint": Run(folder).fingerprint}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    shutil.copy(published / "evaluation-neighbours.png", folder)
    reports = {
        "progress.json": {"what": "step 3", "share": 0.25, "seconds_left": 9.5},
        "outcome.json": {"status": "failed", "error": "the disk is full"},
        "job.json": {"queued": None, "time_limit": 5.0},
        "process.json": {"pid": 2**22 - 1, "started": 12.5, "stopping": False},
    }
    for name, record in reports.items():
        (folder / "state" / name).write_text(json.dumps(record))
