"""Pages: over damaged runs, with bad addresses, with uploads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from pipelines.storage.files import ROOT

from .kind import OTHER, RUN, Attempts, Kind, expect_vanishing, prepare_runs, vanish_later
from .mutations import ODD_TEXT, PICTURE, mutate_json
from .of_runs import mutate_record, mutate_special
from .pictures import join_chunks, mutate_chunks, mutate_picture, split_chunks, valid_pictures
from .seeds import Seeds, copy_run

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest
    from streamlit.testing.v1.element_tree import Block

PAGES = ("home", "compare", "forward", "reverse", "generate", "edit", "training_curves", "evaluate", "train")

SCRIPT = """
from pathlib import Path

from pages.components.address import forget_infinite_numbers

forget_infinite_numbers()  # as main_interface.py does before every page
exec(compile(Path({file!r}).read_text(), {file!r}, "exec"))
"""


def open_page(page: str, address: dict[str, object]) -> AppTest:
    """Run a page with these values in its address; it must not raise."""
    from streamlit.testing.v1 import AppTest

    from pipelines.storage.processes import write_record
    from pipelines.storage.runs import PRIVATE
    from pipelines.training.jobs import WORKER

    (PRIVATE / WORKER).parent.mkdir(exist_ok=True)
    write_record(PRIVATE / WORKER)  # so that the page of trainings starts no worker
    if page == "home":  # it has links to the other pages
        app = AppTest.from_file(str(ROOT / "main_interface.py"), default_timeout=80)
    else:
        app = AppTest.from_string(SCRIPT.format(file=str(ROOT / f"pages/{page}.py")), default_timeout=80)
    for name, value in address.items():
        app.query_params[name] = value
    return refuse_exceptions(app.run(), page)


def refuse_exceptions(app: AppTest, page: str) -> AppTest:
    """Raise AssertionError if a page shows an exception, or a picture that foreign text asks for."""
    if app.exception:
        shown = app.exception[0]
        ours = [line.strip() for line in shown.stack_trace if str(ROOT) in line]
        place = re.sub(r'.*/(\w+\.py)", line (\d+), in (\S+).*', r"\1:\2 in \3", ours[-1].splitlines()[0]) if ours else ""
        raise AssertionError(f"page {page}: {place}: {shown.message[:300]}\n" + "\n".join(shown.stack_trace)[-3000:])
    for text in _rendered(app.main):
        assert PICTURE not in re.sub(r"(`+).*?\1", "", text, flags=re.DOTALL), f"page {page} renders foreign text: {text[:300]}"
    return app


def _rendered(block: Block) -> Iterator[str]:
    """Yield the texts that a page renders as Markdown."""
    for part in block.children.values():
        if part.type == "code":
            continue
        if part.type == "table":
            yield from (str(cell) for cell in [*part.value.index, *part.value.columns, *part.value.to_numpy().ravel()])
        for name in ("body", "label", "help"):
            yield str(getattr(part.proto, name, ""))
        yield str(getattr(getattr(part.proto, "expandable", None), "label", ""))
        if hasattr(part, "children"):
            yield from _rendered(part)


def _prepare_pages(seeds: Seeds, folder: Path) -> None:
    prepare_runs(seeds, folder)
    (folder / "page.json").write_text(json.dumps({"page": "home", "address": {}}))


def _mutate_pages(random: Random, folder: Path) -> None:
    damage = random.random()
    if damage < 0.2:
        mutate_special(random, folder)
    elif damage < 0.3:
        vanish_later(random, folder)
    else:
        mutate_record(random, folder / RUN)
    page = random.choice(("home", "compare", "reverse", "training_curves", "training_curves", "evaluate", "evaluate", "train"))
    address = {"runs": [RUN, OTHER], "model": RUN, "model1": RUN, "run": RUN, "models": [RUN]}
    (folder / "page.json").write_text(json.dumps({"page": page, "address": address}))


def widget_keys() -> list[str]:
    """Return the names that a page's address may hold: the keys of the widgets in the source of the pages."""
    sources = [file.read_text() for file in sorted((ROOT / "pages").rglob("*.py"))]
    keys = sorted({key for source in sources for key in re.findall(r'key=f?"(\w+)', source)})
    return [f"{key}{suffix}" for key in keys for suffix in ("", "1", "2", "_a")]


