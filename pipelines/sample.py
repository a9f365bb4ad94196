"""Generation: ``python -m pipelines.sample checkpoints/NAME --num-images 60 --seed 0 --out DIR``.

Writes DIR/images/00000.png …, DIR/grid.png (rows = timesteps, columns = images) and DIR/denoising.gif. Image i of a seed is
the same whatever the number of images or processes: each has its own noise, and chunks are cut by image number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction

from .command_line import DONE, run_command
from .images import Pixels, enlarge, film_strip, gif_bytes, montage, png_bytes, to_uint8
from .runs import atomic
from .starts import FROM_NOISE, FromPicture, Origin

if TYPE_CHECKING:
    from diffusion_core.condition import Condition
    from diffusion_core.samplers import Step

    from .model import LoadedModel
    from .runs import Run

SHOWN_IMAGES = 64  # columns of grid.png and images of denoising.gif, however many are generated
SHOWN_ROWS = 21  # rows of grid.png


@dataclass(frozen=True)
class SamplingRequest:
    """What to generate. Together with the weights it determines every pixel."""

    num_images: int = 16
    """How many images."""
    seed: int = 0
    """Image i of a seed always starts from the same noise."""
    sampler: str = "dpmpp_2m"
    """ddpm, ddim, heun, dpmpp_2m or ipndm: a key of diffusion_core.samplers.SAMPLERS."""
    steps: int = 20
    """Sampling steps, from 1 to the length of the model's schedule. (Heun makes two network calls a step.)"""
    eta: float = 0.0
    """Fresh noise of ddim: 0 is deterministic, 1 as noisy as ddpm."""
    spacing: str = "trailing"
    """How timesteps are chosen: trailing, leading, linspace or log_snr."""
    label: str | None = None
    """For networks that know classes: the name or number of one, or "all" for all of them in turn. None: no class."""
    prompt: UseAppendAction[tuple[str, ...]] = ()
    """For networks that read: what to show, or a .txt file of prompts, one a line. Give it again for more prompts, which
    images take in turn."""
    negative_prompt: str | None = None
    """What to lead away from, with guidance; by default from images without any prompt."""
    guidance: float = 1.0
    """How much to exaggerate the class or the prompt: 1 follows the model as it is, 2 to 5 are usual."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Guide only in this part of the schedule: shares of its length, 0 is clean and 1 is noise."""
    guidance_rescale: float = 0.0
    """How far to bring the contrast of guided images back to that of unguided ones, from 0 to 1."""

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):  # it would be taken for a prompt a letter
            object.__setattr__(self, "prompt", (self.prompt,))
        if isinstance(self.label, int):
            object.__setattr__(self, "label", str(self.label))
        for name in ("prompt", "guidance_interval"):  # a request that comes from JSON has lists in their place
            object.__setattr__(self, name, tuple(getattr(self, name)))


def load_model(path: str | Path | Run, **options: Any) -> LoadedModel:
    """Load a trained model; see :func:`pipelines.model.load_model`, which is imported only now because it needs torch."""
    from .model import load_model

    return load_model(path, **options)


