"""Runs on the Hugging Face hub: what is there, how large it is, and its download into the hub's own cache.

Everything goes through the hub's client, and whatever goes wrong is one sentence. Of a repository only the files of a run are
read: weights in safetensors and what is beside them, never a pickle nor the model card. Importing this module does not load the
client.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.extras import require_extra
from ..common.json_files import MOST
from ..common.machine import in_words
from ..common.reading import read_regular
from ..common.reports import ProgressBar
from ..common.text import counted, one_line, some
from .config import RunConfig, config_from_json
from .disk import refuse_full
from .files import is_file
from .hub_id import HubId
from .layout import AVERAGES, CONFIG, CURVES, METRICS, MODEL, SAMPLES

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import ModelInfo

# Of a run; the weights come last, so that a download that was broken off is no run.
FILES = (CONFIG, METRICS, "evaluation.json", "evaluation-neighbours.png", "spacing.json", CURVES)
GRID = re.compile(rf"{SAMPLES}/step-\d{{1,12}}(-raw)?\.png", re.ASCII)
AVERAGE = re.compile(rf"{AVERAGES}/\d{{1,12}}(\.safetensors|-evaluation\.json|-evaluation-neighbours\.png)", re.ASCII)
MOST_GRIDS = 32
MOST_AVERAGES = 32
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".msgpack", ".h5")  # and what else is no safetensors file
PATIENCE = 10.0  # seconds to wait for an answer


class UnreachableError(ValueError):
    """Raised when the hub cannot be asked; what was downloaded before can be used."""


@dataclass(frozen=True)
class Offer:
    """A run as the hub has it now.

    Attributes:
        hub: its id, with its commit.
        revision: the revision that was asked for.
        config: its configuration.
        sizes: bytes of its files by name, as the hub tells them.
        license: under which it may be used, as its card says; empty if it does not.
        note: a sentence if this is what was downloaded before, because the hub cannot be asked; else empty.
    """

    hub: HubId
    revision: str
    config: RunConfig
    sizes: Mapping[str, int]
    license: str = ""
    note: str = ""

    @property
    def missing(self) -> dict[str, int]:
        """Bytes of the files that are not in the cache."""
        return {name: size for name, size in self.sizes.items() if not is_file(self.hub.path(name))}

    @property
    def about(self) -> str:
        """How much has to be downloaded, and from where to where, in a sentence."""
        missing = self.missing
        if not missing:
            return f"{self.hub.short} is on this machine."
        return (
            f"{self.hub.short}: {counted(len(missing), 'file')} of {in_words(sum(missing.values()))}, of which the weights are "
            f"{in_words(self.sizes[MODEL])}, into {self.hub.place}."
        )

    def download(self) -> Path:
        """Download the missing files, with progress; return the run's folder in the cache.

        Raises:
            ValueError: the disk is too small, or the hub does not deliver.
        """
        from huggingface_hub import hf_hub_download

        missing, hub = self.missing, self.hub
        total = sum(missing.values())
        if missing:
            refuse_full(hub.place, total, f"the files of {hub.short}", "free some space, or set HF_HOME")
            with one_sentence(hub, "download"), ProgressBar(hub.title, max(1, total), "B", unit_scale=True) as bar:
                done = 0
                for name, size in missing.items():
                    hf_hub_download(hub.repository, _in(hub, name), revision=hub.revision, tqdm_class=_meter(bar, done))
                    done += size
        if replace(hub, revision=self.revision).fixed() != hub:  # for when the hub cannot be asked
            with one_sentence(hub, "download"):
                hf_hub_download(hub.repository, _in(hub, CONFIG), revision=self.revision)
        return hub.path()


def fetch(hub: HubId) -> Path:
    """Return the folder of a run in the hub's cache, after downloading what is missing; tell its size first.

    Raises:
        ValueError: it cannot be downloaded; one sentence on why.
    """
    if hub.is_fixed and (folder := hub.cached()) is not None:
        return folder
    offer = look_up(hub)
    if offer.note or offer.missing:
        print(offer.note or f"downloading {offer.about}", file=sys.stderr)
    return offer.download()


def look_up(hub: HubId) -> Offer:
    """Ask the hub for a run, and read its configuration; nothing else is downloaded.

    Raises:
        ValueError: there is no such run, or it cannot be read here; one sentence on why.
    """
    require_extra("hub")
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(hub.repository)
        with one_sentence(hub, "look-up"):
            info = HfApi().model_info(hub.repository, revision=hub.revision, files_metadata=True, timeout=PATIENCE)
    except UnreachableError as error:
        fixed, folder = hub.fixed(), hub.cached()
        if fixed is None or folder is None:
            raise
        note = f"{error}: {fixed.short}, which was downloaded before, is used"
        return Offer(fixed, hub.revision, _config(folder / CONFIG, hub), {}, note=note)
    found = replace(hub, revision=str(info.sha))
    if not found.is_fixed:
        raise ValueError(f"{hub}: the hub answered without a commit, so it is not certain what would be downloaded")
    sizes = _files_of_run(hub, {part.rfilename: part.size or 0 for part in info.siblings or ()})
    if sizes[CONFIG] > MOST:
        raise ValueError(_foreign(hub, f"its {CONFIG} has {in_words(sizes[CONFIG])}"))
    with one_sentence(hub, "download"):
        config = Path(hf_hub_download(hub.repository, _in(hub, CONFIG), revision=found.revision))
    return Offer(found, hub.revision, _config(config, hub), sizes, license_of(info))


def license_of(info: ModelInfo) -> str:
    """Return the licence that a model's card names; empty if it names none."""
    named = info.card_data.get("license") if info.card_data else None
    return one_line(named, 60) if isinstance(named, str) else ""


