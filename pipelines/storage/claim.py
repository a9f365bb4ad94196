"""The claim of a process to a run's folder, which holds while the folder is the same one and still a run."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from ..common.reports import LOG, OUTCOME, PROGRESS, stop_reporting
from ..common.temporary import is_temporary, remove_leftovers
from .config import RunConfig
from .disk import refuse_unwritable
from .files import write_text
from .layout import AVERAGES, CONFIG, DATA, PROCESS, SAMPLES, STATE
from .processes import at_work, claim, read_record
from .run import Run

BEFORE_CONFIG = (PROCESS, *(f"{Path(PROCESS).parent}/{name}" for name in (PROGRESS, OUTCOME, LOG)))


def is_free(folder: Path) -> bool:
    """Return whether a run may be started in ``folder``.

    It does not exist, is empty, or holds only what a training that was killed before it wrote its configuration has left.
    """
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    known = all(is_temporary(path) or str(path.relative_to(folder)) in BEFORE_CONFIG for path in files)
    return known and not at_work(folder / PROCESS)


class RunClaim:
    """The claim of this process to train a run, and the folder it has found.

    Args:
        run: the run, found when the claim is made; reading the data then takes a while, in which the folder may go.

    Raises:
        ValueError: the run cannot be written.
    """

    def __init__(self, run: Run | str | Path) -> None:
        self.run = run if isinstance(run, Run) else Run(run)
        self._is_run = (self.run.path / CONFIG).is_file()
        remedy = "copy the run to a folder of your own, and resume the copy" if self._is_run else "choose another --out"
        for folder in (self.run.path, *(self.run.path / part for part in (Path(STATE).parent, SAMPLES, AVERAGES))):
            refuse_unwritable(folder, remedy)
        self._folder = _OpenFolder(self.run.path) if self.run.path.is_dir() else None

    def take(self) -> None:
        """Record this process in the folder, which is created if it did not exist, and remove what killed processes have left.

        Raises:
            ValueError: another process is training the run, or the folder is not as it was found.
        """
        path = self.run.path
        if self._folder is not None:
            self.check()
        if not self._is_run and (path / CONFIG).exists():
            raise ValueError(f"another process has just started a run in {path}: choose another folder")
        claim(path / PROCESS, f"training {path}")
        self._folder = self._folder or _OpenFolder(path)
        remove_leftovers(path, (path / STATE).parent, path / SAMPLES)

    def describe(self, config: RunConfig, data: str = "") -> None:
        """Write the configuration and, for a new run, the report on its data (as JSON), if there is one."""
        self.check()
        self.run.write_config(config)
        self._is_run = True
        if data and not (self.run.path / DATA).exists():
            write_text(self.run.path / DATA, data)

    def check(self) -> None:
        """Raise ValueError if the folder is not the one that was found, or no run any more."""
        if not self._in_place or (self._is_run and not (self.run.path / CONFIG).is_file()):
            stop_reporting()
            raise ValueError(
                f"{self.run.path} was removed, moved or replaced during training, which has stopped; if it was moved, continue "
                "with --resume and its new path"
            )

    def release(self) -> None:
        """Remove the record of this process."""
        record = self.run.path / PROCESS
        if self._in_place and (found := read_record(record)) and found.pid == os.getpid():
            record.unlink(missing_ok=True)

    @property
    def _in_place(self) -> bool:
        return self._folder is not None and self._folder.is_at(self.run.path)


class _OpenFolder:
    """A folder that is kept open: while it is, no other gets its inode, even after it has been removed."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        weakref.finalize(self, os.close, descriptor)
        self._status = os.fstat(descriptor)

    def is_at(self, path: Path) -> bool:
        """Return whether this folder, and not another one, is at ``path``."""
        try:
            return os.path.samestat(path.stat(), self._status)
        except OSError:
            return False
