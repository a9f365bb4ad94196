"""Generate images: ``python -m pipelines.sample checkpoints/NAME --num-images 60 --seed 0 --out DIR``.

Writes DIR/images/00000.png …, DIR/grid.png (rows = timesteps, columns = images) and DIR/denoising.gif. For a given
seed, image i is the same whatever the number of images or processes: each image has its own noise, and batches are formed by
image number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from tyro import MISSING
from tyro.conf import OmitArgPrefixes, Positional

from .common.command_line import DONE, run_command
from .common.images import Pixels, png_bytes, to_uint8
from .common.paths import expanded
from .common.picture_files import picture_content
from .common.reading import MEGABYTE, read_text
from .common.reports import ProgressBar
from .common.settings import Between, Settings
from .common.temporary import remove_leftovers
from .common.text import lines_of
from .common.threads import leave_cores_to_others
from .models.loading import load_model
from .sampling.origins import FROM_NOISE, FromPicture, Origin
from .sampling.overview import Overview
from .sampling.own_steps import default_request
from .sampling.request import SamplingRequest
from .sampling.sample import metadata_of, sample
from .storage.disk import refuse_unwritable
from .storage.files import atomic, is_file
from .storage.runs import find_run


@dataclass(frozen=True)
class Sample(Settings):
    """Generate images with a trained model."""

    run: Positional[Path]
    """A run: its folder, its .safetensors file, its name in checkpoints/ or runs/, or its id on the hub (USER/NAME)."""
    request: OmitArgPrefixes[SamplingRequest] = field(default_factory=SamplingRequest)
    out: Path = Path("samples")
    """The folder to write."""
    batch_size: Annotated[int, Between(1, 65_536)] = 16
    """Images per batch; more are generated in several batches, so that memory does not grow with their number."""
    init_image: Path | None = None
    """Start from this image, fitted to the model's size, instead of from noise (image to image)."""
    strength: Annotated[float | None, Between(0.0, 1.0)] = None
    """With --init-image: amount of noise to add first, from 0 (keep the image) to 1 (pure noise). 0.6 by default; 1 with a
    mask."""
    mask: Path | None = None
    """With --init-image: a mask of the same size, white where the image is inpainted; the rest is kept."""
    resamplings: Annotated[int, Between(1, 1000)] = 1
    """With --mask: number of times each step is repeated to harmonise both parts (RePaint, with ddpm steps); 1 uses the chosen
    sampler."""
    reconstruction_guidance: bool = False
    """With --mask: guide the inpainted part by the error in the known part, with a backward pass through the network in every
    call, which takes about three times as long."""
    compile: bool = False
    """Compile the network first (torch.compile), for thousands of images on a GPU. This takes up to a minute for each size of
    batch and pays on a CPU only for many thousands of images. A last, smaller batch is not compiled. Images are the same up to
    rounding."""
    ema: Annotated[int | None, Between(1, 10**12)] = None
    """Sample from the weights averaged with this half-life, in images (see --ema-also of pipelines.train)."""


def defaults_for(words: Sequence[str]) -> Sample:
    """Return the defaults for a command line: those of the run that it names."""
    for number, word in enumerate(words):
        with suppress(ValueError, OSError):
            may_download = number == 0 and "--help" not in words  # a word further on may be part of a prompt
            return Sample(MISSING, default_request(find_run(word, may_download).config))
    return Sample(MISSING)


