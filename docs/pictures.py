"""The pictures of the front page, made anew from the shipped models: ``python -m docs.pictures``."""

from __future__ import annotations

import numpy as np

from pipelines.images import as_pil, enlarge, montage, to_uint8
from pipelines.runs import ROOT
from pipelines.sample import SamplingRequest, load_model, sample

DENOISING = ROOT / "docs" / "denoising.png"
COLUMNS, STEPS, GAP, SCALE = 12, 7, 2, 4


def main() -> None:
    """docs/denoising.png: from noise (top row) to samples (bottom row); what lies between the images is transparent."""
    request = SamplingRequest(num_images=COLUMNS, steps=STEPS)
    rows = np.concatenate([to_uint8(step.x) for step in sample(load_model("fashion-attention"), request)])
    sheet = montage(rows, COLUMNS, GAP)
    opaque = montage(np.full_like(rows, 255), COLUMNS, GAP, background=0)
    picture = as_pil(enlarge(sheet, SCALE)).convert("L")
    picture.putalpha(as_pil(enlarge(opaque, SCALE)))
    picture.save(DENOISING, optimize=True)


if __name__ == "__main__":
    main()
