"""Shared behaviour of the commands: parsing without loading torch, and one sentence instead of a traceback."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from .machine import TooLarge
from .paths import expanded
from .public import is_public, without_places
from .reports import LOG, Outcome, Reporter, reporting
from .settings import LONGEST, Between, OneOf, SettingsError, rules
from .text import shorten
from .threads import sleep_beside_others

Arguments = TypeVar("Arguments")

DONE, REFUSED, INTERRUPTED = 0, 2, 130

# What torch says, on any device, when it has no memory left, or none for cuDNN.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUDNN_STATUS_NOT_SUPPORTED")


def run_command(
    arguments: type[Arguments] | tuple[type[Arguments], ...],
    main: Callable[[Arguments], int],
    program: str,
    default: Callable[[Sequence[str]], Arguments] | None = None,
) -> int:
    """Parse the command line into ``arguments`` (a dataclass), run ``main`` and return its exit code.

    ValueError and OSError mean that the request cannot be carried out: the message goes to stderr and the exit code is 2. The
    same holds if memory runs out. However the command ends, its outcome is reported (see :mod:`pipelines.common.reports`).

    Args:
        arguments: a dataclass, whose docstring is what --help says first; or several, each for a subcommand of its name.
        default: returns the default settings, given the words of the command line.
    """
    kinds = arguments if isinstance(arguments, tuple) else (arguments,)
    from .flags import parse

    words = sys.argv[1:]
    description = (kinds[0] if len(kinds) == 1 else sys.modules[main.__module__]).__doc__
    parsed = partial(parse, kinds, words, prog=f"python -m {program}", description=description)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text, nor text that a terminal knows
    sleep_beside_others()
    with reporting() as reporter:
        try:
            parsed = parsed if default is None else partial(parsed, default=default(words))
            code = main(_at_home(_parsed(parsed, kinds, words)))
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
    """Return the message for an error that means that the request cannot be carried out; None for a bug."""
    return describe(error) if isinstance(error, (ValueError, OSError)) or out_of_memory(error) else None


def unexpected(error: Exception, reporter: Reporter) -> str:
    """Return the message for a bug, and where its traceback is if it goes to a log."""
    sentence = f"it stopped with an unexpected error ({type(error).__name__}: {describe(error)})"
    return f"{sentence}; see {reporter.folder / LOG}" if reporter.folder and reporter.launched else sentence


def refuse_several_processes(program: str) -> None:
    """Raise ValueError if ``accelerate launch``, say, started the command in several processes: all would do the same work."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise ValueError(f"{program} runs in one process, but {processes} were launched: start it with python -m {program}")


def _at_home(arguments: Arguments) -> Arguments:
    """Return the arguments with ~ at the start of their paths replaced by the home folder, as shells do only in some places.

    Raises:
        ValueError: a path begins with the name of a user whom there is not.
    """
    values = {part.name: getattr(arguments, part.name) for part in fields(arguments)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Path):
            changes[name] = _home(value)
        elif isinstance(value, tuple) and any(isinstance(part, Path) for part in value):
            changes[name] = tuple(map(_home, value))
    return replace(arguments, **changes)  # type: ignore[type-var]


def _home(path: Path) -> Path:
    whole = Path(expanded(str(path)))
    if whole == path and str(path).startswith("~") and not path.exists():
        user = path.parts[0].removeprefix("~")
        raise ValueError(f"{path}: there is no user {user!r} with a home folder; if none is meant, give the whole path")
    return whole


def _parsed(parse: Callable[[], Arguments], kinds: Sequence[type[Arguments]], words: Sequence[str]) -> Arguments:
    """Parse the words of the command line.

    Raises:
        SettingsError: a setting has an invalid value; the parser would report it itself, in a box of several lines.
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
        if (sentence := _unreadable_number(said.getvalue(), kinds, words)) is not None:
            raise SettingsError(sentence) from None
        print(said.getvalue(), file=sys.stderr, end="")
        raise


def _unreadable_number(said: str, kinds: Sequence[type], words: Sequence[str]) -> str | None:
    """Return what numbers a setting takes, if the parser said that what was given is none; None if it said something else."""
    found = re.search(r"Error parsing (--([\w-]+)):", said)
    rules = (_rule_of(kind, found[2].replace("-", "_")) for kind in kinds if found)
    rule = next((rule for rule in rules if rule), None)
    if found is None or not isinstance(rule, Between):
        return None
    given = ""
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == found[1]:
            given = value if equals else " ".join(takewhile(lambda other: not other.startswith("--"), words[number + 1 :]))
    several = " for each" * (len(given.split()) > 1)
    return f"{found[1]} {shorten(given, LONGEST)}: choose {rule}{several}"


def _rule_of(settings: type, name: str) -> Between | OneOf | None:
    """Return the allowed values of a field of ``settings``, or of the settings within them."""
    own = rules(settings).get(name)
    inner = (kind for kind in get_type_hints(settings).values() if is_dataclass(kind) and isinstance(kind, type))
    return own or next((rule for kind in inner if (rule := _rule_of(kind, name))), None)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on any device."""
    if isinstance(error, (MemoryError, TooLarge)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def describe(error: BaseException) -> str:
    """Describe ``error`` in one sentence; on a public dashboard, without what it tells of the machine."""
    if is_public() and (isinstance(error, TooLarge) or not isinstance(error, (ValueError, OSError))):
        return "it is too large for this server" if out_of_memory(error) else "an unexpected error, which the server has logged"
    return without_places(_described(error))


def _described(error: BaseException) -> str:
    if not isinstance(error, ValueError) and out_of_memory(error):
        return "out of memory: close other programs, or choose a smaller batch, model or image size"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}: what was saved before is intact; free some space and continue"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()}: {error.filename}" if error.filename else error.strerror.lower()
    return shorten(" ".join(str(error).split()), 2000) or type(error).__name__
