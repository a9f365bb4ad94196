"""Surveys of datasets in the background, for pages that must not wait for thousands of pictures to be decoded."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock

from ..common.command_line import describe, out_of_memory
from ..storage.config import ConditionConfig, DataConfig
from .report import DataReport
from .sources import locate, open_source
from .survey import full_survey, survey

AT_ONCE = 10_000  # pictures decoded unasked, which takes some seconds; larger datasets wait until somebody asks
KEPT = 16  # surveys


@dataclass(eq=False)
class Survey:
    """A survey that may still grow.

    Attributes:
        report: what is known so far, first from the listing and then from the pictures; None before.
        error: one sentence if the data cannot be surveyed, else empty.
        whole: whether the pictures are decoded however many there are.
    """

    whole: bool = False
    report: DataReport | None = None
    error: str = ""
    _done: Event = field(default_factory=Event)

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
            opened = open_source(config.data, config.only_classes)
            self.report = survey(config, opened, condition)
            if self.whole or sum(split.pictures for split in self.report.splits) <= AT_ONCE:
                self.report = full_survey(config, opened, condition)
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
    """Makes surveys in a thread of its own, one at a time, and keeps the newest."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "survey")
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, DataConfig, ConditionConfig], Survey] = OrderedDict()

    def find(self, config: DataConfig, condition: ConditionConfig, anew: bool = False, whole: bool = False) -> Survey:
        """Return the survey of a dataset, which is begun if there is none.

        Args:
            config: a resolved configuration.
            anew: forget what is known, because the files may have changed.
            whole: decode the pictures however many they are.
        """
        key = (_place(config), config, condition)
        with self._lock:
            found = self._kept.get(key)
            if found is None or anew or (whole and not found.whole):
                found = self._kept[key] = Survey(whole)
                self._worker.submit(found.make, config, condition)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found
