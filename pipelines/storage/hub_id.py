"""Ids of runs on the Hugging Face hub, and where the hub's cache keeps those that have been downloaded.

Nothing here asks the hub, nor loads its client.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.extras import missing_extra
from ..common.paths import is_weights
from ..common.reading import read_text
from .files import is_file
from .layout import CONFIG, MODEL

SPELLING = "USER/NAME[@REVISION][/FOLDER]"  # as in the hub's own addresses of files
MAIN = "main"  # the revision that is meant if none is given
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_ID = re.compile(rf"({_PART}/{_PART})(?:@({_PART}))?((?:/{_PART})*)")
_ADDRESS = re.compile(r"https?://?(?:huggingface\.co|hf\.co)/(.+?)/?")  # in a path, // has become /
_COMMIT = re.compile("[0-9a-f]{40}")
_CACHED = re.compile(rf"/models--((?:(?!--)[\w.-])+)--([\w.-]+)/snapshots/({_COMMIT.pattern})((?:/{_PART})*)", re.ASCII)


@dataclass(frozen=True)
class HubId:
    """A run on the hub, whether there is one or not.

    Attributes:
        repository: its user, or organisation, and its name: "user/name".
        revision: a branch, tag or commit.
        folder: the folder of the repository that holds the run; empty for the repository itself.
    """

    repository: str
    revision: str = MAIN
    folder: str = ""

    @classmethod
    def parse(cls, text: str) -> HubId | None:
        """Return the id that a text or an address of the hub spells; None if it spells none, or names a file of weights."""
        if (address := _ADDRESS.fullmatch(text)) is not None:
            text = re.sub(r"/tree/([^/]+)", r"@\1", address[1], count=1)
        found = None if is_weights(text) else _ID.fullmatch(text)
        return None if found is None else cls(found[1], found[2] or MAIN, found[3][1:])

    @classmethod
    def of(cls, path: Path) -> HubId | None:
        """Return the id of a folder in the hub's cache, with its commit; None for a folder elsewhere."""
        found = _CACHED.search(os.path.abspath(path))  # noqa: PTH100  (links keep their names)
        whole = found is not None and found.end() == len(found.string)
        return cls(f"{found[1]}/{found[2]}", found[3], found[4][1:]) if found is not None and whole else None

    def __str__(self) -> str:
        revision = "" if self.revision == MAIN else f"@{self.revision}"
        return "/".join(filter(None, (self.repository + revision, self.folder)))

    @property
    def title(self) -> str:
        """The id without its revision."""
        return str(replace(self, revision=MAIN))

    @property
    def name(self) -> str:
        """The last part of the title."""
        return self.title.rpartition("/")[2]

    @property
    def short(self) -> str:
        """The id with at most seven digits of a commit, for messages."""
        return str(replace(self, revision=self.revision[:7])) if self.is_fixed else str(self)

    @property
    def is_fixed(self) -> bool:
        """Whether it always means the same files, because its revision is a commit."""
        return _COMMIT.fullmatch(self.revision) is not None

    @property
    def place(self) -> Path:
        """The repository's folder in the hub's cache."""
        from huggingface_hub.constants import HF_HUB_CACHE

        return Path(HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}"

    def path(self, file: str = "") -> Path:
        """Return where the cache keeps a file of the run, or its folder; the revision must be a commit."""
        return self.place / "snapshots" / self.revision / self.folder / file

    def fixed(self) -> HubId | None:
        """Return the id with the commit that its revision meant when the hub was last asked; None if it never was."""
        if self.is_fixed:
            return self
        try:
            commit = read_text(self.place / "refs" / self.revision, 100).strip()
        except (OSError, ValueError):
            return None
        return replace(self, revision=commit) if _COMMIT.fullmatch(commit) else None

    def cached(self) -> Path | None:
        """Return the run's folder in the hub's cache; None if it has not been downloaded, or not completely."""
        fixed = None if missing_extra("hub") else self.fixed()
        whole = fixed is not None and is_file(fixed.path(CONFIG)) and is_file(fixed.path(MODEL))  # the weights come last
        return fixed.path() if fixed is not None and whole else None
