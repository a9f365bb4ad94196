"""Pictures and files that a dataset names elsewhere: none outside its own folder is read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from made_pictures import first_pixels, flat, pictures_config, write_picture
from pyarrow import parquet

from pipelines.datasets.image_sets import read_images
from pipelines.datasets.sources import open_dataset


@pytest.fixture
def secret(tmp_path):
    """A picture that lies beside the dataset's folder."""
    write_picture(tmp_path, "secret.png", flat("L", 200))
    return tmp_path / "secret.png"


@pytest.mark.parametrize("named", ["../secret.png", "{folder}/../secret.png", "{secret}", "http://127.0.0.1:{port}/a.png"])
@pytest.mark.parametrize("described", [".huggingface.yaml", "README.md"])
def test_a_description_names_no_files_outside_its_folder(tmp_path, secret, named, described):
    write_picture(tmp_path / "data", "own.png", flat("L", 1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        path = named.format(folder=tmp_path / "data", secret=secret, port=server.getsockname()[1])
        for where in ("data_files", "data_dir"):
            text = f"configs:\n- config_name: default\n  {where}: {path}\n"
            (tmp_path / "data" / described).write_text(text if described.endswith("yaml") else f"---\n{text}---\n")
            with pytest.raises(ValueError, match="names files outside its folder") as refusal:
                open_dataset(str(tmp_path / "data"))
            assert "\n" not in str(refusal.value)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_description_may_name_files_inside_its_folder(tmp_path):
    for number in range(3):
        write_picture(tmp_path / "some where", f"{number}.png", flat("L", number))
    text = "configs:\n- config_name: default\n  data_files: 'some where/*.png'\n"
    (tmp_path / "README.md").write_text(f"---\n{text}---\n# Hello\n")
    assert len(open_dataset(str(tmp_path))["train"]) == 3


def test_a_table_names_no_pictures_outside_its_folder(tmp_path, secret):
    write_picture(tmp_path / "data", "own.png", flat("L", 100))
    (tmp_path / "link").symlink_to(tmp_path / "data")
    inside = [str(tmp_path / "data" / "own.png"), "own.png"]
    outside = [str(secret), "../secret.png", f"{tmp_path}/data/../secret.png", f"file://{secret}", "http://127.0.0.1:9/a.png"]
    cells = pa.array(
        [{"bytes": None, "path": path} for path in [*inside, *outside, "nothing\0here.png"]], datasets.Image.pa_type
    )
    schema = datasets.Features({"image": datasets.Image()}).arrow_schema
    parquet.write_table(pa.Table.from_arrays([cells], schema=schema), tmp_path / "data" / "table.parquet")
    (tmp_path / "data" / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: table.parquet\n---\n")
    for folder in (tmp_path / "data", tmp_path / "link"):
        images = read_images(open_dataset(str(folder))["train"], pictures_config(folder))
        assert first_pixels(images) == [100, 100]
        said = [each.reason for each in images.skipped]
        assert said[:-1] == ["it lies outside the dataset's folder, where no picture is read"] * len(outside)
        assert "embedded null" in said[-1]


def test_linked_pictures_are_the_datasets_own(tmp_path, secret):
    for number in range(2):
        write_picture(tmp_path / "data", f"{number}.png", flat("L", number))
    (tmp_path / "data" / "link.png").symlink_to(secret)
    images = read_images(open_dataset(str(tmp_path / "data"))["train"], pictures_config(tmp_path / "data"))
    assert first_pixels(images) == [0, 1, 200]
    assert not images.skipped


def test_a_description_on_the_hub_names_no_files_of_this_machine(secret):
    """It is read from the cache of the hub here, as it would be after its download."""
    kept = Path(os.environ["HF_HOME"]) / "hub" / "datasets--noisescope--elsewhere"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (kept / "snapshots" / ("0" * 40)).mkdir(parents=True)
    text = f"---\nconfigs:\n- config_name: default\n  data_files: {secret}\n---\n"
    (kept / "snapshots" / ("0" * 40) / "README.md").write_text(text)
    with pytest.raises(ValueError, match="names files outside its folder"):
        open_dataset("noisescope/elsewhere")