def sample(
    model: LoadedModel,
    request: SamplingRequest,
    images: Sequence[int] | None = None,
    origin: Origin = FROM_NOISE,
    condition: Condition | None = None,
) -> Iterator[Step]:
    """Generate images, yielding every step.

    Args:
        model: see :func:`load_model`.
        request: what to generate.
        images: which image numbers of the request; all of them by default. The subset looks the same as in the whole.
        origin: where to start; :mod:`pipelines.starts` has other ways than from noise.
        condition: what each of these images is to show, in place of the request's class or prompts.

    Yields:
        Steps with x and x0 of shape (len(images), *model.state_shape), float32 on the model's device; in the last one both are
        the sample. ``origin.images`` makes the images of it, in [−1, 1]. What coming to a start costs is not in their ``nfe``:
        it is the same for all images, and ``origin.nfe`` tells it.

    Raises:
        ValueError: before the first step, for an unknown sampler or spacing, or numbers out of range.
    """
    from diffusion_core.samplers import SAMPLERS

    from .request_conditions import conditioned

    if request.sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {request.sampler!r}: choose one of {', '.join(SAMPLERS)}")
    if request.num_images < 1:
        raise ValueError(f"num_images={request.num_images}: choose 1 or more")
    if request.eta and request.sampler != "ddim":
        raise ValueError(f"eta={request.eta} is for the ddim sampler: leave it at 0 with {request.sampler}")
    numbers = range(request.num_images) if images is None else images
    start = origin.start(model, request, numbers)
    options: dict[str, Any] = {"eta": request.eta} if request.sampler == "ddim" else {}
    sampler = SAMPLERS[request.sampler]
    denoise: Any
    denoise, condition = conditioned(model, request, numbers, condition)
    if start.known is not None:
        from diffusion_core.inpainting import KnownPixels, repaint

        denoise = KnownPixels(denoise, start.known.image, start.known.mask)
        if start.known.resamplings > 1:
            sampler, options = repaint, {"resamplings": start.known.resamplings}
    return sampler(denoise, start.x, start.timesteps, model.schedule, condition, noise=start.noise, **options)


def shown_rows(count: int, rows: int) -> list[int]:
    """At most ``rows`` of ``count`` indices, evenly spread, first and last included."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, rows))})


@dataclass(frozen=True)
class Sample:
    """Generate images with a trained model."""

    run: Positional[Path]
    """A run folder, a .safetensors file, or the name of a run at hand."""
    request: OmitArgPrefixes[SamplingRequest] = field(default_factory=SamplingRequest)
    out: Path = Path("samples")
    """The folder to write."""
    batch_size: int = 16
    """Images computed at once; more are made in chunks, so memory does not grow with their number."""
    init_image: Path | None = None
    """Start from this picture instead of noise (image to image), fitted to the model's size."""
    strength: float | None = None
    """With --init-image: how much noise to add first, from 0 (keep the picture) to 1 (nothing of it is left). 0.6 by default; 1
    with a mask."""
    mask: Path | None = None
    """With --init-image: a picture of its size, white where it is made anew (inpainting); the rest stays."""
    resamplings: int = 1
    """With --mask: take each step this often until both parts agree (RePaint, with ddpm's steps); 1 leaves the rest to the
    sampler."""


def main(arguments: Sample) -> int:
    """Generate and write; the exit code."""
    if arguments.batch_size < 1:
        raise ValueError(f"batch_size={arguments.batch_size}: choose 1 or more")
    from accelerate import PartialState
    from tqdm import tqdm

    state = PartialState()  # under `accelerate launch`, every process takes every n-th chunk
    model = load_model(arguments.run, device=state.device)
    request = replace(arguments.request, prompt=tuple(_prompts(arguments.request.prompt)))
    origin = _origin(arguments)
    sample(model, request, [0], origin)  # refuses what cannot be done before anything is written
    _refuse_mixture(arguments.out / "images", request.num_images)
    metadata = metadata_of(model.name, model.fingerprint, request, origin)
    for note in origin.notes(model, request) if state.is_main_process else ():
        print(f"note: {note}")
    starts = range(0, request.num_images, arguments.batch_size)
    steps = len(origin.timesteps(model, request))
    steps_in_all = steps * len(starts[state.process_index :: state.num_processes])
    frames: dict[int, list[tuple[float, Pixels]]] = {}
    with tqdm(total=steps_in_all, unit="step", desc=model.name, disable=not state.is_local_main_process) as progress:
        for start in starts[state.process_index :: state.num_processes]:
            numbers = range(start, min(start + arguments.batch_size, request.num_images))
            shown = max(0, min(SHOWN_IMAGES, numbers.stop) - start)
            for step in sample(model, request, numbers, origin):
                if shown and step.index < steps:
                    frames.setdefault(step.index, []).append((step.timestep, model.pictures(step.x[:shown])))
                progress.update(step.index < steps)
            made = to_uint8(origin.images(model, step.x))
            if shown:
                frames.setdefault(steps, []).append((step.timestep, made[:shown]))
            for number, image in zip(numbers, made, strict=True):
                path = arguments.out / "images" / f"{number:05d}.png"
                _write(path, png_bytes(image, metadata | {"image": number}))
    if state.num_processes > 1:
        from accelerate.utils import gather_object

        # Chunks went out in turn, so they come back in turn.
        parts = gather_object([frames])
        frames = {
            index: [part[index][turn] for turn in range(len(starts)) for part in parts if turn < len(part.get(index, []))]
            for index in parts[0]
        }
    if state.is_main_process:
        _write_overview(arguments.out, frames, metadata)
        print(f"{arguments.out}: {request.num_images} images, grid.png, denoising.gif")
    return DONE


