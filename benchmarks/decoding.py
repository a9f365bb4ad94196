"""Reading a large folder of pictures: ``python -m benchmarks.decoding``.

The first start decodes all files, the second finds the pixels in the cache; then each takes batches from all images at random.
The most memory in use is measured above that of the libraries. Most of it are pages of the mapped file, which the system takes
back when it needs memory: the last column leaves them out.
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
from threading import Event, Thread

import tyro

from .pictures import write_images
from .timing import machine, table

STATUS = Path("/proc/self/status")  # on Linux
BATCH = 64


@dataclass(frozen=True)
class Arguments:
    """Measure the reading of a folder of JPEG files."""

    images: int = 20_000
    side: int = 128
    """Side of the files, and of the images that the network sees, in pixels."""


def memory(name: str) -> int:
    """Return a figure of this process's memory in MiB: "VmHWM" is the most so far, "RssAnon" what is mapped from no file."""
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) // 1024


def start(folder: str, side: int) -> dict[str, float]:
    """Read the folder as training does, and take an epoch of batches; return what that took."""
    import torch

    from pipelines.datasets.image_sets import load_images
    from pipelines.datasets.sources import resolve
    from pipelines.storage.config import DataConfig

    known, over = [memory("RssAnon")], Event()

    def watch() -> None:
        while not over.wait(0.02):
            known.append(memory("RssAnon"))

    watcher = Thread(target=watch)
    watcher.start()
    rest, began = memory("VmHWM"), time.perf_counter()
    train, held_out = load_images(resolve(DataConfig(folder, side)))
    seconds = time.perf_counter() - began
    for rows in torch.randperm(len(train)).split(BATCH):
        train.images[rows].float().mean()
    over.set()
    watcher.join()
    memories = {"most": memory("VmHWM") - rest, "unmapped": max(known) - known[0]}
    pixels = (train.images.nbytes + held_out.images.nbytes) / 2**20
    return {"images": len(train) + len(held_out), "pixels": pixels, "seconds": seconds} | memories


def main(arguments: Arguments) -> None:
    """Print a table of both starts."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "pictures"
        folder.mkdir()
        write_images(folder, arguments.images, arguments.side, ".jpg", quality=90)
        time.sleep(3)  # what has changed a moment ago is not cached
        rows = []
        for which in ("first start", "second start"):
            command = [sys.executable, "-m", "benchmarks.decoding", "--child", str(folder), str(arguments.side)]
            environment = os.environ | {"NOISESCOPE_CACHE": f"{work}/cache"}
            ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(ran.stdout.splitlines()[-1])
            rows.append([which, *(f"{found[name]:,.0f}" for name in ("images", "pixels", "seconds", "most", "unmapped"))])
    print(machine())
    print(table(["", "images", "pixels (MiB)", "seconds", "most memory (MiB)", "not mapped (MiB)"], rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(start(sys.argv[2], int(sys.argv[3]))))
    else:
        main(tyro.cli(Arguments))
