"""The samples that are nearest to training images, beside these."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from pages.components import BOUND
from pages.components.pictures import background, show_image
from pipelines.common.command_line import describe
from pipelines.common.images import Pixels, montage, split_montage
from pipelines.common.picture_files import open_picture
from pipelines.common.public import without_places
from pipelines.common.text import literal
from pipelines.evaluation.brief import file_beside
from pipelines.evaluation.results import NEIGHBOURS_PICTURE, Evaluation

GAP = 2  # pixels between the images of a montage
PAIR_WIDTH = 96  # approximate width, in CSS pixels, of a sample above its nearest training image


def show_copies(measured: Sequence[Evaluation]) -> None:
    """Show on demand the samples that are nearest to training images, with what to look for."""
    pictures = {one.name: file_beside(one.run, NEIGHBOURS_PICTURE) for one in measured}
    # Whatever such a file is: whoever opens it says what is wrong.
    pictures = {name: picture for name, picture in pictures.items() if os.path.lexists(picture)}
    if not pictures:
        return
    with st.expander("Copies? The samples nearest to training images", key="copies", **BOUND) as more:
        if not more.open:
            return
        st.markdown("**Look for a sample that shows the very picture below it.**")
        st.caption(
            "Above: the samples that are nearest to training images in feature space. Below each: that training image, shown "
            "only with the nearest of the samples that it is nearest to. "
            "The same subject, colour and pose is what a model should learn; the same background and details are a copy."
        )
        configs = {one.name: one.config for one in measured}
        columns = st.columns(2, gap="large") if len(pictures) > 1 else [st.container()]
        for number, (name, picture) in enumerate(pictures.items()):
            with columns[number % len(columns)]:
                st.markdown(f"**{literal(name)}**")
                _show_pairs(picture, configs[name].image_shape, name)


def _show_pairs(picture: Path, shape: tuple[int, int, int] | None, name: str) -> None:
    """Show samples above their nearest training images, or say why they cannot be shown."""
    try:
        pairs = _pairs(os.fsencode(picture), picture.stat().st_mtime_ns, shape)
    except (OSError, ValueError) as error:
        st.warning(literal(f"{without_places(str(picture))} cannot be shown: {describe(error)}"))
        return
    with st.container(horizontal=True, gap="small"):
        for number, pair in enumerate(pairs, start=1):
            column = montage(pair, 1, background=background())[GAP:-GAP, GAP:-GAP]
            width = column.shape[1]
            enlarged = width * max(1, round(PAIR_WIDTH / width))
            show_image(column, f"Sample {number} of {name} above its nearest training image", min(enlarged, 2 * PAIR_WIDTH))


@st.cache_data(max_entries=100, show_spinner=False)
def _pairs(file: bytes, modified: int, shape: tuple[int, int, int] | None) -> list[Pixels]:
    """Return samples with their nearest training images, the nearest first, while their file has not been modified.

    Each pair is (2, H, W, C). Of samples with the same training image only the nearest is there.
    """
    pixels = np.atleast_3d(np.asarray(open_picture(Path(os.fsdecode(file)))))
    _, height, width = shape or (0, *pixels.shape[:2])
    count = (pixels.shape[1] - GAP) // (width + GAP)  # as many as the montage has columns
    images = split_montage(pixels, height, width, 2 * count)
    nearest = {images[count + number].tobytes(): number for number in reversed(range(count))}
    return [images[[number, count + number]] for number in sorted(nearest.values())]
