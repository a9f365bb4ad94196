"""Uploading a published run to the Hugging Face hub, all of it in one commit or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..common.extras import require_extra
from ..common.machine import in_words
from ..common.reading import MEGABYTE, read_text
from ..common.reports import report_progress
from .hub import AVERAGE, FILES, GRID, PATIENCE, UnreachableError, is_of_run, one_sentence
from .hub_card import LIBRARY, Metric, with_front_matter
from .hub_id import MAIN, HubId
from .layout import AVERAGES, CARD, MODEL, SAMPLES
from .publishing import for_readers_of
from .run import Run

UNKNOWN = "unknown"  # the hub's name of a licence that nobody has told


def target(text: str) -> HubId:
    """Return the id of the repository to upload to.

    Raises:
        ValueError: it is not of the form USER/NAME, or the hub allows no such name.
    """
    require_extra("hub")
    from huggingface_hub.utils import validate_repo_id

    hub = HubId.parse(text)
    if hub is None or hub.folder or hub.revision != MAIN:
        raise ValueError(f"{text!r} is no name of a repository on the hub: give USER/NAME, such as somebody/flowers")
    validate_repo_id(hub.repository)
    return hub


def refuse_without_token() -> None:
    """Raise ValueError if this machine has no token of the hub."""
    require_extra("hub")
    from huggingface_hub import constants, get_token

    if not get_token():
        raise ValueError(
            f"this machine has no token of the hub: make one that may write at {constants.ENDPOINT}/settings/tokens, and log "
            "in with `hf auth login`, or set HF_TOKEN"
        )


def upload(
    run: Run, hub: HubId, *, private: bool = False, license: str = UNKNOWN, measured: Sequence[Metric] = ()
) -> tuple[str, int]:
    """Upload a published run, and make the repository if there is none; return its address and the bytes of the run.

    An upload that was broken off goes on when it is repeated: what the hub has received is not sent again.

    Args:
        private: let nobody else see a new repository; one that exists already must be private.
        license: under which others may use the model, by its name on the hub.
        measured: figures for the card.

    Raises:
        ValueError: it cannot be uploaded; one sentence on why.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    refuse_without_token()
    card = for_readers_of(hub, run, read_text(run.path / CARD, MEGABYTE))
    files = {file.relative_to(run.path).as_posix(): file for file in _files(run)}
    content = with_front_matter(run, hub, card, license, measured).encode()
    size = len(content) + sum(file.stat().st_size for file in files.values())
    api = HfApi()
    report_progress(f"uploading {in_words(size)} to {hub}")
    try:
        with one_sentence(hub, "upload"):
            address = str(api.create_repo(hub.repository, private=private, exist_ok=True))
            info = api.model_info(hub.repository, timeout=PATIENCE)
        there = [part.rfilename for part in info.siblings or ()]
        if private and not info.private:
            raise ValueError(f"{hub} exists and everybody can see it: give another name, or make it private on {address} first")
        library = info.card_data.get("library_name") if info.card_data else None
        if MODEL in there and library != LIBRARY:
            raise ValueError(f"{hub} holds a model that is not of Noisescope, and would be overwritten: give another name")
        stale = [name for name in there if is_of_run(name) and name not in files]
        changes = [CommitOperationAdd(name, file) for name, file in files.items()]
        with one_sentence(hub, "upload"):
            api.create_commit(
                hub.repository,
                [*(CommitOperationDelete(name) for name in stale), *changes, CommitOperationAdd(CARD, content)],
                commit_message=f"Upload {run.name} with Noisescope",
            )
    except UnreachableError as error:
        raise UnreachableError(
            f"{error}; nothing of the run is visible there, and the same command goes on from here"
        ) from error
    return address, size


def _files(run: Run) -> Iterator[Path]:
    """Yield the files of a run that others need, the weights last."""
    for name in FILES:
        if (run.path / name).is_file():
            yield run.path / name
    yield from sorted(file for file in (run.path / SAMPLES).glob("*.png") if GRID.fullmatch(f"{SAMPLES}/{file.name}"))
    yield from sorted(file for file in (run.path / AVERAGES).glob("*.*") if AVERAGE.fullmatch(f"{AVERAGES}/{file.name}"))
    yield run.path / MODEL
