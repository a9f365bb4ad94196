"""A child process that reads mutants under watch, and its parent's side.

The child is told one folder a time. It runs every attempt of the kind on it and answers with one verdict: whether all of them
succeeded or were refused with one sentence. Meanwhile an audit hook notes what no input may cause: a program started, an
address asked, a file changed outside the folder, a file read that lies outside it and belongs to nobody.
"""

from __future__ import annotations

import ast
import ctypes.util
import faulthandler
import json
import os
import resource
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kind import Reader

ROOT = Path(__file__).resolve().parents[2]
OURS = ("pipelines", "pages", "diffusion_core", "unets")  # where sentences are written
MEMORY = 2**30  # bytes above rest that one mutant may take
ADDRESS_SPACE = 6 * 2**30  # bytes above rest that the child can ask for at all: the machine is not the child's alone
SECONDS, CPU_SECONDS = 90.0, 20.0  # that one mutant may take
LONGEST_SENTENCE = 2000  # characters
FIXED = {"OMP_NUM_THREADS": "1", "STREAMLIT_CLIENT_SHOW_ERROR_DETAILS": "full"}  # of the child's environment
OUTSIDE = "outside"  # folder beside the mutants whose files nobody may read
SUCCEEDED, REFUSED, FAILED = "succeeded", "refused", "FAILED"

# Events of sys.audit that change a file: the places of its path, and of the folder that the path is relative to.
CHANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)), "os.rmdir": ((0, 1),), "os.mkdir": ((0, 2),), "os.link": ((1, 3),),
    "os.symlink": ((1, 2),), "os.truncate": ((0, 0),), "os.chmod": ((0, 2),), "os.chown": ((0, 3),), "os.utime": ((0, 3),),
    "shutil.rmtree": ((0, 1),),
}  # fmt: skip
PROGRAMS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty", "os.kill", "os.killpg"}
ADDRESSES = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"}


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant.

    Attributes:
        outcome: SUCCEEDED, REFUSED or FAILED.
        told: the sentences, or what went wrong.
        memory: peak memory above rest so far, in bytes.
        seconds: processor time.
    """

    outcome: str
    told: str = ""
    memory: int = 0
    seconds: float = 0.0


class Watch:
    """Notes what an input may not cause. Programs and connections are stopped as well, for nothing must get out."""

    def __init__(self, work: Path) -> None:
        self.allowed = tuple(str(work / name) for name in ("mutant", "cache", "tmp"))
        self.forbidden = str(work / OUTSIDE)
        self.noted: list[str] = []
        self.active = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open":
            self._opened(*arguments)
        elif event in CHANGES:
            for path, folder in CHANGES[event]:
                self._changed(event, arguments[path], arguments[folder])
        elif (event in PROGRAMS and not _looks_for_a_library()) or event in ADDRESSES:
            self.noted.append(f"{event} {str(arguments)[:300]}")
            raise PermissionError(f"{event} is not allowed here")

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND) and os.fspath(path) != os.devnull:
            self._changed("open for writing", path)
        elif os.path.realpath(os.fsdecode(path)).startswith(self.forbidden):
            self.noted.append(f"read {os.fsdecode(path)}")

    def _changed(self, what: str, path: Any, folder: Any = None) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        base = f"/proc/self/fd/{folder}" if isinstance(folder, int) and folder >= 0 else ""
        whole = Path(base, os.fsdecode(path))
        name = str(Path(os.path.realpath(whole.parent), whole.name))
        if not name.startswith((*self.allowed, "/proc/", "/dev/shm")):  # noqa: S108  (nothing is written there)
            self.noted.append(f"{what} {name}")


def _looks_for_a_library() -> bool:
    """Return whether Python asks the system's linker where a library is, which starts programs."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename == ctypes.util.__file__:
            return True
    return False


@cache
def _raises(file: str) -> set[int]:
    """Return the numbers of the lines of a source file on which a ``raise`` statement begins."""
    return {node.lineno for node in ast.walk(ast.parse(Path(file).read_text())) if isinstance(node, ast.Raise)}


