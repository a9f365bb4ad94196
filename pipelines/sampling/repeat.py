"""How to make the same images again: as a command, and in Python. Importing this module does not load torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from ..storage.run import Run
from ..storage.runs import reference_to
from .origins import FROM_NOISE, FromPicture, Origin
from .request import SamplingRequest

USUAL = SamplingRequest()
TOLD = ("num_images", "seed", "sampler", "steps")  # also where they are the usual ones, which may change
PICTURE = "picture.png"
USUAL_BATCH = 16  # of pipelines.sample


@dataclass(frozen=True)
class Made:
    """Images that were made: what determines them.

    Attributes:
        run: the model.
        request: how they were sampled.
        origin: where sampling started.
        images: their numbers in the request; all by default.
    """

    run: Run
    request: SamplingRequest
    origin: Origin = FROM_NOISE
    images: tuple[int, ...] | None = None


def settings_of(request: SamplingRequest) -> dict[str, object]:
    """Return the fields of a request to be told: the main ones, and those that are not the usual ones."""
    told = {field.name: getattr(request, field.name) for field in fields(request)}
    return {name: value for name, value in told.items() if name in TOLD or value != getattr(USUAL, name)}


def pictures_of(made: Sequence[Made]) -> dict[bytes, str]:
    """Return the names of the files that commands and Python read, by their content."""
    contents: dict[bytes, str] = {}
    for one in made:
        for field in fields(one.origin):
            content = getattr(one.origin, field.name)
            if isinstance(content, bytes) and content not in contents:
                stem = "mask" if field.name == "mask" else "picture"
                number = sum(name.startswith(stem) for name in contents.values()) + 1
                contents[content] = f"{stem}{'' if number == 1 else f'-{number}'}.png"
    return contents


def commands(made: Sequence[Made]) -> str:
    """Return commands that write the same images, one a line; empty if ``pipelines.sample`` cannot make one of them."""
    names = pictures_of(made)
    numbered = [f"-{number}" for number in range(1, len(made) + 1)] if len(made) > 1 else [""]
    try:
        return "\n".join(_command(one, names, suffix) for one, suffix in zip(made, numbered, strict=True))
    except ValueError:
        return ""


def _command(made: Made, names: dict[bytes, str], suffix: str) -> str:
    request, origin = made.request, made.origin
    wanted = list(range(request.num_images)) if made.images is None else list(made.images)
    count = max(wanted) + 1
    words = ["python", "-m", "pipelines.sample", reference_to(made.run)]
    for name, value in (settings_of(request) | {"num_images": count}).items():
        words += _option(name, value)
    if len(wanted) > USUAL_BATCH or len(wanted) < count:  # how images are batched may change a pixel by one
        words += ["--batch-size", str(len(wanted))]
    if isinstance(origin, FromPicture):
        words += ["--init-image", names[origin.picture], "--strength", f"{origin.strength:g}"]
        words += [] if origin.mask is None else ["--mask", names[origin.mask]]
        words += [] if origin.resamplings == 1 else ["--resamplings", str(origin.resamplings)]
        words += ["--reconstruction-guidance", "True"] if origin.guided else []
    elif origin != FROM_NOISE:
        raise ValueError(f"pipelines.sample has no option for {type(origin).__name__}")
    return shlex.join([*words, "--out", f"samples{suffix}"])


def _option(name: str, value: object) -> Iterator[str]:
    """Yield a command's option; a text that looks like an option itself is joined to it."""
    flag = f"--{name.replace('_', '-')}"
    if name == "prompt":
        assert isinstance(value, tuple)
        yield from (f"{flag}={prompt}" for prompt in value)
    elif isinstance(value, tuple):
        yield flag
        yield from map(str, value)
    elif isinstance(value, str):
        yield f"{flag}={value}" if value.startswith("-") else flag
        if not value.startswith("-"):
            yield value
    else:
        yield flag
        yield str(value)


def script(made: Sequence[Made]) -> str:
    """Return Python that makes the same images."""
    names = pictures_of(made)
    kinds = sorted({type(one.origin).__name__ for one in made if one.origin != FROM_NOISE})
    imports = ["from pathlib import Path\n"] if names else []
    imports += ["from pipelines.common.images import to_uint8"]
    imports += ["from pipelines.sample import SamplingRequest, load_model, sample"]
    imports += [f"from pipelines.sampling.origins import {', '.join(kinds)}"] if kinds else []
    lines = [*imports, "", "pictures = []  # one array (images, height, width, channels) for each of these"]
    for one in made:
        settings = ", ".join(f"{name}={value!r}" for name, value in settings_of(one.request).items())
        numbers = "None" if one.images is None else repr(list(one.images))
        origin = _origin(one.origin, names)
        more = [numbers, *([origin] if origin else [])] if origin or one.images is not None else []
        loading = f"model = load_model({reference_to(one.run)!r})"
        last = next((line for line in reversed(lines) if line.startswith("model = ")), "")
        lines += ["", loading] if loading != last else []
        lines += [
            f"request = SamplingRequest({settings})",
            f"*_, last = sample({', '.join(['model', 'request', *more])})",
            f"pictures.append(to_uint8({'model.decode(last.x)' if not origin else f'{origin}.images(model, last.x)'}))",
        ]
    return "\n".join(lines)


def _origin(origin: Origin, names: dict[bytes, str]) -> str:
    """Return an origin as Python; empty for noise."""
    if origin == FROM_NOISE:
        return ""
    told = [f"{field.name}={_value(getattr(origin, field.name), names)}" for field in fields(origin)]
    return f"{type(origin).__name__}({', '.join(told)})"


def _value(value: object, names: dict[bytes, str]) -> str:
    return f"Path({names[value]!r}).read_bytes()" if isinstance(value, bytes) else repr(value)


def forward_script(schedules: Sequence[tuple[str, bool]], seed: int, stride: int, last: int, side: int) -> str:
    """Return Python that noises the picture in picture.png as the Forward page does.

    Args:
        schedules: the name of each noise schedule, and whether it is rescaled to zero terminal SNR.
        stride: timesteps from one picture to the next.
        last: the last timestep.
        side: greatest side of the picture, in pixels.
    """
    made = ", ".join(f"make_schedule({name!r}{', zero_terminal_snr=True' if zero else ''})" for name, zero in schedules)
    return f"""from pathlib import Path

import numpy as np
import torch

from diffusion_core.noise import ForwardNoise
from diffusion_core.process import add_noise
from diffusion_core.schedules import make_schedule
from pipelines.common.images import as_input, to_uint8
from pipelines.common.picture_files import open_picture
from pipelines.datasets.decoding import fit_image

pixels = np.array(fit_image(open_picture(Path({PICTURE!r}).read_bytes()), {side}, "crop"))
x0 = as_input(torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)[None])
noise = ForwardNoise({seed}, tuple(x0.shape[1:]), [0]).initial()
times = torch.arange(0, {last + stride}, {stride}).clamp(max={last})
schedules = [{made}]
pictures = [to_uint8(add_noise(schedule, x0.expand(len(times), -1, -1, -1), noise, times)) for schedule in schedules]"""
