"""The process that starts the others and serves nothing itself.

It has one thread, for ever: it forks workers at any time, and a process with threads must not. So
it opens no index and no store either; what needs doing once (`prepare`) is done by a child that
ends. Two children stand beside the workers: the monitor has health checks and the debug server, the
upkeep what is done in the background; it is started once requests are served.

    worker dies              it is started again; the others go on; so are monitor and upkeep;
                             if none is left before requests are served, the server ends
    SIGHUP, new certificate  new workers are started; when all of them serve, the old ones leave,
                             each after its last request; if one doesn't come up, the old ones stay
    SIGTERM, SIGINT          connections are refused at once, requests go on for
                             `http.draintimeout`, then everything ends with status 0
    the same a second time   everything ends at once
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from entrepot.server.accepting import Share, make_shares
from entrepot.server.certificates import (
    Certificates,
    current_version,
    load_certificates,
    release,
)
from entrepot.server.children import Body, Child, collect, fork
from entrepot.server.errors import StartError
from entrepot.server.plan import Plan
from entrepot.server.worker import Work, work

GRACE_SECONDS = 5.0
"""Time that a worker gets beyond `http.draintimeout` to close what it has open."""

CERTIFICATE_SECONDS = 2.0
"""Time between two looks at the certificate's files."""

_UPKEEP_SECONDS = 1.0
"""Time from which on requests are served until there is an upkeep: it is in no hurry, and they are.
"""

_BACKOFF_SECONDS = 1.0
_SOON_SECONDS = 5.0

_log = structlog.get_logger("entrepot.server")

State = Literal["starting", "serving", "ending"]


@dataclass(slots=True)
class Later:
    """A child that is to be started again at a time of the monotonic clock."""

    at: float
    start: Callable[[], None]
    is_worker: bool = False