def judge(error: BaseException) -> Verdict:
    """Return whether an error is a sentence to the user: raised as a ValueError by a line of ours, or from the system."""
    from pipelines.common.command_line import describe

    told = describe(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = any(Path(frames[-1].filename).is_relative_to(ROOT / name) for name in OURS)
    written = ours and frames[-1].lineno in _raises(frames[-1].filename) and isinstance(error, ValueError)
    from_system = isinstance(error, OSError) and bool(error.strerror)
    if (written or from_system) and len(told) <= LONGEST_SENTENCE and "Traceback" not in told:
        return Verdict(REFUSED, told)
    place = next((frame for frame in reversed(frames) if Path(frame.filename).is_relative_to(ROOT / "pipelines")), frames[-1])
    where = f"{Path(place.filename).name}:{place.lineno} in {place.name}"
    return Verdict(FAILED, f"{type(error).__name__} at {where}: {told[:300]}\n{traceback.format_exc()[-6000:]}")


def _peak() -> int:
    """Return the largest resident memory of this process so far, in bytes; on Linux, without that of its parent."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _limit_memory(more: int | None) -> None:
    """Let this process have that many bytes of address space more than now; None is no limit. Only Linux keeps to it."""
    if sys.platform == "linux":
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = resource.RLIM_INFINITY if more is None else taken + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _reader(kind: str) -> Reader:
    from .kinds import KINDS

    return KINDS[kind].attempts


def _examine(kind: str, folder: Path, watch: Watch | None, rest: int) -> Verdict:
    began, sentences = time.process_time(), []
    for attempt in _reader(kind)(folder):
        if watch is not None:
            watch.active = True
        try:
            attempt()
        except BaseException as error:  # whatever it is, the verdict says so
            verdict = judge(error)
            if verdict.outcome == FAILED:
                return verdict
            sentences.append(verdict.told)
        finally:
            if watch is not None:
                watch.active = False
        if watch is not None and watch.noted:
            return Verdict(FAILED, "; ".join(dict.fromkeys(watch.noted)))
    memory, seconds = _peak() - rest, time.process_time() - began
    if memory > MEMORY:
        return Verdict(FAILED, f"took {memory / 2**20:,.0f} MiB above rest", memory, seconds)
    if seconds > CPU_SECONDS:
        return Verdict(FAILED, f"took {seconds:.0f} seconds of processor time", memory, seconds)
    return Verdict(REFUSED if sentences else SUCCEEDED, " | ".join(sentences), memory, seconds)


def serve(work: Path) -> None:
    """Answer requests, one a line: {"kind": …, "folder": …, "warm": …}; at rest is what the process is after warming up."""
    answers, requests = os.fdopen(os.dup(1), "w", buffering=1), os.fdopen(os.dup(0))
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.enable()
    watch, rest = Watch(work), sys.maxsize
    for line in requests:
        asked = json.loads(line)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        if asked["warm"]:
            _limit_memory(None)
        # Libraries start programs when they are first loaded: to find the system's own, to count processors.
        verdict = _examine(asked["kind"], Path(asked["folder"]), None if asked["warm"] else watch, rest)
        faulthandler.cancel_dump_traceback_later()
        watch.noted.clear()
        if asked["warm"]:
            rest = _peak()
            _limit_memory(ADDRESS_SPACE)
        answers.write(json.dumps(asdict(verdict)) + "\n")


class Child:
    """The parent's side: it starts the process, and starts it again after it has died or taken too much memory.

    Args:
        work: the folder of everything the child may touch: ``mutant``, ``cache`` and ``tmp``.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self._warm: set[Reader] = set()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None
        self._warm.clear()

    def _start(self) -> subprocess.Popen[str]:
        for name in ("cache", "tmp", OUTSIDE):
            (self.work / name).mkdir(exist_ok=True)
        own = {
            "NOISESCOPE_RUNS": "mutant", "NOISESCOPE_CACHE": "cache/noisescope", "HF_HOME": "cache/huggingface",
            "MPLCONFIGDIR": "cache", "XDG_CACHE_HOME": "cache", "HOME": "cache", "TMPDIR": "tmp", "NOISESCOPE_DATA": "data",
            "TORCHINDUCTOR_CACHE_DIR": "cache",  # the parent has its own, once it has loaded the compiler
        }  # fmt: skip
        environment = os.environ | {name: str(self.work / path) for name, path in own.items()} | FIXED
        self._log = (self.work / "child.log").open("w+")
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fuzzing.child", str(self.work)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def warm(self, kind: str, folder: Path) -> Verdict:
        """Read a valid input, so that what is loaded once does not count as a mutant's memory and time."""
        self._warm.add(_reader(kind))
        return self._ask(kind, folder, warm=True)

    def is_warm(self, kind: str) -> bool:
        """Return whether the process has read a valid input in the way of this kind."""
        return self._process is not None and _reader(kind) in self._warm

    def examine(self, kind: str, folder: Path) -> Verdict:
        """Read a mutant."""
        return self._ask(kind, folder, warm=False)

    def _ask(self, kind: str, folder: Path, warm: bool) -> Verdict:
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"kind": kind, "folder": str(folder), "warm": warm}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()  # the child ends itself when it takes too long
        if answer:
            verdict = Verdict(**json.loads(answer))
            if verdict.memory > MEMORY:
                self.stop()  # its peak would count against the next mutants
            return verdict
        code = process.wait()
        assert self._log is not None
        self._log.seek(0)
        told = self._log.read()[-6000:]
        self.stop()
        return Verdict(FAILED, f"the process died or took more than {SECONDS:.0f} s (exit code {code})\n{told}")


if __name__ == "__main__":
    from benchmarks.fuzzing.child import serve as serve_imported  # not the copy that is called __main__

    serve_imported(Path(sys.argv[1]))
