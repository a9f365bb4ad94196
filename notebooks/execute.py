"""Execute the notebooks and keep what they show: ``python -m notebooks.execute``, or ``python -m notebooks.execute 02 04``.

With Chromium or Chrome at hand (named by BROWSER_PATH where it is not found), figures are kept as pictures too, so that they
are seen where nothing can be executed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import tyro
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from tyro.conf import Positional

FOLDER = Path(__file__).parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PARAMETERS = "parameters"  # the tag of the cell whose values may be replaced, as in papermill
RENDERER = "plotly_mimetype+png"


@dataclass(frozen=True)
class Arguments:
    """Execute notebooks in place."""

    names: Positional[tuple[str, ...]] = ()
    """What their names begin with; all by default."""


def executed(path: Path, parameters: Mapping[str, Any] | None = None) -> NotebookNode:
    """The notebook with what its cells give now; bars of progress are left out.

    Args:
        parameters: values in place of those in its cell of parameters.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        [place] = [number for number, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get("tags", ())]
        lines = [f"{name} = {value!r}" for name, value in parameters.items()]
        notebook.cells.insert(place + 1, new_code_cell("\n".join(lines)))
    NotebookClient(notebook, timeout=3600, record_timing=False, resources={"metadata": {"path": FOLDER}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main(arguments: Arguments) -> None:
    """Execute and write."""
    os.environ.setdefault("PLOTLY_RENDERER", RENDERER)
    for path in NOTEBOOKS:
        if path.name.startswith(arguments.names or ("",)):
            nbformat.write(executed(path), path)
            print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
