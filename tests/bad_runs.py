"""A folder of runs as no training leaves them: unreadable, half-written, from the future, links, of odd names and contents."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ROOT / "tests" / "pipelines" / "runs" / "noisescope-0.1.0"
GOOD = "whole"  # the run that every page must go on offering
ODD_NAMES = (
    "lr=$1e-3$ vs $2e-3$",
    "*best* _x_ `c` ~~s~~",
    ":red[x] :smile: :streamlit:",
    "<b>x<b> <img src=x>",
    "[a](https:www.evil.example) ![i](x.png)",
    "# title",
    "1. list",
    "- item",
    "=1+1",
    "@SUM(A1)",
    "a?b#c&d=%2F+e%",
    "two\nlines",
    "\u202eright to left\u200f",
    " spaces at both ends ",
    "Whole",
    "\N{MICROSCOPE}\N{ZERO WIDTH JOINER}\N{DNA DOUBLE HELIX}",
    "é" * 127 + "x",
    "x" * 255,
    '\'"quotes"; --',
    "nul%00 ${HOME} {{x}} {0}",
    "-rf",
    "..safetensors",
    "weights.safetensors",
    "None",
    "run",
    "newest",
)


def _config(run: Path) -> dict:
    return json.loads((run / "config.json").read_text())


def _set_config(run: Path, **changes) -> None:
    (run / "config.json").write_text(json.dumps(_config(run) | changes))


def _torn(name: str, keep: float = 0.5) -> Callable[[Path], None]:
    def tear(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(len(content) * keep)])

    return tear


def _replaced(name: str, content: bytes | str) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def _appended(content: bytes | str, name: str = "metrics.jsonl") -> Callable[[Path], None]:
    def append(run: Path) -> None:
        with (run / name).open("ab") as file:
            file.write(content if isinstance(content, bytes) else content.encode())

    return append


def _without(*names: str) -> Callable[[Path], None]:
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


def _folder_instead(name: str) -> Callable[[Path], None]:
    def make(run: Path) -> None:
        _clear(run / name)
        (run / name / "inside").mkdir(parents=True)

    return make


def _unreachable(name: str) -> Callable[[Path], None]:
    """Put a link in place of a file whose opening fails, as in a closed folder, even for the superuser."""

    def link(run: Path) -> None:
        _clear(run / name)
        (run / name).symlink_to("x" * 300)

    return link


def _pipe(name: str) -> Callable[[Path], None]:
    def make(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return make


def _all(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        for change in changes:
            change(run)

    return apply


def _row(**values) -> str:
    return (
        json.dumps({"step": 450, "images_seen": 7200, "seconds": 12.0, "loss": 0.4, "lr": 1e-3, "grad_norm": 1.0} | values)
        + "\n"
    )


def _evaluation(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        from pipelines.storage.runs import Run

        stored = json.loads((ROOT / "checkpoints/flowers-attention/evaluation.json").read_text())
        stored["fingerprint"] = Run(WHOLE).fingerprint
        changed = change(stored)
        (run / "evaluation.json").write_text(json.dumps(stored if changed is None else changed))

    return write


def _first_of(kind: str, part: str, **values) -> Callable[[dict], None]:
    def change(stored: dict) -> None:
        next(result for result in stored["results"] if result["kind"] == kind)[part].update(values)

    return change


GRID = "samples/step-00000400.png"
REPORTS = ("job.json", "process.json", "outcome.json", "progress.json", "skipped.txt")
ODD_CLASSES = ["*a*", ":smile: $x$", "<b>", "", "\u202eb", "c\nd", "all", "every class in turn"]


def _section(name: str, **values) -> Callable[[Path], None]:
    return lambda run: _set_config(run, **{name: _config(run)[name] | values})


def _top(**values) -> Callable[[Path], None]:
    return lambda run: _set_config(run, **values)


def _in_utf_16(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes((run / name).read_text().encode("utf-16"))


def _more(result: dict) -> Callable[[Path], None]:
    return _evaluation(lambda stored: stored["results"].append(result))


# What is wrong with a copy of the whole run, by the copy's name. Those in UNREADABLE have no configuration that can be read,
# those in WITHOUT_MODEL one, and weights that cannot be used; all others must go on being offered.
UNREADABLE: dict[str, Callable[[Path], None]] = {
    "config torn": _torn("config.json"),
    "config empty": _replaced("config.json", ""),
    "config in UTF-16": _in_utf_16("config.json"),
    "config binary": _replaced("config.json", bytes(range(256))),
    "config of brackets": _replaced("config.json", "[" * 100_000),
    "config a list": _replaced("config.json", "[]"),
    "config unreachable": _unreachable("config.json"),
    "config with an unknown key": _top(sparkles=1),
    "config of a newer format": _top(format=99),
    "config with an unknown network": _section("network", unet="<b>mamba</b>"),
    "config of wrong types": _top(data=7, seed="x"),
    "config of a huge shape": _top(image_shape=[3, 10**9, 10**9]),
    "config with half a surrogate": _replaced("config.json", '{"data": "\\ud800"}'),
    "only a log": _without("config.json", "model.safetensors", "samples"),
    "weights alone torn": _all(_without("config.json"), _torn("model.safetensors")),
}
WITHOUT_MODEL: dict[str, Callable[[Path], None]] = {
    "weights torn": _torn("model.safetensors"),
    "weights empty": _replaced("model.safetensors", ""),
    "weights a folder": _folder_instead("model.safetensors"),
    "weights a pipe": _pipe("model.safetensors"),
    "weights unreachable": _unreachable("model.safetensors"),
    "weights with a huge header": _replaced("model.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
    "weights with a hole": lambda run: os.truncate(run / "model.safetensors", 2**41),
}
YOUNG: dict[str, Callable[[Path], None]] = {  # no weights yet
    "only a config": _without("model.safetensors", "metrics.jsonl", "samples"),
    "no weights": _without("model.safetensors"),
}
USABLE: dict[str, Callable[[Path], None]] = {
    "config a pipe": _pipe("config.json"),
    "config without a shape": _top(image_shape=None),
    "config of another shape": _top(image_shape=[3, 16, 16]),
    "config with odd classes": _section("condition", classes=ODD_CLASSES),
    "config with odd data": _section("data", data="/x/*odd*/:smile:$y$\n"),
    "config with odd versions": _top(versions={"*x*": ":smile:", "a" * 5000: "$1$"}),
    "only weights": _without("config.json", "metrics.jsonl", "samples"),
    "temporary files": _replaced("model.safetensors.tmp-99999999-0123abcd", "x"),
    "log torn": _torn("metrics.jsonl", 0.9),
    "log empty": _replaced("metrics.jsonl", ""),
    "log of brackets": _appended("[" * 100_000 + "\n"),
    "log of brackets, torn": _appended('{"step":' * 50_000),
    "log of one long line": _appended(b"x" * 3_000_000),
    "log in UTF-16": _in_utf_16("metrics.jsonl"),
    "log binary": _replaced("metrics.jsonl", bytes(range(256)) * 100),
    "log of NaN": _replaced("metrics.jsonl", _row(loss=float("nan"), val_loss=float("inf"), lr=-float("inf"))),
    "log with infinite counts": _appended('{"step": 450, "images_seen": 1e999, "seconds": NaN, "loss": 1e999}\n'),
    "log with odd steps": _appended(_row(step=-5) + _row(step=2**63) + _row(step=1.5) + _row(step=3) + _row(step=2, seconds=0)),
    "log of huge values": _appended(_row(loss=1e308, val_loss=2**64 - 1, loss_by_timestep=[1e308] * 20)),
    "log of words": _appended('{"step": "450"}\n{"step": 450, "loss": [1], "loss_by_timestep": {"a": 1}}\n{"step": true}\n'),
    "log with equal keys": _appended('{"step": 450, "step": 1, "loss": 1, "loss": 2}\n'),
    "log with odd bins": _appended(_row(loss_by_timestep=[]) + _row(loss_by_timestep=[1.0]) + _row(loss_by_timestep=[-1] * 20)),
    "log of nothing but zeros": _replaced("metrics.jsonl", _row(loss=0, val_loss=0, lr=0, loss_by_timestep=[0.0] * 20)),
    "log with odd names": _appended(json.dumps({"step": 450, "*x*": 1, ":smile:": 2, "": 3} | dict.fromkeys("abc", 4)) + "\n"),
    "log with many names": _appended(json.dumps({"step": 450} | {f"a{i}": i for i in range(200)}) + "\n"),
    "log a folder": _folder_instead("metrics.jsonl"),
    "log unreachable": _unreachable("metrics.jsonl"),
    "log a pipe": _pipe("metrics.jsonl"),
    "log with null bytes": _appended(b"\0" * 10_000),
    "samples torn": _torn(GRID),
    "samples empty": _replaced(GRID, ""),
    "samples of another size": _replaced(GRID, (ROOT / "docs/denoising.png").read_bytes()),
    "samples a file": _all(_without("samples"), lambda run: (run / "samples").write_text("x")),
    "samples folders": _folder_instead(GRID),
    "samples unreachable": _unreachable("samples"),
    "samples with an unreachable grid": _unreachable(GRID),
    "samples a pipe": _pipe(GRID),
    "samples of odd names": _all(*(_replaced(f"samples/step-{name}.png", "x") for name in ("²", "x", "-1", "9" * 100, "٣"))),
    "evaluation torn": _all(_evaluation(lambda stored: None), _torn("evaluation.json")),
    "evaluation a number": _replaced("evaluation.json", "7"),
    "evaluation a folder": _folder_instead("evaluation.json"),
    "evaluation unreachable": _unreachable("evaluation.json"),
    "evaluation of one number": _evaluation(lambda stored: stored | {"results": 7}),
    "evaluation of another kind": _more({"kind": "*new*", "asked": {}, "found": {}}),
    "evaluation with another part": _more({"kind": "loss", "asked": {}, "found": {}, "more": 1}),
    "evaluation with a list": _more({"kind": [], "asked": [], "found": []}),
    "evaluation with an odd verdict": _more({"kind": "verdict", "asked": {"x": []}, "found": {"figures": {"*": {"p": None}}}}),
    "evaluation of words": _evaluation(_first_of("samples", "found", seconds="fast")),
    "evaluation without losses": _evaluation(_first_of("loss", "found", timesteps=[], mean=[], low=[], high=[], errors=[1.0])),
    "evaluation without figures": _evaluation(_first_of("samples", "found", figures={})),
    "evaluation with odd features": _evaluation(_first_of("samples", "asked", features="*a* :smile: $x$ <b>, y")),
    "evaluation of huge numbers": _evaluation(_first_of("samples", "found", seconds=1e100, network_calls=10**9, memory=-1e100)),
    "evaluation of a short bound": _evaluation(_first_of("bound", "found", denoising=[])),
    "evaluation with a torn picture": _all(_evaluation(lambda stored: None), _replaced("evaluation-neighbours.png", "x")),
    "evaluation with no picture": _all(_evaluation(lambda stored: None), _unreachable("evaluation-neighbours.png")),
    "state a file": lambda run: (run / "state").write_text("x"),
    "state unreachable": _unreachable("state"),
    "state torn": _all(*(_replaced(f"state/{name}", "{") for name in (*REPORTS, "state.safetensors"))),
    "state of folders": _all(*(_folder_instead(f"state/{name}") for name in REPORTS)),
    "state of unreachable files": _all(_replaced("state/x", ""), *(_unreachable(f"state/{name}") for name in REPORTS)),
    "state of odd numbers": _all(
        _replaced("state/job.json", '{"queued": null, "time_limit": -1}'),
        _replaced("state/process.json", '{"pid": 99999999999, "started": 1}'),
        _replaced("state/progress.json", '{"what": "*x*", "share": 7}'),
    ),
    "state with an odd end": _replaced(
        "state/outcome.json", json.dumps({"status": "failed", "error": "*x* \u202e" + "z" * 5000})
    ),
    "state with much skipped": _replaced("state/skipped.txt", b"*x* \xff\xfe\n" * 3000),
    "data torn": _replaced("data.json", '{"found": '),
    "data of another kind": _replaced("data.json", '{"found": "*x*", "unused": 7}'),
    "data unreachable": _unreachable("data.json"),
    "averages of odd names": _all(_replaced("ema/*x*.safetensors", "x"), _replaced("ema/²5.safetensors", "x")),
}
LINKS = {
    "dangling": "nowhere",
    "loop": "loop",
    "out of reach": "x" * 300,
    "link to a damaged run": "config torn",
}  # and targets


def write_bad_runs(folder: Path) -> tuple[set[str], set[str], set[str]]:
    """Write damaged, linked and oddly named copies of the whole run into an empty folder.

    Returns:
        The names of those whose model can be used, of those that can be read but have no model, and of the others.
    """
    damages = USABLE | WITHOUT_MODEL | YOUNG | UNREADABLE
    for name in (GOOD, *damages, *ODD_NAMES):
        run = shutil.copytree(WHOLE, folder / name)
        damages.get(name, _evaluation(lambda stored: None))(run)
    shutil.copytree(WHOLE, folder / os.fsdecode(b"bytes \xff"))
    shutil.copytree(WHOLE, folder / os.fsdecode(b"bytes \xfe"))
    linked = [f"exp{number}" for number in range(1, 5)]
    for name in linked:
        elsewhere = shutil.copytree(WHOLE, folder.with_name("experiments") / name / "checkpoint")
        (folder / name).symlink_to(elsewhere)
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    (folder / "link to all").symlink_to(folder)  # like all below: no run
    (folder / ".hidden").symlink_to("x" * 300)
    (folder / "a file").write_text("x")
    (folder / "an empty folder").mkdir()
    os.mkfifo(folder / "a pipe")
    shown = {"two\nlines": "two\ufffdlines", "\u202eright to left\u200f": "\ufffdright to left\ufffd"}
    odd = {shown.get(name, name) for name in ODD_NAMES} | {"bytes \ufffd", f"{folder.name}/bytes \ufffd"}
    return {GOOD, *USABLE, *odd, *linked}, {*WITHOUT_MODEL, *YOUNG}, {*UNREADABLE, *LINKS}