def _refuse_mixture(folder: Path, num_images: int) -> None:
    """Fail where images of a larger request would stay beside the new ones, and pass for theirs."""
    others = sum(path.stem.isdecimal() and int(path.stem) >= num_images for path in folder.glob("*.png"))
    if others:
        raise ValueError(
            f"{folder} holds images of a request for more than {num_images}, and {others} of them would stay beside the new "
            "ones: remove them, or choose another folder with --out"
        )


def _origin(arguments: Sample) -> Origin:
    """Where the images start.

    Raises:
        ValueError: settings of what is not given.
    """
    strength, mask = arguments.strength, arguments.mask
    if arguments.init_image is None and (mask is not None or strength is not None):
        raise ValueError("--mask and --strength are about a picture to start from: give it with --init-image")
    if mask is None and arguments.resamplings != 1:
        raise ValueError("--resamplings is about the part that is made anew: give it with --mask")
    if arguments.init_image is None:
        return FROM_NOISE
    if strength is None:
        strength = 0.6 if mask is None else 1.0
    picture = arguments.init_image.read_bytes()
    return FromPicture(picture, strength, None if mask is None else mask.read_bytes(), arguments.resamplings)


def _prompts(given: Sequence[str]) -> Iterator[str]:
    """The prompts themselves, and those in files."""
    for prompt in given:
        if prompt.endswith(".txt"):
            lines = [line for line in Path(prompt).read_text(encoding="utf-8").splitlines() if line.strip()]
            if not lines:
                raise ValueError(f"no prompt in {prompt}: write one a line")
            yield from lines
        else:
            yield prompt


def metadata_of(run: str, fingerprint: str, request: SamplingRequest, origin: Origin = FROM_NOISE) -> dict[str, Any]:
    """What goes into every PNG: enough to make the same image again, where no other picture went into it."""
    metadata = {"run": run, "fingerprint": fingerprint, "request": asdict(request)}
    return metadata if origin == FROM_NOISE else metadata | {"origin": origin.about}


def _write_overview(out: Path, frames: dict[int, list[tuple[float, Pixels]]], metadata: dict[str, Any]) -> None:
    indices = sorted(frames)
    images = {index: np.concatenate([part for _, part in frames[index]]) for index in indices}
    rows = [indices[i] for i in shown_rows(len(indices), SHOWN_ROWS)]
    labels = ["sample" if index == indices[-1] else f"t = {frames[index][0][0]:.0f}" for index in rows]
    _write(out / "grid.png", png_bytes(film_strip([images[index] for index in rows], labels), metadata))
    _write(out / "denoising.gif", denoising_gif([images[index] for index in indices]))


def denoising_gif(frames: Sequence[Pixels]) -> bytes:
    """A GIF of montages of (N, H, W, C) frames, the last one held for a moment."""
    factor = max(1, 64 // frames[0].shape[1])
    pictures = [enlarge(montage(frame), factor) for frame in frames]
    return gif_bytes(pictures, [120] * (len(pictures) - 1) + [1500])


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)


if __name__ == "__main__":
    sys.exit(run_command(Sample, main, "pipelines.sample"))
