"""The notebooks run from top to bottom, with small budgets, and what is kept in them is whole."""

from __future__ import annotations

import ast
import base64
import io

import nbformat
import numpy as np
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from PIL import Image

from notebooks.execute import NOTEBOOKS, PARAMETERS, PICTURE, executed, open_with_picture

pytestmark = pytest.mark.notebook

TRAINING = {"IMAGE_SIZE": 16, "CHANNELS": (8, 16), "STEPS": 12}
QUICK = {
    "01": {"STEPS": 3, "IMAGES": 4},
    "02": TRAINING | {"BATCH_SIZE": 8},
    "03": {"STEPS": 2, "IMAGES": 2},
    "04": TRAINING | {"LATENT_STEPS": 4},
    "05": {"STEPS": 2, "IMAGES": 2},
    "06": {"STEPS": (2, 3), "EXACT": 6, "IMAGES": 1},
    "07": {"IMAGE_SIZE": 8, "STEPS": 2, "BATCH_SIZE": 4, "IMAGES": 1, "PROMPTS": ("a blue fish",)},  # goes on from a small run
    "08": {"IMAGE_SIZE": 8, "WIDTH": 16, "DEPTH": 1, "STEPS": 12, "BATCH_SIZE": 4},
    "09": {"MODEL": "lesson-flow", "RHOS": (7,), "STEPS": 2, "IMAGES": 1},
}
NAMES = [path.name for path in NOTEBOOKS]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def kernel(forking):
    """One kernel for all notebooks, whose imports take longer than all else that they do with small budgets."""
    manager = AsyncKernelManager()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
        patch.setattr("jupyter_client.launcher.Popen", forking)
        yield manager
    run_sync(manager.shutdown_kernel)(now=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_from_top_to_bottom(path, kernel, image_folder, text_run):
    parameters = QUICK[path.name[:2]]
    if "IMAGE_SIZE" in parameters:
        parameters = parameters | {"DATA": str(image_folder)}
    if path.name.startswith("07"):
        parameters = parameters | {"MODEL": str(text_run.path)}
    notebook = executed(path, parameters, kernel)
    told = {name for cell in code_cells(notebook) if PARAMETERS in cell.metadata.get("tags", ()) for name in _assigned(cell)}
    assert set(parameters) <= told, "a budget that the notebook does not know would change nothing"
    shown = [kind for cell in code_cells(notebook) for output in cell.outputs for kind in output.get("data", {})]
    assert "image/png" in shown


def _assigned(cell):
    names = (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name))
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


def picture_above(title):
    """The pixels of the picture below a notebook's title; other versions of Pillow choose other colours."""
    content = base64.b64decode(title.attachments[PICTURE]["image/png"])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_what_is_kept_is_whole_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    title, install = notebook.cells[:2]
    assert title.source.startswith("# ")
    assert f"(attachment:{PICTURE})" in title.source.split("\n\n")[1]
    opening = picture_above(title)
    open_with_picture(notebook)
    assert np.abs(opening - picture_above(title)).mean() < 2, "the picture above is that of the cell with the tag"
    assert "pip" in install.source
    assert path.stat().st_size < 2_000_000
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    figures = [output.data for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert all("image/png" in data for data in figures), "a figure that is only drawn by a script is not seen everywhere"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_imports_and_narrates_and_defines_nothing(path):
    notebook = nbformat.read(path, as_version=4)
    nodes = [node for cell in code_cells(notebook) for node in ast.walk(ast.parse(cell.source))]
    defined = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    assert defined == (["Mixer"] if path.name.startswith("08") else [])  # one's own network
    assert defined or not [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert sum(cell.cell_type == "markdown" for cell in notebook.cells) >= len(notebook.cells) // 3
