"""What a public dashboard allows, and what it tells of its machine."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.common.command_line import describe
from pipelines.common.images import png_bytes
from pipelines.common.machine import TooLarge
from pipelines.common.picture_files import open_picture
from pipelines.common.public import ROOT, Bounds, bounds, is_public, upload_limit, without_places


@pytest.mark.parametrize(("value", "public"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_a_dashboard_is_public_only_if_it_is_told_to_be(value, public, monkeypatch):
    monkeypatch.delenv("NOISESCOPE_PUBLIC", raising=False)
    if value is not None:
        monkeypatch.setenv("NOISESCOPE_PUBLIC", value)
    assert is_public() == public
    assert upload_limit() == (Bounds().upload if public else None)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("", "yes"), ("", "true"), ("_CALLS", "many"), ("_CALLS", "0"), ("_QUEUE", "-1"), ("_UPLOAD", "1.5"), ("_PIXELS", "nan")],
)
def test_a_wrong_variable_is_refused_rather_than_ignored(variable, value, monkeypatch):
    monkeypatch.setenv("NOISESCOPE_PUBLIC", "1")
    monkeypatch.setenv(f"NOISESCOPE_PUBLIC{variable}", value)
    with pytest.raises(ValueError, match=f"^NOISESCOPE_PUBLIC{variable}='{value}': (give 1|choose a whole number)"):
        bounds() if is_public() else None


def test_every_bound_can_be_set(monkeypatch):
    for number, name in enumerate(Bounds.__dataclass_fields__, start=3):
        monkeypatch.setenv(f"NOISESCOPE_PUBLIC_{name.upper()}", str(number))
    assert bounds() == Bounds(3, 4, 5, 6, 7, 8)


TOLD = {
    f"no such file or directory: {ROOT}/checkpoints/run/config.json": "no such file or directory: checkpoints/run/config.json",
    f"no run at '{ROOT}/runs': give one": "no run at 'runs': give one",
    "/etc/passwd is no picture": "passwd is no picture",
    "read /a/b.png, /c/d.png (/e/f) and “/g/h”": "read b.png, d.png (f) and “h”",
    "https://example.org/a/b and either/or, 3/4": "https://example.org/a/b and either/or, 3/4",
}


@pytest.mark.parametrize("text", TOLD)
def test_messages_of_a_public_dashboard_have_no_folders(text, monkeypatch):
    assert without_places(text) == text
    monkeypatch.setenv("NOISESCOPE_PUBLIC", "1")
    assert without_places(text) == TOLD[text]


def test_errors_of_a_public_dashboard_tell_nothing_of_the_machine(monkeypatch):
    monkeypatch.setenv("NOISESCOPE_PUBLIC", "1")
    assert describe(FileNotFoundError(2, "No such file or directory", "/var/lib/x/y")) == "no such file or directory: y"
    assert describe(TooLarge("images take 80 GiB, and the device cuda:0 has 2 GiB")) == "it is too large for this server"
    assert describe(MemoryError()) == "it is too large for this server"
    assert describe(KeyError("/usr/lib/python3/secret")) == "an unexpected error, which the server has logged"


def test_pictures_of_a_public_dashboard_are_small(monkeypatch):
    png = png_bytes(np.zeros((1000, 1200, 3), np.uint8))
    assert open_picture(png).size == (1200, 1000)
    monkeypatch.setenv("NOISESCOPE_PUBLIC", "1")
    assert open_picture(png).size == (1200, 1000)
    monkeypatch.setenv("NOISESCOPE_PUBLIC_PIXELS", "1")
    with pytest.raises(ValueError, match="too large: 1200×1000 pixels, where PNG files may have 1 million"):
        open_picture(png)
    monkeypatch.setenv("NOISESCOPE_PUBLIC_UPLOAD", "1")
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        open_picture(png + bytes(2**20))


def test_places_are_those_of_this_project():
    assert (Path(ROOT) / "main_interface.py").is_file()
