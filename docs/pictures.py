"""The pictures of the README and of the pages, made from the shipped models: ``python -m docs.pictures``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffusion_core.noise import SeededNoise
from diffusion_core.process import add_noise
from diffusion_core.schedules import make_schedule
from pipelines.common.images import Pixels, as_pil, enlarge, film_strip, montage, to_uint8
from pipelines.common.indices import evenly_spaced
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.files import ROOT

DENOISING, WORDS = ROOT / "docs" / "denoising.png", ROOT / "docs" / "words.jpg"
COLUMNS, ROWS, GAP, SCALE = 11, 6, 2, 2  # Streamlit shrinks pictures wider than 1460 pixels whenever a page is drawn
FLOWERS = ("sunflower", "rose", "passion flower", "californian poppy")
IMAGES, GUIDANCE = 6, 2.0
MINIATURES = ROOT / "docs" / "miniatures"  # those of the pages' explanations; the SVGs are drawn by hand


def denoising() -> None:
    """docs/denoising.png: from noise (top row) to samples (bottom row); what lies between the images is transparent."""
    request = SamplingRequest(num_images=COLUMNS)
    steps = list(sample(load_model("flowers-attention-64"), request))
    rows = np.concatenate([to_uint8(steps[index].x) for index in evenly_spaced(len(steps), ROWS)])
    sheet = montage(rows, COLUMNS, GAP)
    opaque = montage(np.full_like(rows[..., :1], 255), COLUMNS, GAP, background=0)
    picture = as_pil(enlarge(sheet, SCALE)).convert("RGB")
    picture.putalpha(as_pil(enlarge(opaque, SCALE)))
    picture.save(DENOISING, optimize=True)


def words() -> None:
    """docs/words.jpg: what the model of latents makes of words, a row each; all rows from the same noise."""
    model = load_model("flowers-latent-text")
    rows = []
    for flower in FLOWERS:
        request = SamplingRequest(num_images=IMAGES, prompt=(f"a photo of a {flower}",), guidance=GUIDANCE)
        *_, last = sample(model, request)
        rows.append(to_uint8(model.decode(last.x)))
    as_pil(film_strip(rows, FLOWERS)).save(WORDS, quality=92)


def miniatures() -> None:
    """docs/miniatures: what Compare, Reverse, Forward and Generate show, small."""
    model = load_model("flowers-attention-64")
    steps = list(sample(model, SamplingRequest(num_images=6)))
    rows = np.concatenate([to_uint8(steps[index].x[:4]) for index in evenly_spaced(len(steps), 5)])
    _save(montage(rows, 4, background=127), MINIATURES / "strip.webp")

    middle, last = steps[len(steps) // 2], steps[-1]
    alpha, sigma = model.schedule.at(middle.timestep)
    noise = (middle.x - alpha * middle.x0) / sigma
    triple = np.concatenate([to_uint8(part[5:6]) for part in (middle.x, middle.x0, noise.float() / 3)])
    _save(montage(triple, 3, background=127), MINIATURES / "reverse.webp")

    x0 = last.x[2:3]
    noise = SeededNoise(1, tuple(x0.shape[1:]), [0]).initial()
    times = range(0, 1000, 190)
    noisy = [add_noise(make_schedule(name), x0, noise, time) for name in ("cosine", "linear") for time in times]
    _save(montage(np.concatenate([to_uint8(x_t) for x_t in noisy]), len(times), background=127), MINIATURES / "forward.webp")

    model, cells = load_model("flowers-class-64"), []
    for name in ("sunflower", "rose"):
        for scale in (1.0, 4.0):
            *_, last = sample(model, SamplingRequest(num_images=3, label=name, guidance=scale))
            cells.append(to_uint8(last.x))
    _save(montage(np.concatenate(cells), 6, background=127), MINIATURES / "generate.webp")


def _save(picture: Pixels, path: Path) -> None:
    as_pil(picture).save(path, quality=60, method=6)


if __name__ == "__main__":
    denoising()
    words()
    miniatures()
