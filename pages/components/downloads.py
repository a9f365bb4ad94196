"""Downloads of generated images: a ZIP of all of them, and a GIF of their denoising."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable

import numpy as np
import streamlit as st

from pages.components.generation import pixels
from pages.components.pictures import grid_columns
from pipelines.common.images import enlarge, gif_bytes, montage, png_bytes
from pipelines.sampling.alignment import frame_at
from pipelines.sampling.generation import Comparison
from pipelines.sampling.sample import metadata_of

UNFIT_FOR_FILES = re.compile(r"[^\w.-]+")


def offer_downloads(stem: str, *, archive: Callable[[], bytes], animation: Callable[[], bytes]) -> None:
    """Show buttons that create a ZIP of all images and a GIF of their denoising when pressed; the files are named ``stem``."""
    downloads = st.container(horizontal=True)
    for label, make, suffix, mime, icon in (
        ("All images (ZIP)", archive, "zip", "application/zip", ":material/folder_zip:"),
        ("Denoising (GIF)", animation, "gif", "image/gif", ":material/gif_box:"),
    ):
        downloads.download_button(label, make, f"{stem}.{suffix}", mime, on_click="ignore", icon=icon)


def comparison_zip(names: list[str], comparison: Comparison) -> bytes:
    """Return a ZIP of all samples as PNGs that contain their request, a grid for each column, and request.json."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        requests = {}
        for number, (name, column) in enumerate(zip(names, comparison.columns, strict=True), start=1):
            metadata = metadata_of(column.run.name, column.fingerprint, column.request, column.origin)
            folder = f"{number}-{UNFIT_FOR_FILES.sub('-', name)[:60].strip('-')}"
            requests[folder] = metadata
            images = column.frames[-1].x
            for image_number, image in enumerate(images):
                archive.writestr(f"{folder}/{image_number:05d}.png", png_bytes(image, metadata | {"image": image_number}))
            archive.writestr(f"{folder}/grid.png", png_bytes(montage(images, grid_columns(len(images))), metadata))
        archive.writestr("request.json", json.dumps(requests, indent=2))
    return buffer.getvalue()


def comparison_gif(comparison: Comparison, view: str, levels: list[float]) -> bytes:
    """Return a GIF of all columns side by side at equal noise levels, with a pause on the last frame."""
    pictures = []
    for level in levels:
        sheets = []
        for column in comparison.columns:
            images = pixels(frame_at(column.frames, level), view)
            sheet = enlarge(montage(images, grid_columns(len(images))), max(1, 64 // images.shape[1]))
            sheets.append(np.broadcast_to(sheet, (*sheet.shape[:2], 3)))
        height = max(sheet.shape[0] for sheet in sheets)
        padded = [np.pad(s, ((0, height - s.shape[0]), (0, 12), (0, 0)), constant_values=255) for s in sheets]
        pictures.append(np.concatenate(padded, axis=1))
    return gif_bytes(pictures, [120] * (len(pictures) - 1) + [1500])
