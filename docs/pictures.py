"""The pictures of the front page, made anew from the shipped models: ``python -m docs.pictures``."""

from __future__ import annotations

import numpy as np

from pipelines.images import as_pil, enlarge, montage, to_uint8
from pipelines.runs import ROOT
from pipelines.sample import SamplingRequest, load_model, sample, shown_rows

DENOISING = ROOT / "docs" / "denoising.png"
COLUMNS, ROWS, GAP, SCALE = 12, 8, 2, 4


def main() -> None:
    """docs/denoising.png: from noise (top row) to samples (bottom row); what lies between the images is transparent."""
    request = SamplingRequest(num_images=COLUMNS)
    steps = list(sample(load_model("flowers-attention"), request))
    rows = np.concatenate([to_uint8(steps[index].x) for index in shown_rows(len(steps), ROWS)])
    sheet = montage(rows, COLUMNS, GAP)
    opaque = montage(np.full_like(rows[..., :1], 255), COLUMNS, GAP, background=0)
    picture = as_pil(enlarge(sheet, SCALE)).convert("RGB")
    picture.putalpha(as_pil(enlarge(opaque, SCALE)))
    picture.save(DENOISING, optimize=True)


if __name__ == "__main__":
    main()
