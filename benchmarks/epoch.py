"""One epoch, reading the images included: ``python -m benchmarks.epoch``.

Each library trains once on a folder of PNG files from a cold start. Noisescope decodes all files first and keeps the images in
memory; diffusers' unconditional example decodes and transforms each image when it is needed; denoising-diffusion-pytorch's
Trainer does so in worker processes. All use networks of equal parameters and FLOPs in mixed bfloat16.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro
from datasets import load_dataset
from denoising_diffusion_pytorch import GaussianDiffusion
from denoising_diffusion_pytorch import Trainer as UnetTrainer
from torchvision.transforms import v2

from pipelines.common.devices import best_device
from pipelines.storage.config import DataConfig, NetworkConfig, OptimizerConfig, RunConfig
from pipelines.storage.run import Run
from pipelines.training.reading import open_training
from unets import build_network

from .peers import IMAGE_SIDE, Peer, UnetPeer, find_peer, find_unet_peer
from .pictures import write_images
from .recipes import DiffusersRecipe
from .timing import interleaved, machine, ratio, table, with_quartiles

OURS, DIFFUSERS, UNET = "Noisescope", "diffusers, its example", "denoising-diffusion-pytorch, its Trainer"


@dataclass(frozen=True)
class Arguments:
    """Time an epoch over a folder of images."""

    network: str = "attention"
    images: int = 4096
    source_side: int = 64
    """Side of the files in pixels; all libraries resize them to 32."""
    batch: int = 64
    repetitions: int = 3
    """Interleaved rounds that count."""


def ours(folder: Path, arguments: Arguments) -> None:
    """Train an epoch with ``pipelines.train``, without validation and sample grids."""
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        config = RunConfig(
            network=NetworkConfig(unet=arguments.network),
            data=DataConfig(data=str(folder), image_size=IMAGE_SIDE, held_out_images=1),
            optimizer=OptimizerConfig(batch_size=arguments.batch, steps=arguments.images // arguments.batch),
        )
        trainer = open_training(Run(Path(out) / "run"), config)
        for _ in range(arguments.images // arguments.batch):
            trainer.train_step()


def diffusers(peer: Peer, folder: Path, arguments: Arguments) -> None:
    """Train an epoch as examples/unconditional_image_generation/train_unconditional.py, with its transforms and loader."""
    transforms = v2.Compose(
        [
            v2.Resize(IMAGE_SIDE, interpolation=v2.InterpolationMode.BILINEAR),
            v2.CenterCrop(IMAGE_SIDE),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5], [0.5]),
        ]
    )
    with tempfile.TemporaryDirectory() as cache:
        dataset = load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=cache)
        dataset.set_transform(lambda rows: {"input": [transforms(image.convert("RGB")) for image in rows["image"]]})
        loader = torch.utils.data.DataLoader(dataset, batch_size=arguments.batch, shuffle=True, drop_last=True)
        recipe = DiffusersRecipe(peer.build(peer.head_widths[-1]).to(best_device()), torch.bfloat16, len(loader))
        for batch in loader:
            recipe.step(batch["input"].to(best_device()))


def denoising_diffusion_pytorch(peer: UnetPeer, folder: Path, arguments: Arguments) -> None:
    """Train an epoch with denoising-diffusion-pytorch's Trainer, without its sample grids and FID."""
    with tempfile.TemporaryDirectory() as out:
        UnetTrainer(
            GaussianDiffusion(peer.build(), image_size=IMAGE_SIDE, sampling_timesteps=20),
            str(folder),
            train_batch_size=arguments.batch,
            train_num_steps=arguments.images // arguments.batch,
            save_and_sample_every=10**9,
            results_folder=out,
            amp=True,
            mixed_precision_type="bf16",
            calculate_fid=False,
        ).train()


def main(arguments: Arguments) -> None:
    """Print one table."""
    torch.manual_seed(0)
    network = build_network(arguments.network, image_channels=3)
    contenders = {
        OURS: ours,
        DIFFUSERS: partial(diffusers, find_peer(network)),
        UNET: partial(denoising_diffusion_pytorch, find_unet_peer(network)),
    }
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), arguments.images, arguments.source_side, ".png")
        runs = {what: partial(run, Path(name), arguments) for what, run in contenders.items()}
        times = interleaved(runs, arguments.repetitions, warm_up=0)
    rows = [
        (
            what,
            with_quartiles(seconds, 1),
            with_quartiles(arguments.images / seconds, 1),
            "" if what == OURS else f"{ratio(seconds, times[OURS]):.2f}×",
        )
        for what, seconds in times.items()
    ]
    print(f"{machine()}\n")
    print(table(("an epoch of", "seconds (quartiles)", "images/s", "ours is faster"), rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
