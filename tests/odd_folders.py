"""Folders as nobody would fill them: odd names, tables, captions and archives, whole or not."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import zipfile
from pathlib import Path

from made_pictures import flat, saved

PICTURE = saved(flat("L", 9))
NAMES = (
    "a",
    "b",
    "train",
    "Test",
    "val",
    "images",
    "a steam train",
    "set[1]",
    "x*y?",
    ".hidden",
    "caf\udce9",
    "数",
    "a,b",
    "1",
    "$x$",
)
SUFFIXES = (
    ".png",
    ".PNG",
    ".jpeg",
    ".webp",
    ".txt",
    ".json",
    ".csv",
    ".jsonl",
    ".cls",
    ".zip",
    ".tar",
    ".svg",
    ".npy",
    "",
    ".tar.gz",
)


def content_for(random: random.Random, suffix: str, pictures: list[str]) -> bytes:
    """Something that a file with this extension may hold, or not."""
    kind = suffix.lower() if random.random() < 0.8 else random.choice(SUFFIXES)
    if kind == ".txt":
        return random.choice((b"a rose", "une façade".encode("utf-16"), b"\xff\x80", b"image,caption\na.png,x\n"))
    if kind in (".csv", ".jsonl", ".json"):
        rows = [{"file_name": name, "label": random.choice("xy")} for name in random.sample(pictures, min(3, len(pictures)))]
        rows.append({"file_name": random.choice(("none.png", "../../secret.png", "http://x/y.png")), "label": "x"})
        if kind == ".csv":
            return "\n".join(["file_name,label", *(f"{row['file_name']},{row['label']}" for row in rows)]).encode(
                "utf-8", "replace"
            )
        written = [json.dumps(row) for row in rows]
        return ("[" + ",".join(written) + "]" if kind == ".json" else "\n".join(written)).encode()
    if kind == ".cls":
        return b"3"
    return PICTURE if kind in (".png", ".jpeg", ".webp", "") else b"nothing"


def pack(random: random.Random, suffix: str) -> tuple[bytes, int]:
    """An archive of some files, and their number."""
    members = {f"{random.choice(('', 'a/', 'train/', '.git/'))}{number}{random.choice(SUFFIXES[:9])}" for number in range(4)}
    members |= {"../out.png"} if random.random() < 0.2 else set()
    buffer = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(buffer, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for member in sorted(members):
                archive.writestr(member, content_for(random, Path(member).suffix, []))
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz" if suffix == ".tar.gz" else "w") as archive:
            for member in sorted(members):
                content = content_for(random, Path(member).suffix, [])
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue(), len(members)


def make_folder(random: random.Random, root: Path) -> tuple[set[str], int]:
    """Fill a folder as nobody would; return the places of its files as reports say them, and the number in archives."""
    folders, files, inside, pictures = [""], set(), 0, []
    root.mkdir()
    for _ in range(random.randint(0, 4)):
        folder = str(Path(random.choice(folders), random.choice(NAMES)))
        (root / folder).mkdir(parents=True, exist_ok=True)
        folders.append(folder)
    for _ in range(random.randint(0, 14)):
        suffix = random.choice(SUFFIXES + (".png",) * 12)
        file = str(Path(random.choice(folders), random.choice((*NAMES, "metadata", "0", "1", "2", "3")) + suffix))
        if (root / file).exists():
            continue
        content, members = pack(random, suffix) if suffix in (".zip", ".tar", ".tar.gz") else (None, 0)
        (root / file).write_bytes(content_for(random, suffix, pictures) if content is None else content)
        hidden = any(part.startswith(".") for part in Path(file).parts)
        inside += 0 if hidden else members
        pictures += [file] * (suffix == ".png")
        files.add(os.fsencode(file).decode("utf-8", "backslashreplace"))
    if random.random() < 0.3 and not (root / "loop").exists():
        (root / "loop").symlink_to(root, target_is_directory=True)
    return files, inside
