"""The pictures of a comparison as files that the browser fetches when it needs them, each once.

One file holds all images of a frame in one view, in a column. It is written when the frame is first shown and removed when the
frame is no longer in memory.
"""

from __future__ import annotations

import atexit
import secrets
import shutil
import struct
import tempfile
import threading
import weakref
import zlib
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from streamlit.components.v1 import declare_component

from pages.components import frontend
from pipelines.common.images import Pixels
from pipelines.common.temporary import is_leftover, temporary_path
from pipelines.sampling.generation import Frame

NAME = "noisescope-sheets"


def _new_folder() -> Path:
    """Create this process's folder of sheets, and remove those that killed processes have left."""
    folder = temporary_path(Path(tempfile.gettempdir()) / NAME)
    for leftover in folder.parent.glob(f"{NAME}.*"):
        if is_leftover(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    folder.mkdir(mode=0o700)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


_FOLDER = _new_folder()
_SERVED = declare_component("sheets", path=str(_FOLDER))
_lock = threading.Lock()
_written: WeakKeyDictionary[Frame, dict[str, str]] = WeakKeyDictionary()  # URLs by view


def sheet_urls(frame: Frame) -> dict[str, str]:
    """Return the URLs of a frame's sheets by view, ``x`` and ``x0``, which are written if they are new.

    An (N, H, W, C) view becomes a PNG of N images one below the other.

    Raises:
        OSError: they cannot be written.
    """
    with _lock:
        if frame not in _written:
            pictures = {"x": frame.x, "x0": frame.x0}
            arrays = {id(pixels): pixels for pixels in pictures.values()}  # of a sample, both views are one array
            files = {key: _FOLDER / f"{secrets.token_hex(16)}.png" for key in arrays}  # nobody can guess what others look at
            try:
                for key, images in arrays.items():
                    files[key].write_bytes(stored_png(images.reshape(-1, *images.shape[2:])))
            except OSError:
                _remove(list(files.values()))  # also the part for which a full disk had room
                raise
            weakref.finalize(frame, _remove, list(files.values()))
            _written[frame] = {view: frontend.url(_SERVED, files[id(pixels)].name) for view, pixels in pictures.items()}
        return _written[frame]


def _remove(files: list[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)


def stored_png(image: Pixels) -> bytes:
    """Encode an (H, W, C) image as an uncompressed PNG file.

    This takes 1 ms for 60 images of 64×64, and compressing them 30 to 40 ms, of which the networks would be deprived. It
    would save little: 10 to 15 % of noise, 30 % of images.
    """
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter, 0 for none
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
