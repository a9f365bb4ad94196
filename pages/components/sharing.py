"""Sharing what is shown, as a link, a command and Python, and the history of this browser's results."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import streamlit as st

from pages.components import frontend
from pages.components.pictures import data_uri
from pages.components.requests import EVERY_CLASS
from pipelines.common.images import Pixels, montage
from pipelines.common.text import shorten
from pipelines.sampling.generation import Generation
from pipelines.sampling.repeat import Made, commands, pictures_of, script
from pipelines.sampling.request import SamplingRequest

THUMBNAIL = 256, 128  # width and height in pixels
MOST_COMMANDS = 12  # of a table; its Python makes all cells

_component = frontend.component("sharing")


@dataclass(frozen=True)
class Result:
    """A finished result, for the history.

    Attributes:
        title, details: what was made, and how.
        picture: a small picture of it.
        columns: the address's values of each column, if others can be compared with them on the Compare page.
    """

    title: str
    details: str
    picture: Pixels
    columns: Sequence[Mapping[str, str | list[str]]] = field(default_factory=list)


def show_sharing(
    page: str,
    params: Mapping[str, Sequence[str]],
    made: Sequence[Made] = (),
    result: Result | None = None,
    python: str = "",
    files: Mapping[str, bytes] | None = None,
    left_out: str = "",
) -> None:
    """Show buttons that open what is shown as a link, a command and Python, and this browser's history.

    Args:
        page: name of the page in the address.
        params: values of the address that determine what is shown; others stay as the browser has them.
        made: the images that are shown.
        result: the finished result, to be kept in the history.
        python, files: what makes what is shown, and the files that it reads, if it is not images that a model made.
        left_out: what determines what is shown and is not in the address, in sentences; the history then does not keep it.
    """
    entry = None
    if result is not None and not left_out:
        told = {"title": result.title, "details": result.details, "page": page, "params": _lists(params)}
        identity = hashlib.sha256(json.dumps([page, told["params"], script(made)]).encode()).hexdigest()[:16]
        entry = told | {"id": identity, "columns": list(result.columns), "picture": data_uri(result.picture)}
    _component(
        key="sharing",
        data={
            "page": page,
            "params": _lists(params),
            "command": commands(made) if len(made) <= MOST_COMMANDS else "",
            "python": script(made) if made else python,
            "files": {name: _uri(content) for content, name in pictures_of(made).items()}
            | {name: _uri(content) for name, content in (files or {}).items()},
            "leftOut": left_out,
            "entry": entry,
        },
    )


def share_table(page: str, key: str, params: Mapping[str, Sequence[str]], left_out: str = "") -> None:
    """Draw the buttons for sharing the table that was started under a key (see :mod:`pages.components.condition_table`).

    Args:
        page, params, left_out: see :func:`show_sharing`.
    """
    if key not in st.session_state:
        show_sharing(page, params, left_out=left_out)
        return
    table, comparison = st.session_state[key]
    result = None
    if comparison.status == "done":
        names = ", ".join(dict.fromkeys(column.run.name for column in comparison.columns))
        told = ", ".join(filter(None, [*table.rows, *table.columns]))
        pictures = [column.frames[-1].x for column in comparison.columns[:4]]
        result = Result(f"{page.capitalize()}: {names}", shorten(told, 120), thumbnail(pictures))
    show_sharing(page, params, made_of(comparison.columns), result, left_out=left_out)


def _lists(params: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(values) for name, values in params.items()}


def _uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def thumbnail(pictures: Sequence[Pixels]) -> Pixels:
    """Return a small picture of some sets of (N, H, W, C) images: the first of each, equally many, side by side."""
    width, height = THUMBNAIL[0] // len(pictures), THUMBNAIL[1]
    steps = [-(-images.shape[1] // 32) for images in pictures]
    sets = [images[:, ::step, ::step] for images, step in zip(pictures, steps, strict=True)]
    side = max(images.shape[1] for images in sets)
    across = max(1, min(len(sets[0]), width // side))
    parts = []
    for images in sets:
        part = montage(images[: across * max(1, height // side)], across, gap=0)
        parts.append(np.broadcast_to(part, (*part.shape[:2], 3)))
    tall = max(part.shape[0] for part in parts)
    return np.concatenate([np.pad(part, ((0, tall - part.shape[0]), (0, 0), (0, 0))) for part in parts], axis=1)


def address_of(name: str, request: SamplingRequest, suffix: str = "") -> dict[str, list[str]]:
    """Return the values of an address that set the widgets of :mod:`pages.components.requests` to a model and a request.

    Args:
        suffix: suffix of the widgets' keys.
    """
    told: dict[str, object] = {"model": name, "seed": request.seed, "spacing": request.spacing}
    told |= {"sampler": request.sampler, "steps": request.steps} | request.options
    if request.label is not None or request.prompt:
        told |= {name: getattr(request, name) for name in ("guidance", "guidance_interval", "guidance_rescale")}
        told |= {"class": EVERY_CLASS if request.label == "all" else request.label, "negative": request.negative_prompt}
        told |= {"prompt": request.prompt[0] if request.prompt else None}
    return {f"{key}{suffix}": _values(value) for key, value in told.items() if value is not None}


def _values(value: object) -> list[str]:
    return list(map(str, value)) if isinstance(value, tuple | list) else [str(value)]


def made_of(columns: Sequence[Generation]) -> list[Made]:
    """Return what determines the images of generations."""
    return [Made(column.run, column.request, column.origin) for column in columns]
