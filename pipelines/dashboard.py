"""Start the dashboard from any folder: the command ``noisescope``. Arguments are passed to ``streamlit run``."""

from __future__ import annotations

import runpy
import sys

from .common.command_line import REFUSED
from .storage.files import ROOT


def main() -> None:
    """Run the dashboard in this process until it is stopped."""
    script = ROOT / "main_interface.py"
    if not script.is_file():
        print(f"error: no {script}: Noisescope runs from its folder; install it there with `pip install -e .`", file=sys.stderr)
        sys.exit(REFUSED)
    sys.argv = ["streamlit", "run", str(script), *sys.argv[1:]]
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
