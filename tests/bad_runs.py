"""A folder of runs as no training leaves them: unreadable, half-written, from the future, links, of odd names and contents."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from damages import (
    ROOT,
    WHOLE,
    all_of,
    appended,
    evaluated,
    first_of,
    folder_instead,
    in_utf_16,
    more,
    pipe,
    replaced,
    row,
    torn,
    unreachable,
    with_section,
    with_settings,
    without,
)

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


GRID = "samples/step-00000400.png"
REPORTS = ("job.json", "process.json", "outcome.json", "progress.json", "skipped.txt")
ODD_CLASSES = ["*a*", ":smile: $x$", "<b>", "", "\u202eb", "c\nd", "all", "every class in turn"]


# What is wrong with a copy of the whole run, by the copy's name. Those in UNREADABLE have no configuration that can be read,
# those in WITHOUT_MODEL one, and weights that cannot be used; all others must go on being offered.
UNREADABLE: dict[str, Callable[[Path], None]] = {
    "config torn": torn("config.json"),
    "config empty": replaced("config.json", ""),
    "config in UTF-16": in_utf_16("config.json"),
    "config binary": replaced("config.json", bytes(range(256))),
    "config of brackets": replaced("config.json", "[" * 100_000),
    "config a list": replaced("config.json", "[]"),
    "config unreachable": unreachable("config.json"),
    "config with an unknown key": with_settings(sparkles=1),
    "config of a newer format": with_settings(format=99),
    "config with an unknown network": with_section("network", unet="<b>mamba</b>"),
    "config of wrong types": with_settings(data=7, seed="x"),
    "config of a huge shape": with_settings(image_shape=[3, 10**9, 10**9]),
    "config with half a surrogate": replaced("config.json", '{"data": "\\ud800"}'),
    "only a log": without("config.json", "model.safetensors", "samples"),
    "weights alone torn": all_of(without("config.json"), torn("model.safetensors")),
}
WITHOUT_MODEL: dict[str, Callable[[Path], None]] = {
    "weights torn": torn("model.safetensors"),
    "weights empty": replaced("model.safetensors", ""),
    "weights a folder": folder_instead("model.safetensors"),
    "weights a pipe": pipe("model.safetensors"),
    "weights unreachable": unreachable("model.safetensors"),
    "weights with a huge header": replaced("model.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
    "weights with a hole": lambda run: os.truncate(run / "model.safetensors", 2**41),
}
YOUNG: dict[str, Callable[[Path], None]] = {  # no weights yet
    "only a config": without("model.safetensors", "metrics.jsonl", "samples"),
    "no weights": without("model.safetensors"),
}
USABLE: dict[str, Callable[[Path], None]] = {
    "config a pipe": pipe("config.json"),
    "config without a shape": with_settings(image_shape=None),
    "config of another shape": with_settings(image_shape=[3, 16, 16]),
    "config with odd classes": with_section("condition", classes=ODD_CLASSES),
    "config with odd data": with_section("data", data="/x/*odd*/:smile:$y$\n"),
    "config with odd versions": with_settings(versions={"*x*": ":smile:", "a" * 5000: "$1$"}),
    "only weights": without("config.json", "metrics.jsonl", "samples"),
    "temporary files": replaced("model.safetensors.tmp-99999999-0123abcd", "x"),
    "log torn": torn("metrics.jsonl", 0.9),
    "log empty": replaced("metrics.jsonl", ""),
    "log of brackets": appended("[" * 100_000 + "\n"),
    "log of brackets, torn": appended('{"step":' * 50_000),
    "log of one long line": appended(b"x" * 3_000_000),
    "log in UTF-16": in_utf_16("metrics.jsonl"),
    "log binary": replaced("metrics.jsonl", bytes(range(256)) * 100),
    "log of NaN": replaced("metrics.jsonl", row(loss=float("nan"), val_loss=float("inf"), lr=-float("inf"))),
    "log with infinite counts": appended('{"step": 450, "images_seen": 1e999, "seconds": NaN, "loss": 1e999}\n'),
    "log with odd steps": appended(row(step=-5) + row(step=2**63) + row(step=1.5) + row(step=3) + row(step=2, seconds=0)),
    "log of huge values": appended(row(loss=1e308, val_loss=2**64 - 1, loss_by_timestep=[1e308] * 20)),
    "log of words": appended('{"step": "450"}\n{"step": 450, "loss": [1], "loss_by_timestep": {"a": 1}}\n{"step": true}\n'),
    "log with equal keys": appended('{"step": 450, "step": 1, "loss": 1, "loss": 2}\n'),
    "log with odd bins": appended(row(loss_by_timestep=[]) + row(loss_by_timestep=[1.0]) + row(loss_by_timestep=[-1] * 20)),
    "log of nothing but zeros": replaced("metrics.jsonl", row(loss=0, val_loss=0, lr=0, loss_by_timestep=[0.0] * 20)),
    "log with odd names": appended(json.dumps({"step": 450, "*x*": 1, ":smile:": 2, "": 3} | dict.fromkeys("abc", 4)) + "\n"),
    "log with many names": appended(json.dumps({"step": 450} | {f"a{i}": i for i in range(200)}) + "\n"),
    "log a folder": folder_instead("metrics.jsonl"),
    "log unreachable": unreachable("metrics.jsonl"),
    "log a pipe": pipe("metrics.jsonl"),
    "log with null bytes": appended(b"\0" * 10_000),
    "samples torn": torn(GRID),
    "samples empty": replaced(GRID, ""),
    "samples of another size": replaced(GRID, (ROOT / "docs/denoising.png").read_bytes()),
    "samples a file": all_of(without("samples"), lambda run: (run / "samples").write_text("x")),
    "samples folders": folder_instead(GRID),
    "samples unreachable": unreachable("samples"),
    "samples with an unreachable grid": unreachable(GRID),
    "samples a pipe": pipe(GRID),
    "samples of odd names": all_of(*(replaced(f"samples/step-{name}.png", "x") for name in ("²", "x", "-1", "9" * 100, "٣"))),
    "evaluation torn": all_of(evaluated(lambda stored: None), torn("evaluation.json")),
    "evaluation a number": replaced("evaluation.json", "7"),
    "evaluation a folder": folder_instead("evaluation.json"),
    "evaluation unreachable": unreachable("evaluation.json"),
    "evaluation of one number": evaluated(lambda stored: stored | {"results": 7}),
    "evaluation of another kind": more({"kind": "*new*", "asked": {}, "found": {}}),
    "evaluation with another part": more({"kind": "loss", "asked": {}, "found": {}, "more": 1}),
    "evaluation with a list": more({"kind": [], "asked": [], "found": []}),
    "evaluation with an odd verdict": more({"kind": "verdict", "asked": {"x": []}, "found": {"figures": {"*": {"p": None}}}}),
    "evaluation of words": evaluated(first_of("samples", "found", seconds="fast")),
    "evaluation without losses": evaluated(first_of("loss", "found", timesteps=[], mean=[], low=[], high=[], errors=[1.0])),
    "evaluation without figures": evaluated(first_of("samples", "found", figures={})),
    "evaluation with odd features": evaluated(first_of("samples", "asked", features="*a* :smile: $x$ <b>, y")),
    "evaluation of huge numbers": evaluated(first_of("samples", "found", seconds=1e100, network_calls=10**9, memory=-1e100)),
    "evaluation of a short bound": evaluated(first_of("bound", "found", denoising=[])),
    "evaluation with a torn picture": all_of(evaluated(lambda stored: None), replaced("evaluation-neighbours.png", "x")),
    "evaluation with no picture": all_of(evaluated(lambda stored: None), unreachable("evaluation-neighbours.png")),
    "state a file": lambda run: (run / "state").write_text("x"),
    "state unreachable": unreachable("state"),
    "state torn": all_of(*(replaced(f"state/{name}", "{") for name in (*REPORTS, "state.safetensors"))),
    "state of folders": all_of(*(folder_instead(f"state/{name}") for name in REPORTS)),
    "state of unreachable files": all_of(replaced("state/x", ""), *(unreachable(f"state/{name}") for name in REPORTS)),
    "state of odd numbers": all_of(
        replaced("state/job.json", '{"queued": null, "time_limit": -1}'),
        replaced("state/process.json", '{"pid": 99999999999, "started": 1}'),
        replaced("state/progress.json", '{"what": "*x*", "share": 7}'),
    ),
    "state with an odd end": replaced(
        "state/outcome.json", json.dumps({"status": "failed", "error": "*x* \u202e" + "z" * 5000})
    ),
    "state with much skipped": replaced("state/skipped.txt", b"*x* \xff\xfe\n" * 3000),
    "data torn": replaced("data.json", '{"found": '),
    "data of another kind": replaced("data.json", '{"found": "*x*", "unused": 7}'),
    "data unreachable": unreachable("data.json"),
    "averages of odd names": all_of(replaced("ema/*x*.safetensors", "x"), replaced("ema/²5.safetensors", "x")),
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
        damages.get(name, evaluated(lambda stored: None))(run)
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
