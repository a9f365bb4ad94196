"""Pictures: one, and a folder of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

from .kind import Attempts, Kind, make_special
from .mutations import ADDRESS, ODD_TEXT, mutate_bytes, mutate_lines
from .pictures import mutate_picture, valid_pictures
from .seeds import Seeds


def _prepare_picture(_: Seeds, folder: Path) -> None:
    (folder / "picture.png").write_bytes(valid_pictures()["PNG RGB"])


def _mutate_picture(random: Random, folder: Path) -> None:
    (folder / "picture.png").write_bytes(mutate_picture(random))


def _open_picture(folder: Path) -> Attempts:
    from pipelines.common.images import read_request
    from pipelines.common.picture_files import open_picture, picture_size
    from pipelines.datasets.decoding import fit_image

    file = folder / "picture.png"
    yield lambda: fit_image(open_picture(file), 32, "crop")
    yield lambda: fit_image(open_picture(file.read_bytes(), "black"), 32, "pad")
    yield lambda: picture_size(file)
    yield lambda: read_request(file)


def _prepare_dataset(seeds: Seeds, folder: Path) -> None:
    shutil.copytree(seeds.shapes, folder / "shapes")
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    shutil.copy(next(seeds.shapes.rglob("*.png")), outside / "secret.png")


def _mutate_dataset(random: Random, folder: Path) -> None:
    data = folder / "shapes"
    files = sorted(data.rglob("*.png"))
    outside = str(folder.parent / "outside" / "secret.png")
    for file in random.sample(files, random.choice((1, 6, len(files)))):
        file.write_bytes(mutate_picture(random))
    kind = random.choice(("", "", "readme", "metadata", "special", "parquet"))
    if kind == "readme":
        where = random.choice((outside, "../outside/*", "/etc/*", "**", ADDRESS))
        text = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {where!r}\n---\n".encode()
        (data / "README.md").write_bytes(mutate_bytes(random, text) if random.random() < 0.3 else text)
    elif kind == "metadata":
        names = [random.choice((outside, "../../outside/secret.png", *ODD_TEXT[:10])), files[0].name]
        lines = "".join(json.dumps({"file_name": name, "text": "a"}) + "\n" for name in names).encode()
        (data / "metadata.jsonl").write_bytes(mutate_lines(random, lines) if random.random() < 0.5 else lines)
    elif kind == "special":
        make_special(random, files[0])
    elif kind == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        shutil.rmtree(data)
        data.mkdir()
        cells = [{"bytes": None, "path": outside}, {"bytes": valid_pictures()["PNG RGB"], "path": "a.png"}]
        cells += [{"bytes": mutate_picture(random), "path": random.choice((outside, *ODD_TEXT[:9]))} for _ in range(3)]
        cells = [cell | {"path": cell["path"].encode("utf-8", "replace").decode()} for cell in cells]
        told = {"info": {"features": {"image": {"_type": "Image"}}}}
        table = pa.table({"image": cells}).replace_schema_metadata({"huggingface": json.dumps(told)})
        parquet.write_table(table, data / "train.parquet")
        if random.random() < 0.5:
            file = data / "train.parquet"
            file.write_bytes(mutate_bytes(random, file.read_bytes()))


def _open_dataset(folder: Path) -> Attempts:
    from pipelines.datasets.image_sets import load_images, preview_images
    from pipelines.datasets.sources import resolve
    from pipelines.storage.config import DataConfig

    config = resolve(DataConfig(data=str(folder / "shapes"), image_size=8))
    yield lambda: preview_images(config)
    yield lambda: load_images(config)


KINDS = {
    "picture": Kind("one picture, opened", _prepare_picture, _mutate_picture, _open_picture),
    "dataset": Kind("a folder of pictures, loaded", _prepare_dataset, _mutate_dataset, _open_dataset),
}
