"""Pictures and masks in a page's address: a link carries what it cannot name, as far as there is room."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

import streamlit as st

from pages.components.address import tell_unless

ROOM = 6000  # characters of all of them together, because servers and mail programs cut longer addresses
LARGEST = 2**16  # bytes of one
MASK = "mask"  # in the address; the others are pictures
# What to say of what a link leaves out: what it is, and how whoever opens it gets it.
PICTURE_ALONG = "your picture", "Send the file along: it is dropped there under “An upload”."
MASK_ALONG = "the mask", "Send mask.png (below) along: it is opened there with “Mask from a file”."


def picture_key(suffix: str = "") -> str:
    """Return the name in the address of an uploaded picture.

    Args:
        suffix: suffix of the keys of the widgets with which it is chosen.
    """
    return f"picture{suffix}"


def carried(name: str) -> bytes | None:
    """Return what the address carries under a name; None if it carries nothing, or nothing that can be used, which is told."""
    tell_unless(name, lambda text: _unpacked(text) is not None, "no picture")
    return _unpacked(st.query_params.get(name, ""))


def carry(name: str, content: bytes | None) -> None:
    """Write a picture file or a mask into the address if there is room for it; remove it if there is not, or if it is None."""
    text = "" if content is None else _packed(content)
    others = sum(len(st.query_params[other]) for other in (MASK, picture_key(), picture_key("2")) if _is_other(other, name))
    if not text or len(text) + others > ROOM:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != text:
        st.query_params[name] = text


def _is_other(one: str, name: str) -> bool:
    return one != name and one in st.query_params


def left_out(names: Iterable[str]) -> str:
    """Return what a link to this page leaves out of what it needs, in sentences; empty if it carries all of it."""
    missing = dict.fromkeys(MASK_ALONG if name == MASK else PICTURE_ALONG for name in names if name not in st.query_params)
    if not missing:
        return ""
    what = " and ".join(what for what, _ in missing)
    return f"It leaves out {what}, too large for a link. {' '.join(along for _, along in missing)}"


def _packed(content: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(content, 9)).decode().rstrip("=")


def _unpacked(text: str) -> bytes | None:
    """Return what :func:`_packed` packed; None if it is not such a text."""
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), LARGEST)
    except (ValueError, zlib.error):
        return None
    return content if unpacking.eof else None
