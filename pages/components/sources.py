"""Choosing a picture: from a model's samples, a dataset, or an upload."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from pages.components import BOUND
from pages.components.asking import allow_typed, expanded, may_read, offered_datasets
from pages.components.carried import carried, carry, picture_key
from pages.components.dataset_pictures import offer_around, picture_at
from pages.components.requests import follow_model
from pages.components.runs import condition_of_sample, is_diffusion, known_runs, newest_samples
from pages.components.thumbnails import choose, thumbnails
from pipelines.common.command_line import describe
from pipelines.common.images import Pixels, png_bytes
from pipelines.common.public import is_public, upload_limit
from pipelines.common.text import literal
from pipelines.datasets.familiar import most_familiar
from pipelines.sampling.fitting import picture_notes
from pipelines.storage.run import Run

GENERATED, DATASET, UPLOAD = "A sample", "A dataset", "An upload"
PNG = b"\x89PNG\r\n\x1a\n"  # how such a file begins
FILE_TYPES = ["png", "jpg", "jpeg", "webp", "avif", "heic", "heif", "gif", "bmp", "tif", "tiff"]


def choose_image(label: str = "Image", suffix: str = "", model: str = "") -> bytes | None:
    """Draw widgets for one picture; return a readable image file, or None and say so if there is none.

    A page draws all its inputs before it ends for want of a picture, because what is not drawn loses its value.

    Args:
        label: label of the choice.
        suffix: suffix of the widgets' keys.
        model: name of the run whose samples are offered first; the first one by default.
    """
    kinds: dict[str, Callable[[str], bytes | None]]
    kinds = {GENERATED: partial(_generated, model=model), DATASET: _from_dataset, UPLOAD: _uploaded}
    if not offered_datasets():
        del kinds[DATASET]
    kind = st.segmented_control(label, list(kinds), default=GENERATED, required=True, key=f"source{suffix}", **BOUND)
    try:
        picture = kinds[kind](suffix)
        if picture is not None and (notes := picture_notes(picture)):  # raises if it cannot be read
            st.caption(literal(" · ".join(notes)))
    except (ValueError, OSError) as error:
        st.error(literal(f"This image cannot be used: {describe(error)}"))
        return None
    return picture


def shown_condition(suffix: str = "") -> str:
    """Return the class or prompt that the chosen picture was made for; empty if none, or if no model made it."""
    made_by: str = st.session_state.get(f"source_run{suffix}", "")
    listed = known_runs().runs.get(made_by) if st.session_state.get(f"source{suffix}") == GENERATED else None
    return condition_of_sample(listed.config, st.session_state[f"source_number{suffix}"]) if listed else ""


def _generated(suffix: str, model: str) -> bytes | None:
    """Return one image of a run's newest sample grid on disk; no network is run."""
    runs = {name: model.run for name, model in known_runs().models(is_diffusion).items() if _has_samples(model.run)}
    if not runs:
        st.info("No run has sample grids yet: choose a dataset or upload an image.")
        return None
    run_column, number_column = st.columns([2, 1])
    usual = model if model in runs else next(iter(runs))
    follow_model(run_key := f"source_run{suffix}", usual)
    name = run_column.selectbox("Model", list(runs), list(runs).index(usual), key=run_key, **BOUND)
    samples = newest_samples(runs[name])
    assert samples is not None
    config, last = runs[name].config, len(samples) - 1
    shown = [condition_of_sample(config, number) for number in range(len(samples))]
    easiest = most_familiar(shown, len(shown)) if all(shown) else range(len(shown))
    first = list(easiest)[min(int(suffix or 1) - 1, last)]  # a second picture differs from the first
    follow_model(number_key := f"source_number{suffix}", first)
    if st.session_state.get(number_key, first) > last:  # of a larger grid
        st.session_state[number_key] = first
    number = number_column.number_input("Image", 0, last, first, key=number_key, **BOUND)
    thumbnails(list(samples), number_key, int(number), alt=f"Samples of {name}", labels=shown if all(shown) else ())
    if shown[int(number)]:
        st.caption(f"Made for: {literal(shown[int(number)])}")
    return png_bytes(samples[int(number)])


def _has_samples(run: Run) -> bool:
    """Return whether a run has sample grids, or a folder of them that cannot be listed: whoever chooses it learns why."""
    try:
        return bool(run.samples())
    except OSError:
        return True


def _from_dataset(suffix: str) -> bytes | None:
    name_column, number_column = st.columns([3, 2])
    name = name_column.selectbox(
        "Dataset",
        offered_datasets(),
        accept_new_options=not is_public(),
        help="A short name, a Hugging Face id, or a local folder or file.",
        key=(key := f"dataset{suffix}"),
        on_change=allow_typed,
        args=(key,),
        **BOUND,
    )
    number_key = f"dataset_image{suffix}"
    number = int(number_column.number_input("Image", 0, None, int(suffix or 1) - 1, key=number_key, **BOUND))
    name = expanded(name or "")
    if not may_read(name, suffix):
        return None
    offer = offer_around(name, number)
    small, alt = list(offer.small.values()), f"Pictures of {name}"
    thumbnails(small, number_key, offer.row, alt=alt, numbers=list(offer.small), labels=offer.classes)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if offer.others is not None:
            about = "These are spread evenly over the training images; so are the others, which begin elsewhere."
            st.button(
                "Other pictures", icon=":material/shuffle:", type="tertiary", key=f"others{suffix}", help=about,
                on_click=choose, args=(number_key, offer.others),
            )  # fmt: skip
        if shown := dict(zip(offer.small, offer.classes, strict=False)).get(offer.row):
            st.caption(f"Its class: {literal(shown)}", width="content")
    return picture_at(name, number)


def _uploaded(suffix: str) -> bytes | None:
    file = st.file_uploader(
        "PNG, JPEG, WebP, AVIF, HEIC, GIF, BMP or TIFF",
        type=FILE_TYPES,
        key=f"upload{suffix}",
        max_upload_size=upload_limit(),
    )
    if file is not None:
        return file.getvalue()
    came = carried(picture_key(suffix))
    if came is None or not came.startswith(PNG):  # as carry_upload writes them: no link reaches the other decoders
        return None
    st.caption("This picture came with the link; drop another one to replace it.")
    return came


def carry_upload(picture: Pixels, suffix: str = "") -> None:
    """Write the chosen picture into the address if it was uploaded and is small enough; a link names the others.

    Args:
        picture: as it is used, (H, W, C) uint8.
        suffix: suffix of the widgets' keys.
    """
    carry(picture_key(suffix), png_bytes(picture, compression=9) if is_upload(suffix) else None)


def is_upload(suffix: str = "") -> bool:
    """Return whether the chosen picture was uploaded."""
    return st.session_state.get(f"source{suffix}") == UPLOAD