def _mutate_address(random: Random, folder: Path) -> None:
    sendable = [text for text in ODD_TEXT if text.isascii() and len(text) < 10_000]
    keys, text = (
        widget_keys(),
        (*sendable, RUN, OTHER, "An upload", "A dataset", "A sample", "/usr", "/proc", "owner/name"),
    )
    numbers = ("-1", "0", "1", "2.5", "1e999", "nan", "inf", "9" * 400, str(2**63), "1e20", "true", "ddpm", "None")
    address: dict[str, object] = {"source": random.choice(("A dataset", "An upload", "A sample"))}
    for key in random.sample(keys, random.choice((1, 3, 10, 60))):
        value = random.choice((*text, *numbers))
        address[key] = value if random.random() < 0.7 else [value, random.choice((*text, *numbers))]
    if random.random() < 0.5:
        address["dataset"] = random.choice((str(folder), "owner/name", "../..", ""))
        address["data"] = random.choice(("owner/name", "/usr"))
    (folder / "page.json").write_text(json.dumps({"page": random.choice(PAGES), "address": address}))


def _visit(folder: Path) -> Attempts:
    asked = json.loads((folder / "page.json").read_text())
    expect_vanishing(folder)
    yield partial(open_page, asked["page"], asked["address"])


def _prepare_upload(seeds: Seeds, folder: Path) -> None:
    from pipelines.common.images import png_bytes
    from pipelines.storage.run import Run

    copy_run(seeds, folder / RUN)
    made = {"run": RUN, "fingerprint": Run(folder / RUN).fingerprint, "image": 0}
    made["request"] = {
        "num_images": 2,
        "seed": 1,
        "sampler": "ddim",
        "steps": 3,
        "eta": 0.5,
        "label": "circles",
        "guidance": 2.0,
    }
    (folder / "upload.png").write_bytes(png_bytes(np.zeros((8, 8, 3), np.uint8), made))
    (folder / "mask.png").write_bytes(valid_pictures()["PNG L"])
    (folder / "page.json").write_text(json.dumps({"page": "compare"}))


def _mutate_upload(random: Random, folder: Path) -> None:
    page = random.choice(("compare", "compare", "compare", "forward", "edit"))
    (folder / "page.json").write_text(json.dumps({"page": page}))
    file = folder / "upload.png"
    if page != "compare":
        file.write_bytes(random.choice((valid_pictures()["PNG RGBA"], mutate_picture(random))))
        (folder / "mask.png").write_bytes(mutate_picture(random))
        return
    if random.random() < 0.2:
        file.write_bytes(mutate_chunks(random, file.read_bytes()))
        return
    chunks = split_chunks(file.read_bytes())
    place = next(number for number, (kind, _) in enumerate(chunks) if kind == b"iTXt")
    key, text = chunks[place][1].split(b"\x00\x00\x00\x00\x00", 1)
    chunks[place] = (b"iTXt", key + b"\x00\x00\x00\x00\x00" + mutate_json(random, text))
    file.write_bytes(join_chunks(chunks))


def _upload(folder: Path) -> Attempts:
    page = json.loads((folder / "page.json").read_text())["page"]
    data = (folder / "upload.png").read_bytes()

    def upload() -> None:
        app = open_page(page, {"source": "An upload"})
        if page == "compare":
            refuse_exceptions(app.file_uploader(key="request_png").upload("a.png", data).run(), page)
            return
        refuse_exceptions(app.file_uploader(key="upload").upload("a.png", data).run(), page)
        if page == "edit" and any(part.key == "mask_file" for part in app.file_uploader):
            refuse_exceptions(
                app.file_uploader(key="mask_file").upload("m.png", (folder / "mask.png").read_bytes()).run(), page
            )

    yield upload


KINDS = {
    "upload": Kind("a picture or a request, uploaded", _prepare_upload, _mutate_upload, _upload),
    "pages": Kind("a page over a damaged run", _prepare_pages, _mutate_pages, _visit),
    "address": Kind("a page with a bad address", _prepare_pages, _mutate_address, _visit),
}
