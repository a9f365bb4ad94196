"""What the commands share: parsing without loading torch, and one calm sentence instead of a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial
from typing import TypeVar

import tyro

from .reports import LOG, Outcome, Reporter, reporting
from .settings import SettingsError

Arguments = TypeVar("Arguments")

DONE, REFUSED, INTERRUPTED = 0, 2, 130


def run_command(
    arguments: type[Arguments],
    main: Callable[[Arguments], int],
    program: str,
    default: Callable[[Sequence[str]], Arguments] | None = None,
) -> int:
    """Parse the command line into ``arguments`` (a dataclass), run ``main`` and return its exit code.

    ValueError and OSError mean that what was asked cannot be done: their sentence goes to stderr and the code is 2. So it is
    when memory runs out. However the command ends, the outcome is reported to whoever watches it.

    Args:
        default: from the words of the command line, what holds where they say nothing else.
    """
    parse = partial(
        tyro.cli,
        arguments,
        prog=f"python -m {program}",
        description=arguments.__doc__,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagConversionOff),
    )
    with reporting() as reporter:
        try:
            code = main(_parsed(parse if default is None else partial(parse, default=default(sys.argv[1:]))))
        except KeyboardInterrupt:
            code = INTERRUPTED
        except Exception as error:
            sentence = refusal(error)
            reporter.outcome(Outcome("failed", sentence or unexpected(error, reporter)))
            if sentence is None:
                raise
            print(f"error: {sentence}", file=sys.stderr)
            return REFUSED
        reporter.outcome(Outcome("stopped" if code == INTERRUPTED else "finished"))
        return code


def refusal(error: Exception) -> str | None:
    """Return the sentence for an error that means that what was asked cannot be done; None for a mistake of ours."""
    if isinstance(error, (ValueError, OSError)):
        return describe(error)
    if isinstance(error, (RuntimeError, MemoryError)) and out_of_memory(error):
        return "out of memory: close other programs, or choose a smaller batch, model or image size"
    return None


def unexpected(error: Exception, reporter: Reporter) -> str:
    """Return the sentence for a mistake of ours, and where its traceback is if it goes to a log."""
    sentence = f"it broke off with an unexpected error ({type(error).__name__}: {describe(error)})"
    return f"{sentence}; see {reporter.folder / LOG}" if reporter.folder and reporter.launched else sentence


def refuse_several_processes(program: str) -> None:
    """Fail where a launcher such as ``accelerate launch`` has started a command several times: all would do the same work."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise ValueError(f"{program} works in one process, and {processes} were launched: start it with python -m {program}")


def _parsed(parse: Callable[[], Arguments]) -> Arguments:
    """Return what the parser makes of the command line.

    Raises:
        SettingsError: a setting cannot have its value; without this the parser would say so itself, in a box.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return parse()
    except SystemExit as stop:
        reason: BaseException | None = stop
        while reason is not None and not isinstance(reason, SettingsError):
            reason = reason.__context__
        if reason is not None:
            raise reason from None
        print(said.getvalue(), file=sys.stderr, end="")
        raise


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, of whatever device."""
    if isinstance(error, MemoryError):
        return True
    from accelerate.utils.memory import should_reduce_batch_size

    return should_reduce_batch_size(error)


def describe(error: BaseException) -> str:
    """One sentence about ``error``, for a person."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}: what was saved before is intact; free some space and go on"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()}: {error.filename}" if error.filename else error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
