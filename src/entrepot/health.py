"""Whether the registry is fit to serve, known to all of its processes.

One process runs the checks of the `health` section and writes what fails to a `HealthBoard`, a page
of memory that every process shares; while anything fails, every request for registry content is
answered with 503. Names and texts are registry:2's.
"""

import json
import mmap
import socket
import struct
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from entrepot.config import Config
from entrepot.config.address import parse_address
from entrepot.config.schema import FileCheck, Health, HttpCheck, TcpCheck
from entrepot.core.errors import EntrepotError

MANUAL = "manual_http_status"
"""The check that an operator switches through /debug/health/down and /debug/health/up."""

DEFAULT_INTERVAL = 10.0
"""Seconds between two checks where the configuration says 0."""

_UNHEALTHY, _DRAINING, _CURRENT = 0, 1, 2
_SLOT_BYTES = 32 * 1024
_SLOTS = (64, 64 + _SLOT_BYTES)
_HEADER = struct.Struct("<II")
_TRIES = 100
_NOTHING: Mapping[str, str] = {}


class HealthCheckError(EntrepotError):
    """A check failed; the text says how."""


class HealthBoard:
    """What fails at the moment, shared by a process and the children it forks afterwards.

    Reading `healthy` costs 0.1 us. Only one process may write failures: the one that checks.
    """

    def __init__(self) -> None:
        """A board on which nothing fails."""
        self._memory = mmap.mmap(-1, _SLOTS[1] + _SLOT_BYTES)
        self._writing = threading.Lock()
        self._failures: dict[str, str] = {}

    @property
    def healthy(self) -> bool:
        """Whether nothing fails."""
        return not self._memory[_UNHEALTHY]

    @property
    def draining(self) -> bool:
        """Whether the server is about to end."""
        return bool(self._memory[_DRAINING])

    def drain(self) -> None:
        """Say that the server is about to end. For any process."""
        self._memory[_DRAINING] = 1

    def failures(self) -> Mapping[str, str]:
        """What fails, and why, by the name of the check. As cheap as `healthy` while that holds."""
        if not self._memory[_UNHEALTHY]:
            return _NOTHING
        for _ in range(_TRIES):
            start = _SLOTS[self._memory[_CURRENT]]
            length, checksum = _HEADER.unpack_from(self._memory, start)
            text = self._memory[start + _HEADER.size : start + _HEADER.size + length]
            if zlib.crc32(text) == checksum:
                found: dict[str, str] = json.loads(text)
                return found
        return {"health": "unhealthy"}  # it changes faster than it can be read

    def report(self, check: str, failure: str | None) -> None:
        """Note that a check fails, and why, or (None) that it doesn't fail."""
        with self._writing:
            if failure is None:
                self._failures.pop(check, None)
            else:
                self._failures[check] = failure[:1000]
            self._publish()

    def _publish(self) -> None:
        """Write what fails where nobody reads, and then say that it is to be read there."""
        text = json.dumps(self._failures).encode()
        if len(text) > _SLOT_BYTES - _HEADER.size:
            text = json.dumps({"health": f"{len(self._failures)} checks fail"}).encode()
        other = 1 - self._memory[_CURRENT]
        start = _SLOTS[other]
        _HEADER.pack_into(self._memory, start, len(text), zlib.crc32(text))
        self._memory[start + _HEADER.size : start + _HEADER.size + len(text)] = text
        self._memory[_CURRENT] = other
        self._memory[_UNHEALTHY] = bool(self._failures)


@dataclass(frozen=True, slots=True)
class Check:
    """Something that is tried every `interval` seconds.

    `run` raises HealthCheckError. It counts from the `threshold`-th failure in a row on, or from
    the first for 0 and 1.
    """

    name: str
    interval: float
    threshold: int
    run: Callable[[], None]


def configured_checks(config: Config, *, storage: Callable[[], None]) -> list[Check]:
    """The checks of the `health` section; `storage` raises EntrepotError if the store fails."""
    health: Health = config.health
    checks: list[Check] = []
    if health.storagedriver.enabled:
        driver = config.storage.driver
        given = health.storagedriver
        checks.append(Check(f"storagedriver_{driver}", given.interval, given.threshold, storage))
    return [
        *checks,
        *(Check(one.file, one.interval, one.threshold, _no_file(one)) for one in health.file),
        *(Check(one.uri, one.interval, one.threshold, _http_answers(one)) for one in health.http),
        *(Check(one.addr, one.interval, one.threshold, _tcp_connects(one)) for one in health.tcp),
    ]


def watch(check: Check, *, board: HealthBoard, stop: threading.Event) -> None:
    """Run a check again and again until `stop` is set, and report it. For a thread of its own."""
    failed = 0
    while not stop.is_set():
        failure = outcome(check)
        failed = failed + 1 if failure else 0
        board.report(check.name, failure if failed and failed >= check.threshold else None)
        stop.wait(check.interval or DEFAULT_INTERVAL)


def outcome(check: Check) -> str | None:
    """Run a check once: why it failed, or None."""
    try:
        check.run()
    except EntrepotError as error:
        return str(error) or type(error).__name__
    except Exception as error:  # noqa: BLE001 - a check that breaks must be seen, not end
        return f"{type(error).__name__}: {error}"
    return None


def _no_file(check: FileCheck) -> Callable[[], None]:
    def run() -> None:
        try:
            exists = Path(check.file).exists()
        except OSError as error:
            raise HealthCheckError(f"{check.file}: {error.strerror}") from error
        if exists:
            raise HealthCheckError("file exists")

    return run


def _http_answers(check: HttpCheck) -> Callable[[], None]:
    def run() -> None:
        status = _status(check.uri, headers=check.headers, timeout=check.timeout)
        if status != check.statuscode:
            message = f"downstream service returned unexpected status: {status}"
            raise HealthCheckError(message)

    return run


def _status(uri: str, *, headers: Mapping[str, tuple[str, ...]], timeout: float) -> int:
    request = urllib.request.Request(uri, method="HEAD")  # noqa: S310 - http or https, checked
    for name, values in headers.items():
        request.add_header(name, ", ".join(values))
    try:
        with urllib.request.urlopen(request, timeout=timeout or None) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return int(error.code)
    except (OSError, ValueError) as error:
        raise HealthCheckError(f"error while checking: {uri}") from error


def _tcp_connects(check: TcpCheck) -> Callable[[], None]:
    def run() -> None:
        try:
            address = parse_address(check.addr)
            target = (address.host or "localhost", address.port)
            socket.create_connection(target, timeout=check.timeout or None).close()
        except (OSError, ValueError) as error:
            raise HealthCheckError(f"connection to {check.addr} failed") from error

    return run
