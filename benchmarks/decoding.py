"""Reading a large folder of pictures: ``python -m benchmarks.decoding``.

The first start decodes all files, the second finds the pixels in the cache. The most memory in use is measured above that of
the libraries: while the images are read, and while batches are taken from all of them at random. Pages of a mapped file are
not counted then, since the system takes them back when it needs memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from .timing import machine, table

STATUS = Path("/proc/self/status")  # on Linux
BATCH = 64


@dataclass(frozen=True)
class Arguments:
    """Measure the reading of a folder of JPEG files."""

    images: int = 20_000
    side: int = 128
    """Side of the files, and of the images that the network sees, in pixels."""


def write_images(folder: Path, arguments: Arguments) -> None:
    """Write JPEG files of coloured noise, smooth enough to resemble photographs to a decoder."""
    random = np.random.default_rng(0)
    for number in range(arguments.images):
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        small.resize((arguments.side, arguments.side), Image.Resampling.BICUBIC).save(folder / f"{number:06d}.jpg", quality=90)


def memory(name: str) -> int:
    """Return a figure of this process's memory in MiB: "VmHWM" is the most so far, "RssAnon" what cannot be read again."""
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) // 1024


def start(folder: str, side: int) -> dict[str, float]:
    """Read the folder as training does, and take an epoch of batches; return what that took."""
    import torch

    from pipelines.datasets.image_sets import load_images
    from pipelines.datasets.sources import resolve
    from pipelines.storage.config import DataConfig

    rest, began = memory("VmHWM"), time.perf_counter()
    train, held_out = load_images(resolve(DataConfig(folder, side)))
    found = {"seconds": time.perf_counter() - began, "reading": memory("VmHWM") - rest, "batches": 0.0}
    rest = memory("RssAnon")
    for rows in torch.randperm(len(train)).split(BATCH):
        train.images[rows].float().mean()
        found["batches"] = max(found["batches"], memory("RssAnon") - rest)
    return found | {"images": len(train) + len(held_out), "pixels": (train.images.nbytes + held_out.images.nbytes) / 2**20}


def main(arguments: Arguments) -> None:
    """Print a table of both starts."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "pictures"
        folder.mkdir()
        write_images(folder, arguments)
        time.sleep(3)  # what has changed a moment ago is not cached
        rows = []
        for which in ("first start", "second start"):
            command = [sys.executable, "-m", "benchmarks.decoding", "--child", str(folder), str(arguments.side)]
            environment = os.environ | {"NOISESCOPE_CACHE": f"{work}/cache"}
            ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(ran.stdout.splitlines()[-1])
            rows.append([which, *(f"{found[name]:,.0f}" for name in ("images", "pixels", "seconds", "reading", "batches"))])
    print(machine())
    print(table(["", "images", "pixels (MiB)", "seconds", "memory, reading (MiB)", "memory, batches (MiB)"], rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(start(sys.argv[2], int(sys.argv[3]))))
    else:
        main(tyro.cli(Arguments))
