"""Downloads of generated images: a ZIP of all of them, and a GIF of their denoising."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
import streamlit as st

from pages.components.generation import pixels
from pages.components.pictures import grid_columns
from pages.components.saving import save_figure
from pipelines.common.images import enlarge, gif_bytes, montage, png_bytes
from pipelines.common.indices import evenly_spaced
from pipelines.figures.pictures import denoising_strip, samples_grid
from pipelines.figures.sheet import Sheet
from pipelines.sampling.alignment import frame_at, shared_log_snrs
from pipelines.sampling.generation import Comparison
from pipelines.sampling.sample import metadata_of

GIF_FRAMES = 21
GIF_PIXELS = 6_000_000  # in all frames together: noise hardly compresses, so this is about 6 MB, and made in a second
GIF_SIDE = 64  # minimum side of an image in a GIF, in pixels
UNFIT_FOR_FILES = re.compile(r"[^\w.-]+")


def offer_downloads(
    stem: str,
    *,
    archive: Callable[[], bytes],
    animation: Callable[[], bytes],
    sheets: Mapping[str, Callable[[], Sheet]],
    about: str = "",
) -> None:
    """Show buttons that create a ZIP of all images and a GIF of their denoising when pressed; the files are named ``stem``.

    Args:
        sheets: figures of the images for papers, by what they are.
        about: what the GIF leaves out.
    """
    downloads = st.container(horizontal=True, vertical_alignment="center")
    for label, make, suffix, mime, icon in (
        ("All images (ZIP)", archive, "zip", "application/zip", ":material/folder_zip:"),
        ("Denoising (GIF)", animation, "gif", "image/gif", ":material/gif_box:"),
    ):
        downloads.download_button(label, make, f"{stem}.{suffix}", mime, on_click="ignore", icon=icon)
    with downloads:
        for name, sheet in sheets.items():
            save_figure(sheet, name.lower().replace(" ", "-"), f"Save {name.lower()}", quiet=False)
    if about:
        downloads.caption(about)


def offer_comparison(names: list[str], titles: list[str], comparison: Comparison, view: str) -> None:
    """Show buttons that download a finished comparison; the GIF has a maximum size, so it may show fewer images.

    Args:
        names: the models' names.
        titles: titles of the columns.
    """
    columns = dict(zip(titles, comparison.columns, strict=True))
    count, shown = comparison.columns[0].request.num_images, gif_images(comparison)
    offer_downloads(
        "noisescope-comparison",
        archive=lambda: comparison_zip(names, comparison, of_columns=True),
        animation=lambda: comparison_gif(comparison, view),
        sheets={"Grid": lambda: samples_grid(columns), "Film strip": lambda: denoising_strip(columns, view == "x0")},
        about="" if shown >= count else f"The GIF shows the first {shown} of {count} images in each column.",
    )


def comparison_zip(names: list[str], comparison: Comparison, *, of_columns: bool = False) -> bytes:
    """Return a ZIP of all samples as PNGs that contain their request, a grid for each column, and request.json.

    Args:
        of_columns: whether the PNGs also tell their column, into which the Compare page loads their request.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        requests = {}
        for number, (name, column) in enumerate(zip(names, comparison.columns, strict=True), start=1):
            metadata = metadata_of(column.run.name, column.fingerprint, column.request, column.origin)
            metadata |= {"column": number} if of_columns else {}
            folder = f"{number}-{UNFIT_FOR_FILES.sub('-', name)[:60].strip('-')}"
            requests[folder] = metadata
            images = column.frames[-1].x
            for image_number, image in enumerate(images):
                archive.writestr(f"{folder}/{image_number:05d}.png", png_bytes(image, metadata | {"image": image_number}))
            archive.writestr(f"{folder}/grid.png", png_bytes(montage(images, grid_columns(len(images))), metadata))
        archive.writestr("request.json", json.dumps(requests, indent=2))
    return buffer.getvalue()


def gif_images(comparison: Comparison) -> int:
    """Return how many images of each column its GIF shows: all, or the first."""
    sides = [column.image_shape[1:] for column in comparison.columns]
    pixels = sum(height * width * _enlargement(height) ** 2 for height, width in sides)
    return max(1, min(comparison.columns[0].request.num_images, GIF_PIXELS // (GIF_FRAMES * pixels)))


def gif_levels(comparison: Comparison, frames: int = GIF_FRAMES) -> list[float]:
    """Return the log-SNRs of a GIF's frames: those of all columns, or as many of them, evenly spaced."""
    levels = shared_log_snrs(comparison.columns)
    return [levels[index] for index in evenly_spaced(len(levels), frames)]


def comparison_gif(comparison: Comparison, view: str) -> bytes:
    """Return a GIF of all columns side by side at equal noise levels, with a pause on the last frame."""
    count, pictures = gif_images(comparison), []
    for level in gif_levels(comparison):
        sheets = []
        for column in comparison.columns:
            images = pixels(frame_at(column.frames, level), view)[:count]
            sheet = enlarge(montage(images, grid_columns(len(images))), _enlargement(images.shape[1]))
            sheets.append(np.broadcast_to(sheet, (*sheet.shape[:2], 3)))
        height = max(sheet.shape[0] for sheet in sheets)
        padded = [np.pad(s, ((0, height - s.shape[0]), (0, 12), (0, 0)), constant_values=255) for s in sheets]
        pictures.append(np.concatenate(padded, axis=1))
    return gif_bytes(pictures, [120] * (len(pictures) - 1) + [1500])


def _enlargement(height: int) -> int:
    return max(1, GIF_SIDE // height)
