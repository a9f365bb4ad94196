"""Folders of small pictures written as people lay them out, and what is said of the pictures in them."""

from __future__ import annotations

from pathlib import Path

from made_pictures import flat, saved


def write(folder: Path, files: dict[str, bytes | str | int]) -> Path:
    """Write files; a number stands for a grey picture."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = content if isinstance(content, int) else None
        path.write_bytes(
            saved(flat("L", grey)) if grey is not None else content if isinstance(content, bytes) else content.encode()
        )
    return folder


def said_of(source, column: str = "label", split: str = "train") -> list[str | None]:
    table = source.splits[split]
    names = getattr(table.features[column], "names", None)
    return [names[value] if names and value is not None and value >= 0 else None if names else value for value in table[column]]


def four(folder: str, grey: int = 0) -> dict[str, bytes | str | int]:
    return {f"{folder}/{number}.png": grey + number for number in range(4)}
