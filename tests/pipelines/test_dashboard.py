"""The command ``noisescope``."""

from __future__ import annotations

import socket
import tomllib
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_installed_command_serves_the_dashboard_from_any_folder(start, wait_for, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["noisescope"].split(":")
    code = f"import os; os.chdir({str(tmp_path)!r}); from {module} import {function}; {function}()"
    server = start("-c", code, "--server.headless=true", f"--server.port={port}")

    def healthy():
        assert server.poll() is None, server.communicate()
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5) as answer:
                return answer.read() == b"ok"
        except OSError:
            return False

    wait_for(healthy)
