"""Execute the notebooks and store their outputs: ``python -m notebooks.execute``, or ``python -m notebooks.execute 02 04``."""

from __future__ import annotations

import io
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import tyro
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from PIL import Image
from tyro.conf import Positional

FOLDER = Path(__file__).parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PARAMETERS = "parameters"  # the tag of the cell whose values may be replaced, as in papermill
OPENING = "opening"  # the tag of the cell whose picture also stands below the title
PICTURE, WIDTH = "opening.png", 900  # its name there, and the pixels that it has at most
RENDERER = "plotly_mimetype"  # beside it, figures are stored as pictures, for where scripts cannot run


@dataclass(frozen=True)
class Arguments:
    """Execute notebooks in place."""

    names: Positional[tuple[str, ...]] = ()
    """Beginnings of the notebooks' names; all notebooks by default."""


def executed(path: Path, parameters: Mapping[str, Any] | None = None, kernel: AsyncKernelManager | None = None) -> NotebookNode:
    """Execute a notebook and return it with the outputs, without progress bars.

    Args:
        path: the notebook.
        parameters: values that replace those of its parameters cell.
        kernel: runs several notebooks, each from an empty namespace, and is started by the first; by default a new one.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        [place] = [number for number, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get("tags", ())]
        lines = [f"{name} = {value!r}" for name, value in parameters.items()]
        notebook.cells.insert(place + 1, new_code_cell("\n".join(lines)))
    if kernel is not None:
        notebook.cells.insert(0, new_code_cell("%reset -f"))
    NotebookClient(notebook, kernel, timeout=3600, record_timing=False, resources={"metadata": {"path": FOLDER}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def open_with_picture(notebook: NotebookNode) -> None:
    """Put the picture of the cell with the tag OPENING below the title, as an attachment that is at most WIDTH pixels wide."""
    outputs = [output for cell in notebook.cells if OPENING in cell.metadata.get("tags", ()) for output in cell.outputs]
    found = next(output.data["image/png"] for output in outputs if "image/png" in output.get("data", {}))
    picture = Image.open(io.BytesIO(b64decode(found))).convert("RGB")
    picture.thumbnail((WIDTH, WIDTH))
    buffer = io.BytesIO()
    picture.quantize(255).save(buffer, "PNG", optimize=True)
    title = notebook.cells[0]
    heading, _, text = title.source.partition("\n\n")
    shown = f"![{heading.strip('# ')}](attachment:{PICTURE})"
    title.source = "\n\n".join((heading, shown, text.removeprefix(f"{shown}\n\n")))
    title.attachments = {PICTURE: {"image/png": b64encode(buffer.getvalue()).decode()}}


def main(arguments: Arguments) -> None:
    """Execute the notebooks and write them back."""
    os.environ.setdefault("PLOTLY_RENDERER", RENDERER)
    for path in NOTEBOOKS:
        if path.name.startswith(arguments.names or ("",)):
            notebook = executed(path)
            open_with_picture(notebook)
            nbformat.write(notebook, path)
            print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
