"""The pictures of the front page, made anew from the shipped models: ``python -m docs.pictures``."""

from __future__ import annotations

import numpy as np

from pipelines.common.images import as_pil, enlarge, film_strip, montage, to_uint8
from pipelines.common.indices import evenly_spaced
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.files import ROOT

DENOISING, WORDS = ROOT / "docs" / "denoising.png", ROOT / "docs" / "words.jpg"
COLUMNS, ROWS, GAP, SCALE = 12, 6, 2, 2
FLOWERS = ("sunflower", "rose", "passion flower", "californian poppy")
IMAGES, GUIDANCE = 6, 2.0


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


if __name__ == "__main__":
    denoising()
    words()
