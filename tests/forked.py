"""Python processes that begin with the libraries which the tests have loaded: that takes longer than a small training.

Before the first test, this process forks a template, which has one thread and never runs a network, because such processes can
be forked safely. The template forks the others: each loads our own packages anew, and has an environment, a working directory,
a session and standard streams of its own, so that it lives, reports and is killed like one that was started. That a fresh
interpreter does the same is seen by those that tests start without it.

The processes among which pytest-xdist shares the tests out are forked in this way, too; each of them has a template of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import importlib
import json
import logging
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable
from pathlib import Path

LIBRARIES = ("accelerate", "datasets", "matplotlib.figure", "pandas", "torch._dynamo")  # which all tests together load anyway
OURS = ("diffusion_core", "unets", "pipelines", "pages", "main_interface")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of prctl: die with the parent; be the parent of descendants without one
template: socket.socket | None = None  # where processes are asked for
is_fork = False


def make_template(*others: str) -> None:
    """Fork the template; on Linux only, where its children can become children of this process.

    Args:
        others: libraries to load first, besides LIBRARIES.
    """
    global template
    if sys.platform != "linux":
        return
    for library in (*LIBRARIES, *others):
        importlib.import_module(library)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    template, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    _fork(lambda: _serve(asked))
    asked.close()


def _fork(function: Callable[[], object]) -> int:
    """Return the process id of a child that runs a function, and nothing of what this process would do next."""
    child = os.fork()
    if child:
        return child
    try:
        function()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _serve(asked: socket.socket) -> None:
    """Fork a process for each message, until the tests end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    while True:
        message, (*streams, answer), _, _ = socket.recv_fds(asked, 2**20, 4)
        told, tell = os.pipe()

        def between(message=message, streams=streams, tell=tell):
            """Fork it and end, whereupon it becomes a child of the process that runs the tests."""
            os.write(tell, str(_fork(lambda: _become(message, streams))).encode())
            os._exit(0)

        os.waitpid(_fork(between), 0)
        os.write(answer, os.read(told, 20))
        for descriptor in (*streams, answer, told, tell):
            os.close(descriptor)


def _become(message: bytes, streams: list[int]) -> None:
    """Be the process that was asked for: ``python -m module …``, ``python -c code …``, or with ``-u`` one that runs tests."""
    global is_fork
    arguments, folder, environment = json.loads(message)
    runs_tests = arguments[0] == "-u"
    is_fork = not runs_tests
    os.setsid()
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    assert template is not None
    os.closerange(3, template.fileno())
    os.closerange(template.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    tempfile.tempdir = None
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    atexit._clear()
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()  # which write to the streams of the process that was forked
    sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    if not runs_tests:
        subprocess.Popen = ForkedPython  # type: ignore[misc]
    os._exit(_run(*arguments[runs_tests:]))


def _run(option: str, program: str, *arguments: str) -> int:
    """Run a program as the interpreter does, and return the exit code."""
    sys.argv = [option, *arguments]
    sys.path.insert(0, str(Path.cwd()) if option == "-m" else "")
    code: object = 0
    try:
        if option == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(program, "<string>", "exec", dont_inherit=True), vars(sys.modules["__main__"]))
        threading._shutdown()  # type: ignore[attr-defined]
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


class ForkedPython(subprocess.Popen):
    """``subprocess.Popen`` that forks instead of starting an interpreter with ``-m`` or ``-c``, where that is possible."""

    def _execute_child(self, args, *how):
        program = args if isinstance(args, str | bytes) else [os.fsdecode(word) for word in args]
        if template is None or program[0] != sys.executable or program[1:2] not in (["-m"], ["-c"], ["-u"]):
            super()._execute_child(args, *how)
            return
        folder, environment, (p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite) = how[4], how[5], how[9:15]
        streams = [own if given == -1 else given for own, given in enumerate((p2cread, c2pwrite, errwrite))]
        given = os.environ if environment is None else environment
        message = json.dumps([program[1:], os.fspath(folder or Path.cwd()), dict(given)]).encode()
        if is_fork and threading.active_count() == 1:  # then it can be forked, and the child can be waited for
            self.pid = _fork(lambda: _become(message, streams))
        else:
            told, answer = os.pipe()
            socket.send_fds(template, [message], [*streams, answer])
            os.close(answer)
            self.pid = int(os.read(told, 20))
            os.close(told)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
