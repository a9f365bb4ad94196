"""Execute the notebooks and store their outputs: ``python -m notebooks.execute``, or ``python -m notebooks.execute 02 04``."""

from __future__ import annotations

import os
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
from tyro.conf import Positional

FOLDER = Path(__file__).parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PARAMETERS = "parameters"  # the tag of the cell whose values may be replaced, as in papermill
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


def main(arguments: Arguments) -> None:
    """Execute the notebooks and write them back."""
    os.environ.setdefault("PLOTLY_RENDERER", RENDERER)
    for path in NOTEBOOKS:
        if path.name.startswith(arguments.names or ("",)):
            nbformat.write(executed(path), path)
            print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
