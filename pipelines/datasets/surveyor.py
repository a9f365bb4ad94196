"""Surveys of datasets in the background, for pages that must not wait for thousands of pictures to be decoded.

Each dataset is opened once, for its survey and for whatever else a page shows of it.
"""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Lock
from typing import Any, TypeVar

from ..common.command_line import describe, out_of_memory
from ..storage.config import ConditionConfig, DataConfig
from .files.inventory import Source
from .report import DataReport
from .sources import locate, open_source
from .survey import full_survey, survey

AT_ONCE = 10_000  # pictures decoded unasked, which takes some seconds; larger datasets wait until somebody asks
KEPT = 16  # surveys, and datasets
Key = TypeVar("Key")
_numbers = count()


class Opened:
    """A dataset that is opened when it is first needed.

    Attributes:
        number: tells it from any other, also of the same data opened before.
    """

    def __init__(self, config: DataConfig) -> None:
        self._config, self.number = config, next(_numbers)
        self._lock, self._source = Lock(), Future[Source]()

    @property
    def source(self) -> Source:
        """What was opened.

        Raises:
            ValueError, OSError: it cannot be opened; the error is the same for all who ask.
        """
        with self._lock:
            if not self._source.done():
                try:
                    self._source.set_result(open_source(self._config.data, self._config.only_classes))
                except Exception as error:
                    self._source.set_exception(error)
        return self._source.result()


@dataclass(eq=False)
class Survey:
    """A survey that may still grow.

    Attributes:
        opened: the dataset.
        report: what is known so far, first from the listing and then from the pictures; None before.
        error: one sentence if the data cannot be surveyed, else empty.
        whole: whether the pictures are decoded however many there are.
    """

    opened: Opened
    whole: bool = False
    report: DataReport | None = None
    error: str = ""
    _done: Event = field(default_factory=Event)

    @property
    def problem(self) -> str:
        """Why the data cannot be trained on, as far as it is known; empty if nothing is wrong."""
        return self.error or (self.report.problem if self.report is not None else "")

    @property
    def growing(self) -> bool:
        """Whether more will be known later."""
        return not self._done.is_set()

    def wait(self, seconds: float) -> None:
        """Wait until everything is known, for at most ``seconds``."""
        self._done.wait(seconds)

    def make(self, config: DataConfig, condition: ConditionConfig) -> None:
        """List the data, and decode the pictures unless there are many and nobody has asked for it."""
        try:
            source = self.opened.source
            self.report = survey(config, source, condition)
            if self.whole or sum(split.pictures for split in self.report.splits) <= AT_ONCE:
                self.report = full_survey(config, source, condition)
        except Exception as error:
            if not isinstance(error, ValueError | OSError) and not out_of_memory(error):
                self.error = f"an unexpected error ({type(error).__name__}: {describe(error)})"
                raise
            self.error = describe(error)
        finally:
            self._done.set()


def _place(config: DataConfig) -> str:
    """Return where a dataset is; empty if it is nowhere, as its survey will say."""
    try:
        return locate(config.data)
    except ValueError:
        return ""


class Surveyor:
    """Makes surveys in a thread of its own, one at a time, and keeps the newest, with the datasets that they are of."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "survey")
        self._lock = Lock()
        self._opened: OrderedDict[tuple[str, str, tuple[str, ...]], Opened] = OrderedDict()
        self._kept: OrderedDict[tuple[str, DataConfig, ConditionConfig], Survey] = OrderedDict()

    def open(self, config: DataConfig, anew: bool = False) -> Opened:
        """Return the dataset of a configuration, opened once for everybody.

        Args:
            config: a resolved configuration.
            anew: open it again, because the files may have changed.
        """
        key = (_place(config), config.data, config.only_classes)
        with self._lock:
            found = self._opened.get(key)
            if found is None or anew:
                found = self._opened[key] = Opened(config)
            _keep(self._opened, key)
            return found

    def find(self, config: DataConfig, condition: ConditionConfig, anew: bool = False, whole: bool = False) -> Survey:
        """Return the survey of a dataset, which is begun if there is none.

        Args:
            config: a resolved configuration.
            anew: forget what is known, because the files may have changed.
            whole: decode the pictures however many they are.
        """
        opened, key = self.open(config, anew), (_place(config), config, condition)
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.opened is not opened or (whole and not found.whole):
                found = self._kept[key] = Survey(opened, whole)
                self._worker.submit(found.make, config, condition)
            _keep(self._kept, key)
            return found


def _keep(kept: OrderedDict[Key, Any], newest: Key) -> None:
    """Make a key the newest, and forget the oldest beyond ``KEPT``."""
    kept.move_to_end(newest)
    while len(kept) > KEPT:
        kept.popitem(last=False)
