"""The program as processes, for tests: `python -m entrepot ...` without waiting for its imports.

Those take half a second each time, and a run of the tests starts the program a thousand times. So
one process, the forker, has imported what every start does, and forks whenever a test wants the
program; what it forks goes on as `python -m entrepot` does.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

_MOST: Final = 200_000
"""Bytes of a request: arguments and environment."""

_NAME: Final = [sys.executable, "-m", "entrepot"]


def environment(**more: str) -> dict[str, str]:
    """That of the tests, without what would configure a registry or log somebody in."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "ENTREPOT_"))}
    return {**kept, **more}


class Program:
    """A running program; as much of `subprocess.Popen` as tests want."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        own_session: bool = False,
    ) -> None:
        """Start it; what is not given is nothing, or the environment of the tests."""
        self.args = [*_NAME, *arguments]
        self.returncode: int | None = None
        request = {
            "arguments": list(arguments),
            "environment": dict(environment() if env is None else env),
            "directory": str(Path.cwd()),
            "own_session": own_session,
        }
        self._ended = threading.Lock()
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.connect(_forker())
        with Path(os.devnull).open("r+b") as nothing:
            files = [(file or nothing).fileno() for file in (stdin, stdout, stderr)]
            socket.send_fds(self._line, [json.dumps(request).encode()], files)
        self.pid = int(self._line.recv(64))

    def poll(self) -> int | None:
        """The exit status, or None while it runs; negative for the signal that ended it."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises subprocess.TimeoutExpired."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def _look(self, timeout: float | None) -> int | None:
        with self._ended:
            if self.returncode is None and select.select([self._line], [], [], timeout)[0]:
                self.returncode = int(self._line.recv(64))
                self._line.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    *arguments: str, env: Mapping[str, str] | None = None, text: str = "", timeout: float = 100
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, with `text` as its standard input."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as complained,
    ):
        given.write(text.encode())
        given.seek(0)
        program = Program(arguments, stdin=given, stdout=said, stderr=complained, env=env)
        try:
            status = program.wait(timeout)
        except subprocess.TimeoutExpired:
            program.kill()
            raise
        outputs = []
        for file in (said, complained):
            file.seek(0)
            outputs.append(file.read().decode())
    return subprocess.CompletedProcess(program.args, status, outputs[0], outputs[1])


@cache
def _started(process: int) -> bytes:
    """The address of the forker of a process, which is started."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")  # a name of the kernel's choice
    listener.listen(64)
    lifeline, held = socket.socketpair()
    forker = subprocess.Popen(
        [sys.executable, str(Path(__file__)), str(listener.fileno()), str(lifeline.fileno())],
        pass_fds=(listener.fileno(), lifeline.fileno()),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    address: bytes = listener.getsockname()
    listener.close()
    lifeline.close()

    def end() -> None:
        if os.getpid() == process:
            held.close()
            forker.wait()

    atexit.register(end)
    return address


_starting = threading.Lock()


def _forker() -> bytes:
    with _starting:
        return _started(os.getpid())


# The forker -------------------------------------------------------------------------------------


def _fork_until_asked_no_more(listener: socket.socket, lifeline: socket.socket) -> None:
    """Fork for whoever asks, until the lifeline breaks; in a child, return."""
    children: dict[int, socket.socket] = {}
    waking, woken = socket.socketpair()
    waking.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    while True:
        ready = select.select([listener, lifeline, waking], [], [])[0]
        if waking in ready:
            waking.recv(4096)
            _collect(children)
        if lifeline in ready:
            os._exit(0)
        if listener in ready:
            line = listener.accept()[0]
            request, files, _, _ = socket.recv_fds(line, _MOST, 3)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _become(json.loads(request), files, line)
                for one in (listener, lifeline, waking, woken, line, *children.values()):
                    one.close()
                return
            for file in files:
                os.close(file)
            children[pid] = line


def _collect(children: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with children.pop(ended[0]) as line, suppress(OSError):
                line.send(str(os.waitstatus_to_exitcode(ended[1])).encode())


def _become(request: dict[str, Any], files: list[int], line: socket.socket) -> None:
    """Be what a process is that was started with these arguments, files and environment."""
    if request["own_session"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    line.send(str(os.getpid()).encode())
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    import entrepot.cli
    import entrepot.server  # noqa: F401 - what `serve` imports

    gc.collect()
    gc.freeze()
    _fork_until_asked_no_more(
        socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2]))
    )
    runpy.run_module("entrepot", run_name="__main__", alter_sys=True)