def _in(hub: HubId, name: str) -> str:
    """Return the path in its repository of a file of a run."""
    return "/".join(filter(None, (hub.folder, name)))


def is_of_run(name: str) -> bool:
    """Return whether a file of this name, beside the weights and the card, is part of a run on the hub."""
    return name in FILES or GRID.fullmatch(name) is not None or AVERAGE.fullmatch(name) is not None


def _files_of_run(hub: HubId, files: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes of the files of a run, by their names in its folder, the weights last.

    Raises:
        ValueError: there is no run in the folder.
    """
    inside = _in(hub, "x")[:-1]
    own = {path.removeprefix(inside): size for path, size in files.items() if path.startswith(inside)}
    if CONFIG in own and MODEL in own:
        grids = sorted(name for name in own if GRID.fullmatch(name))[-MOST_GRIDS:]
        averages = sorted(name for name in own if AVERAGE.fullmatch(name))[:MOST_AVERAGES]
        return {name: own[name] for name in (*FILES, *grids, *averages, MODEL) if name in own}
    folders = sorted(path.removesuffix(f"/{CONFIG}") for path in files if path.endswith(f"/{CONFIG}"))
    runs = [str(replace(hub, folder=folder)) for folder in folders if f"{folder}/{MODEL}" in files]
    runs = [run for run in runs if HubId.parse(run) is not None]
    if runs:
        raise ValueError(f"{hub} is no run, but there are runs in its repository: {some(runs, 8)}")
    if any(name.endswith(PICKLES) for name in own) and not any(name.endswith(".safetensors") for name in own):
        raise ValueError(
            f"{hub} holds its weights only as pickles or the like, which can run any program when they are opened: weights are "
            "read from safetensors only"
        )
    raise ValueError(_foreign(hub, f"it has no {CONFIG if CONFIG not in own else MODEL}"))


def _config(path: Path, hub: HubId) -> RunConfig:
    """Read the configuration of a run from the cache."""
    try:
        return config_from_json(read_regular(path, MOST), CONFIG)
    except ValueError as error:
        raise ValueError(_foreign(hub, one_line(error, 300))) from error


def _foreign(hub: HubId, why: str) -> str:
    """Return the sentence that says that a repository holds no run of Noisescope, and what to do with it."""
    return (
        f"{hub} is no run of Noisescope that can be read here ({why}): models of other libraries are imported with "
        f"`hf download {hub.repository} --local-dir FOLDER` and `python -m pipelines.import_diffusers FOLDER --out runs/NAME`"
    )


def _meter(bar: ProgressBar, before: int) -> type[Any]:
    """Return a class of progress bars that shows nothing, but counts the bytes of one file in ``bar``.

    The client may use two of them for a file, and count back when it begins again.

    Args:
        before: bytes of the files before this one.
    """
    from tqdm import tqdm

    class Meter(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if (more := before + int(self.n) - bar.done) > 0:
                bar.update(more)

    return Meter


@contextmanager
def one_sentence(hub: HubId, what: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into one sentence, without the token.

    Args:
        what: what is going on: look-up, download or upload.
    """
    try:
        yield
    except Exception as error:
        raise _problem(error, hub, what) from error


def _problem(error: BaseException, hub: HubId, what: str) -> Exception:
    """Return an error whose message is one sentence on what went wrong with the hub."""
    from huggingface_hub import constants, errors, get_token

    if isinstance(error, errors.LocalEntryNotFoundError):
        error = error.__cause__ or error
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error, hub, what)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return UnreachableError(f"HF_HUB_OFFLINE is set, so the hub is not asked for {hub}")
    transport = errors.HfHubHTTPError.__bases__[0]  # of the errors of the client's connection, whichever library makes it
    if isinstance(error, (transport, ConnectionError, TimeoutError, errors.LocalEntryNotFoundError)):
        return UnreachableError(
            f"the {what} of {hub} failed, because the hub ({constants.ENDPOINT}) cannot be reached or the connection broke off"
        )
    if isinstance(error, OSError) and error.errno is not None:  # a full disk, say
        return error
    return ValueError(f"the {what} of {hub} failed: {_without_token(error, get_token())}")


def _refusal(error: HfHubHTTPError, hub: HubId, what: str) -> ValueError:
    """Return the sentence that says why the hub refuses, by its kind of error or the status of its answer."""
    from huggingface_hub import constants, errors, get_token

    token, status = get_token(), error.response.status_code
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{hub.repository}"
        return ValueError(f"{hub} is gated: ask for access at {page}, and {log_in} as the person who has it")
    if isinstance(error, errors.RevisionNotFoundError):
        return ValueError(f"{hub.repository} has no revision {hub.revision!r} on the hub: give a branch, a tag or a commit")
    if isinstance(error, errors.RepositoryNotFoundError):
        private = log_in if token is None else "the token of this machine does not give access to it"
        return ValueError(f"there is no model {hub.repository} on the hub or, if it is private, {private}")
    if status == 401:
        reason = f"does not accept the token of this machine: {log_in} with a valid one"
        return ValueError(f"the hub {reason}" if token else f"the hub asks for a token for the {what} of {hub}: {log_in}")
    if status == 403:
        return ValueError(f"the token of this machine does not allow the {what} of {hub}: {log_in} with one that does")
    if status == 429 or status >= 500:
        return UnreachableError(
            f"the {what} of {hub} failed, because the hub ({constants.ENDPOINT}) answered {status}: try later"
        )
    return ValueError(f"the {what} of {hub} failed: {_without_token(error.server_message or error, token)}")


def _without_token(said: object, token: str | None) -> str:
    """Return what the hub or its client said in one line, which must not repeat the token."""
    text = str(said)
    return one_line(text.replace(token, "…") if token else text, 300)