class Supervisor:
    """Starts, replaces and ends the processes of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._state: State = "starting"
        self._workers: list[Child] = []
        self._newcomers: list[Child] = []
        self._leavers: list[Child] = []
        self._beside: dict[str, Child] = {}
        """The monitor and the upkeep, by name."""
        self._later: list[Later] = []
        self._certificates: Certificates | None = plan.certificates
        self._next_certificates: Certificates | None = None
        self._refused = self._seen = plan.certificates.version if plan.certificates else ()
        self._look_at = time.monotonic() + CERTIFICATE_SECONDS
        self._end_at = float("inf")
        self._waking = Waking()

    def run(self) -> int:
        """Serve until told to end; return the exit status."""
        self._prepare()
        if self._is_ending():
            return 0
        self._plan.listen()
        self._start_beside("monitor", self._plan.monitor)
        self._workers = self._start_workers()
        while not self._is_ending() or self._leavers:
            for number in self._waking.wait(self._patience()):
                self._signalled(number)
            self._collect()
            self._look_after_newcomers()
            self._look_at_time()
        self._end_beside("monitor")
        self._wait_for_beside()
        return 0

    def _is_ending(self) -> bool:
        return self._state == "ending"

    def _prepare(self) -> None:
        """Run the plan's preparation in a child; raises StartError with what it says."""
        child = fork(self._plan.prepare, name="entrepot-prepare")
        statuses: list[int] = []
        said = b""
        while not statuses:
            for number in self._waking.wait(1.0):
                if number in {signal.SIGTERM, signal.SIGINT}:
                    self._state = "ending"
                    child.tell(signal.SIGTERM)
            said += child.read()
            statuses = [status for pid, status in collect() if pid == child.pid]
        said += child.read()
        os.close(child.pipe)
        if statuses[0] and not self._is_ending():
            raise StartError(said.decode(errors="replace") or "the preparation failed")

    def _start_workers(self) -> list[Child]:
        return [self._start_worker(share) for share in make_shares(self._plan.workers)]

    def _start_worker(self, share: Share) -> Child:
        """A worker with the newest certificate."""
        plan = self._plan
        certificates = self._next_certificates or self._certificates

        def body(pipe: int) -> int:
            return work(
                Work(
                    config=plan.config,
                    build=plan.build,
                    listener=plan.bound,
                    share=share,
                    certificates=certificates,
                    open_files=plan.open_files,
                    ready=pipe,
                )
            )

        return fork(body, name="entrepot-worker", share=share)

    def _start_beside(self, name: str, body: Body | None) -> None:
        if body is None or self._is_ending():
            return

        def without_main_socket(pipe: int) -> int:
            self._plan.bound.close()
            return body(pipe)

        self._beside[name] = fork(without_main_socket, name=f"entrepot-{name}")

    def _signalled(self, number: int) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            if self._is_ending():
                self._end_at = time.monotonic()
            else:
                self._end()
        elif number == signal.SIGHUP and self._state == "serving":
            _log.info("SIGHUP: workers are replaced")
            self._replace_workers()

    def _collect(self) -> None:
        for pid, status in collect():
            for name in [name for name, child in self._beside.items() if child.pid == pid]:
                self._beside_ended(name, status)
            for group in (self._workers, self._newcomers, self._leavers):
                for child in [one for one in group if one.pid == pid]:
                    os.close(child.pipe)
                    group.remove(child)
                    self._worker_ended(child, status, was_newcomer=group is self._newcomers)

    def _worker_ended(self, child: Child, status: int, *, was_newcomer: bool) -> None:
        share = child.share
        if share is None or child.leaving or self._is_ending():
            return
        share.forget()
        _log.error("a worker ended unexpectedly", worker_pid=child.pid, status=status)
        if was_newcomer:
            self._give_newcomers_up()
            return
        if self._state == "starting" and not self._workers:
            raise StartError(f"no worker could start (status {status}); see the log above")
        again = Later(self._soon(child), lambda: self._start_again(share), is_worker=True)
        self._later.append(again)

    def _start_again(self, share: Share) -> None:
        self._workers.append(self._start_worker(share))

    def _beside_ended(self, name: str, status: int) -> None:
        child = self._beside.pop(name)
        os.close(child.pipe)
        if not self._is_ending():
            _log.error(f"the {name} ended unexpectedly", worker_pid=child.pid, status=status)
            body = self._plan.monitor if name == "monitor" else self._plan.upkeep
            self._later.append(Later(self._soon(child), lambda: self._start_beside(name, body)))

    def _soon(self, ended: Child) -> float:
        """When to start it again: at once, or after a pause if it ended soon after its start."""
        now = time.monotonic()
        return now + (_BACKOFF_SECONDS if now - ended.birth < _SOON_SECONDS else 0.0)

    def _look_after_newcomers(self) -> None:
        for child in (*self._workers, *self._newcomers):
            if not child.ready and child.read():
                child.ready = True
        if self._state == "starting" and all(child.ready for child in self._workers):
            self._state = "serving"
            self._plan.serving()
            at = time.monotonic() + _UPKEEP_SECONDS
            upkeep = self._plan.upkeep
            self._later.append(Later(at, lambda: self._start_beside("upkeep", upkeep)))
        if self._newcomers and all(child.ready for child in self._newcomers):
            self._hand_over()

    def _look_at_time(self) -> None:
        now = time.monotonic()
        if now >= self._end_at:
            self._kill_all()
            self._end_at = float("inf")
        due = [later for later in self._later if later.at <= now]
        self._later = [later for later in self._later if later.at > now]
        for later in due if not self._is_ending() else ():
            later.start()
        if now >= self._look_at:
            self._look_at = now + CERTIFICATE_SECONDS
            self._look_at_certificate()

    def _look_at_certificate(self) -> None:
        """Replace the workers if the files have changed, and have stayed so since the last look."""
        if self._certificates is None or self._state != "serving" or self._newcomers:
            return
        version = current_version(self._plan.config.http.tls)
        settled = version == self._seen
        self._seen = version
        if settled and version not in {self._certificates.version, self._refused}:
            self._replace_workers()

    def _replace_workers(self) -> None:
        if self._newcomers:
            return
        if self._plan.config.storage.inmemory is not None:
            _log.warning("a worker with storage in memory is not replaced: its content would go")
            return
        if self._certificates is not None:
            version = current_version(self._plan.config.http.tls)
            try:
                self._next_certificates = load_certificates(self._plan.config.http.tls)
            except StartError as error:
                self._refused = version
                _log.error("the certificate was not reloaded", reason=str(error))
                return
        self._newcomers = self._start_workers()

    def _hand_over(self) -> None:
        """The newcomers serve: let the others leave."""
        for child in self._workers:
            child.leaving = True
            child.tell(signal.SIGUSR1)
        self._leavers += self._workers
        self._workers, self._newcomers = self._newcomers, []
        self._later = [later for later in self._later if not later.is_worker]
        if self._next_certificates is not None:
            if self._certificates is not None:
                release(self._certificates)
            self._certificates, self._next_certificates = self._next_certificates, None
            _log.info("the certificate was reloaded")
        _log.info("workers were replaced", workers=len(self._workers))

    def _give_newcomers_up(self) -> None:
        for child in self._newcomers:
            child.leaving = True
            child.tell(signal.SIGKILL)
        self._leavers += self._newcomers
        self._newcomers = []
        if self._next_certificates is not None:
            self._refused = self._next_certificates.version
            release(self._next_certificates)
            self._next_certificates = None
        _log.error("workers were not replaced: a new one did not come up")

    def _end(self) -> None:
        seconds = self._plan.config.http.draintimeout
        _log.info("ending: connections are refused, requests may go on", seconds=seconds)
        self._state = "ending"
        self._plan.board.drain()
        self._plan.bound.close()
        self._end_at = time.monotonic() + seconds + GRACE_SECONDS
        self._leavers += [*self._workers, *self._newcomers]
        self._workers, self._newcomers = [], []
        for child in self._leavers:
            child.leaving = True
            child.tell(signal.SIGTERM)
        self._end_beside("upkeep")

    def _kill_all(self) -> None:
        for child in (*self._workers, *self._newcomers, *self._leavers):
            child.tell(signal.SIGKILL)

    def _end_beside(self, name: str) -> None:
        """Tell it to end; once, for a signal that comes while its loop closes leaves a traceback in
        the log.
        """
        if child := self._beside.get(name):
            child.tell(signal.SIGTERM)

    def _wait_for_beside(self) -> None:
        end = time.monotonic() + GRACE_SECONDS
        while self._beside:
            self._waking.wait(max(0.0, end - time.monotonic()))
            self._collect()
            if time.monotonic() >= end:
                for child in self._beside.values():
                    child.tell(signal.SIGKILL)
                end = float("inf")

    def _patience(self) -> float:
        """Seconds for which nothing needs to be done unless something happens."""
        if any(not child.ready for child in (*self._workers, *self._newcomers)):
            return 0.01
        times = [self._end_at, *(later.at for later in self._later)]
        if self._certificates is not None:
            times.append(self._look_at)
        return max(0.0, min(min(times) - time.monotonic(), 60.0))


class Waking:
    """Signals, turned into numbers that can be waited for. The main thread has one of these."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)  # noqa: FBT003
        self._writing.setblocking(False)  # noqa: FBT003
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reading, selectors.EVENT_READ)

    def wait(self, seconds: float) -> bytes:
        """The numbers of the signals that came, waiting for one for some seconds at most."""
        if not self._selector.select(seconds):
            return b""
        try:
            return self._reading.recv(4096)
        except BlockingIOError:
            return b""