def main(arguments: Sample) -> int:
    """Generate and write the images; return the exit code."""
    leave_cores_to_others()

    from .common.devices import process_state
    from .common.together import gathered, own_share
    from .sampling.prompts import condition_notes

    state = process_state()  # under `accelerate launch`, each of n processes takes every n-th batch
    request = replace(arguments.request, prompt=tuple(read_prompts(arguments.request.prompt)))
    origin = _origin(arguments)
    for folder in (arguments.out, arguments.out / "images"):
        refuse_unwritable(folder, "choose another folder with --out")
    _refuse_mixture(arguments.out / "images", request.num_images)
    model = load_model(find_run(arguments.run, download=True).average(arguments.ema), device=state.device)
    sample(model, request, [0], origin)  # an impossible request fails before anything is written
    remove_leftovers(arguments.out, arguments.out / "images")
    metadata = metadata_of(model.name, model.fingerprint, request, origin)
    if state.is_main_process:
        for note in condition_notes(model.config.condition, request) + origin.notes():
            print(f"note: {note}")
    starts = own_share(range(0, request.num_images, arguments.batch_size))
    steps = len(origin.timesteps(model, request))
    overview = Overview(steps, model.image_shape[1:])
    kept = overview.kept()
    batches: list[dict[int, tuple[float, Pixels]]] = []  # the frames of each
    if arguments.compile:
        from .models.compiled import compile_calls

        compile_calls(model.denoiser.network, min(arguments.batch_size, request.num_images))
    with ProgressBar(model.name, steps * len(starts), "step") as progress:
        for start in starts:
            numbers = range(start, min(start + arguments.batch_size, request.num_images))
            frames: dict[int, tuple[float, Pixels]] = {}
            for step in sample(model, request, numbers, origin):
                shown = max(0, kept.get(step.index, 0) - start)
                if shown and step.index < steps:
                    frames[step.index] = step.timestep, model.pictures(step.x[:shown])
                if step.index < steps:
                    progress.update()
            made = to_uint8(origin.images(model, step.x))
            if shown:
                frames[steps] = step.timestep, made[:shown]
            batches.append(frames)
            for number, image in zip(numbers, made, strict=True):
                path = arguments.out / "images" / f"{number:05d}.png"
                _write(path, png_bytes(image, metadata | {"image": number}))
    batches = gathered(batches)
    if state.is_main_process:
        _write(arguments.out / "grid.png", png_bytes(overview.grid(batches), metadata))
        _write(arguments.out / "denoising.gif", overview.gif(batches))
        print(f"{arguments.out}: {request.num_images} images, grid.png, denoising.gif")
    return DONE


def _refuse_mixture(folder: Path, num_images: int) -> None:
    """Raise ValueError if images of a larger request would remain, as if they belonged to the new ones."""
    others = sum(path.stem.isdecimal() and int(path.stem) >= num_images for path in folder.glob("*.png"))
    if others:
        raise ValueError(
            f"{folder} holds images of a request for more than {num_images}, and {others} of them would remain beside the new "
            "ones: remove them, or choose another folder with --out"
        )


def _origin(arguments: Sample) -> Origin:
    """Return what sampling starts from: noise, or an image.

    Raises:
        ValueError: a setting for an image or a mask that is not given.
    """
    strength, mask = arguments.strength, arguments.mask
    if arguments.init_image is None and (mask is not None or strength is not None):
        raise ValueError("--mask and --strength need an image to start from: give it with --init-image")
    for flag, given in {
        "--resamplings": arguments.resamplings != 1,
        "--reconstruction-guidance": arguments.reconstruction_guidance,
    }.items():
        if mask is None and given:
            raise ValueError(f"{flag} needs an area to inpaint: give it with --mask")
    if arguments.init_image is None:
        return FROM_NOISE
    if strength is None:
        strength = 0.6 if mask is None else 1.0
    picture = picture_content(arguments.init_image)
    area = None if mask is None else picture_content(mask)
    return FromPicture(picture, strength, area, arguments.resamplings, arguments.reconstruction_guidance)


def read_prompts(given: Sequence[str]) -> Iterator[str]:
    """Yield the prompts, reading those in .txt files line by line.

    Raises:
        OSError, ValueError: such a file is missing, has no prompts or is no text, or a prompt is the name of another file.
    """
    for prompt in given:
        path = Path(expanded(prompt))
        if path.suffix.lower() == ".txt":
            lines = lines_of(read_text(path, MEGABYTE))
            if not lines:
                raise ValueError(f"no prompts in {prompt}: write one per line")
            yield from lines
        elif path.suffix and is_file(path):
            raise ValueError(f"the prompt {prompt!r} is the name of a file: prompts are read from .txt files, one per line")
        else:
            yield prompt


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)


if __name__ == "__main__":
    sys.exit(run_command(Sample, main, "pipelines.sample", defaults_for))
