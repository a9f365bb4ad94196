"""Quality of autoencoders' reconstructions: ``python -m benchmarks.reconstructions RUN [MORE …] --sheet sheet.png``.

Held-out images are encoded and decoded. Measured are PSNR and SSIM; the Fréchet distance from training images in the features
of a classifier at full image size, which shows textures, next to that of the original photographs (the floor); the PSNR after
adding noise to the latents, as a diffusion model's samples have some too; and the time to decode.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from pipelines.common.devices import best_device
from pipelines.common.images import as_input, enlarge, montage, png_bytes, to_uint8
from pipelines.common.indices import evenly_spaced
from pipelines.common.picture_metrics import structural_similarity
from pipelines.datasets.image_sets import load_images
from pipelines.datasets.splits import data_of
from pipelines.evaluation.distances import Reference
from pipelines.evaluation.judges import shipped_classifier
from pipelines.models.classifier import Classifier
from pipelines.models.latents import decode, encode, prepare_autoencoder, read_autoencoder
from pipelines.storage.runs import find_run
from unets.autoencoder import LatentSpace

from .timing import interleaved, machine, table, with_quartiles

AT_ONCE = 16  # images per batch of activations
NOISE = 0.1  # standard deviation of the noise, in units of that of the latents


@dataclass(frozen=True)
class Arguments:
    """Measure the reconstructions of autoencoders of the same images."""

    autoencoders: Positional[tuple[str, ...]]
    """Run folders or names of runs: autoencoders, or latent models, which contain one."""
    images: int = 400
    """Largest number of held-out images; up to four times as many training images are used."""
    sheet: Path | None = None
    """File for an image of photographs above their reconstructions by each autoencoder, enlarged three times."""
    shown: int = 6
    """Photographs on the sheet."""
    repetitions: int = 5


@torch.no_grad()
def texture_features(network: Classifier, x: Tensor) -> np.ndarray:
    """Compute features (N, D) of images (N, C, H, W) at their own size: the mean of every channel of every level."""
    device = network.head.weight.device
    parts = (network.activations(part.to(device)) for part in x.split(AT_ONCE))
    return torch.cat([torch.cat([level.mean((2, 3)) for level in levels], 1).cpu() for levels in parts]).double().numpy()


def psnr(back: Tensor, x: Tensor) -> float:
    """Return the PSNR in dB, averaged over images in [−1, 1]."""
    return (10 * (4 / (back - x).square().flatten(1).mean(1)).log10()).mean().item()


def measure(autoencoder: LatentSpace, x: Tensor, network: Classifier, reference: Reference) -> tuple[Tensor, list[str]]:
    """Return the reconstructions and the cells of a row."""
    z = encode(autoencoder, x)
    back = decode(autoencoder, z).cpu()
    noise = NOISE * torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(z.device)
    return back, [
        "×".join(map(str, z.shape[1:])),
        f"{sum(parameter.numel() for parameter in autoencoder.parameters()) / 1e6:.2f}",
        f"{psnr(back, x):.2f}",
        f"{structural_similarity(to_uint8(back), to_uint8(x)):.3f}",
        f"{reference.frechet_distance(texture_features(network, back)):.3f}",
        f"{psnr(decode(autoencoder, z + noise).cpu(), x):.2f}",
    ]


def main(arguments: Arguments) -> None:
    """Print Markdown: a table."""
    runs = [find_run(name) for name in arguments.autoencoders]
    first = runs[0].config
    assert first.image_shape is not None
    found = shipped_classifier(Path(first.data.data).name, first.image_shape)
    if found is None:
        raise SystemExit(f"no shipped classifier knows {first.data.data}: choose autoencoders of data that one knows")
    network = found[1].network
    train, held_out = load_images(data_of(first))
    x = as_input(held_out.images[evenly_spaced(len(held_out), arguments.images)])
    known = as_input(train.images[evenly_spaced(len(train), 4 * arguments.images)])
    reference = Reference(texture_features(network, known))
    floor = f"{reference.frechet_distance(texture_features(network, x)):.3f}"
    backs, cells, decoding = [x], {"photographs, untouched": ["", "", "", "1.000", floor, ""]}, {}
    for run in runs:
        autoencoder = prepare_autoencoder(*read_autoencoder(run), best_device())
        back, cells[run.name] = measure(autoencoder, x, network, reference)
        backs.append(back)
        one = encode(autoencoder, x[:1])
        decoding[run.name] = lambda autoencoder=autoencoder, one=one: decode(autoencoder, one).cpu()
    times = interleaved(decoding, arguments.repetitions)
    body = [(name, *row, with_quartiles(1000 * times[name], 1) if name in times else "") for name, row in cells.items()]
    header = ("autoencoder", "latents", "M parameters", "PSNR", "SSIM", "distance", "PSNR, noisy latents", "ms to decode")
    print(f"{machine()}\n\n{len(x)} held-out images, {len(known)} training images\n\n{table(header, body)}")
    if arguments.sheet is not None:
        shown = evenly_spaced(len(x), arguments.shown)
        sheet = montage(np.concatenate([to_uint8(back[shown]) for back in backs]), columns=len(shown))
        arguments.sheet.write_bytes(png_bytes(enlarge(sheet, 3)))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
