"""Ways to damage the folder of a run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ROOT / "tests" / "pipelines" / "runs" / "noisescope-0.1.0"


def _config(run: Path) -> dict:
    return json.loads((run / "config.json").read_text())


def _set_config(run: Path, **changes) -> None:
    (run / "config.json").write_text(json.dumps(_config(run) | changes))


def torn(name: str, keep: float = 0.5) -> Callable[[Path], None]:
    def tear(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(len(content) * keep)])

    return tear


def replaced(name: str, content: bytes | str) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def appended(content: bytes | str, name: str = "metrics.jsonl") -> Callable[[Path], None]:
    def append(run: Path) -> None:
        with (run / name).open("ab") as file:
            file.write(content if isinstance(content, bytes) else content.encode())

    return append


def without(*names: str) -> Callable[[Path], None]:
    def remove(run: Path) -> None:
        for name in names:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def _clear(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def folder_instead(name: str) -> Callable[[Path], None]:
    def make(run: Path) -> None:
        _clear(run / name)
        (run / name / "inside").mkdir(parents=True)

    return make


def unreachable(name: str) -> Callable[[Path], None]:
    """Put a link in place of a file whose opening fails, as in a closed folder, even for the superuser."""

    def link(run: Path) -> None:
        _clear(run / name)
        (run / name).symlink_to("x" * 300)

    return link


def pipe(name: str) -> Callable[[Path], None]:
    def make(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return make


def all_of(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        for change in changes:
            change(run)

    return apply


def row(**values) -> str:
    return (
        json.dumps({"step": 450, "images_seen": 7200, "seconds": 12.0, "loss": 0.4, "lr": 1e-3, "grad_norm": 1.0} | values)
        + "\n"
    )


def evaluated(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        from pipelines.storage.run import Run

        stored = json.loads((ROOT / "checkpoints/flowers-text/evaluation.json").read_text())
        stored["fingerprint"] = Run(WHOLE).fingerprint
        changed = change(stored)
        (run / "evaluation.json").write_text(json.dumps(stored if changed is None else changed))

    return write


def first_of(kind: str, part: str, **values) -> Callable[[dict], None]:
    def change(stored: dict) -> None:
        next(result for result in stored["results"] if result["kind"] == kind)[part].update(values)

    return change


def with_section(name: str, **values) -> Callable[[Path], None]:
    return lambda run: _set_config(run, **{name: _config(run)[name] | values})


def with_settings(**values) -> Callable[[Path], None]:
    return lambda run: _set_config(run, **values)


def in_utf_16(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes((run / name).read_text().encode("utf-16"))


def more(result: dict) -> Callable[[Path], None]:
    return evaluated(lambda stored: stored["results"].append(result))
