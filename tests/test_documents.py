"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_imports import ROOMS, ROOT

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/ARCHITECTURE.md"]
PATH = re.compile(r"`((?:diffusion_core|unets|pipelines|pages|checkpoints|docs|tests|benchmarks|notebooks)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_paths_lead_somewhere(name):
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    targets = [document.parent / link for link in LINK.findall(text)] + [ROOT / path for path in PATH.findall(text)]
    assert targets
    assert not [str(target) for target in targets if not Path(target).exists()]


def test_the_design_lists_the_rooms_in_their_order():
    text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \|", text.split("| room |")[1].split("\n\n")[0], re.MULTILINE)
    assert tuple(rows) == tuple(ROOMS)
