"""What a file of a dataset is, by its name, or else by how it begins."""

from __future__ import annotations

import posixpath
import re
from functools import cache

from PIL import Image

from ...common.foreign_formats import can_read_heif, is_heif
from ...common.picture_files import BYTES_PER_PIXEL

TEXT_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
BINARY_TABLES = (".parquet", ".arrow")
TABLES = (*TEXT_TABLES, *BINARY_TABLES)
CAPTIONS = (".txt", ".caption")
CLASSES = (".cls",)
OBJECTS = (".json",)
BESIDE = (*CAPTIONS, *CLASSES, *OBJECTS)
PICTURE, BESIDE_A_PICTURE, TABLE, DESCRIPTION = "picture", "beside a picture", "table", "description"
DESCRIPTIONS = ("readme", "license", "licence", "citation")  # stems of names
RECORDS = ("state.json", "dataset_info.json", "dataset_dict.json", "dataset_infos.json")  # of ``datasets``, about its tables
FOREIGN_PICTURES = re.compile(
    r".*\.(ai|arw|avif|cr[23]|dng|eps|exr|fits|hdr|j2k|jp2|jxl|nef|orf|pdf|ps|psd|raw|rw2|svg|xcf)",
    re.DOTALL | re.IGNORECASE,
)
HEIF = (".heic", ".heif", ".hif")
FOREIGN_ARCHIVES = (".7z", ".bz2", ".gz", ".rar", ".xz", ".zst")
HEAD = 64  # bytes by which a picture is recognised


@cache
def picture_suffixes() -> frozenset[str]:
    """Return the extensions, in lower case, of the formats that are read here."""
    read = {*BYTES_PER_PIXEL, "MPO"} - (set() if can_read_heif() else {"HEIF"})
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in read)


def kind_of(file: str) -> str | None:
    """Return the kind that a file's name tells, or None if only its content can tell whether it is a picture."""
    name = posixpath.basename(file).lower()
    stem, suffix = posixpath.splitext(name)
    if suffix in picture_suffixes():
        return PICTURE
    if stem in DESCRIPTIONS or name in RECORDS:
        return DESCRIPTION
    if suffix in BESIDE:
        return BESIDE_A_PICTURE
    return TABLE if suffix in TABLES else None


def begins_as_picture(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a picture of a format that is read and has a signature."""
    brand = head[8:12]
    return (
        head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"DDS ", b"qoif"))
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
        or (head[:4] == b"RIFF" and brand == b"WEBP")
        or (head[4:8] == b"ftyp" and brand in (b"avif", b"avis"))
        or is_heif(head)
    )


def why_not(file: str) -> str:
    """Return the reason for which a file of no known kind is not used."""
    suffix = posixpath.splitext(file)[1].lower()
    if suffix in HEIF:
        return f"a picture in {suffix}: pip install pillow-heif to read these"
    if FOREIGN_PICTURES.fullmatch(file):
        return f"a picture of a format that is not read ({suffix})"
    return f"an archive of a kind that is not read ({suffix})" if suffix in FOREIGN_ARCHIVES else "not a picture"
