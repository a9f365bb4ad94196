"""Downloads from the hub and uploads to it that a page starts: ordinary commands that outlive the page."""

from __future__ import annotations

from pathlib import Path

from ..common.reading import MEGABYTE, read_text
from ..common.reports import Progress
from .files import write_text
from .hub_id import HubId
from .processes import ending, launch
from .run import Run
from .single_job import SingleJob


class _HubJob(SingleJob):
    """A command that exchanges a run with the hub.

    Attributes:
        MODULE: the command, and ``BUSY`` the sentence of the error while another one runs.
    """

    MODULE: str
    BUSY: str

    @property
    def asked(self) -> str:
        """What the last one was asked for: the id of the run; of an upload, its path before that, in a line of its own."""
        try:
            return read_text(self._asked, MEGABYTE)
        except (OSError, ValueError):
            return ""

    @property
    def _asked(self) -> Path:
        return self.record.with_name("asked.txt")

    @property
    def error(self) -> str:
        """One sentence on why the last one failed; empty if it did not, was stopped, or is running."""
        return self.failure("start it again")

    @property
    def finished(self) -> bool:
        """Whether the last one has ended well."""
        ended = ending(self.record)
        return ended is not None and ended.status == "finished"

    def _start(self, asked: str, *words: str) -> None:
        with self.starting(self.BUSY):
            write_text(self._asked, asked)
            launch(self.MODULE, words, self.record)


class DownloadJob(_HubJob):
    """The process that downloads a run and adds it to the lists."""

    FOLDER, LOADING = ".download", Progress("Asking the hub")
    MODULE, BUSY = "pipelines.download", "another download is running: wait for it, or cancel it first"

    def start(self, hub: HubId) -> None:
        """Begin to download a run, and return at once.

        Raises:
            ValueError: another download is running.
        """
        self._start(str(hub), str(hub))


class UploadJob(_HubJob):
    """The process that uploads a run."""

    FOLDER, LOADING = ".upload", Progress("Preparing the upload")
    MODULE, BUSY = "pipelines.publish", "another upload is running: wait for it, or cancel it first"

    def start(self, run: Run, hub: HubId, license: str, private: bool) -> None:
        """Begin to upload a run, and return at once.

        Raises:
            ValueError: another upload is running.
        """
        path = str(run.path.resolve())
        self._start(f"{path}\n{hub}", path, "--push", str(hub), "--license", license, "--private", str(private))
