"""The access log: one line for every request, in Elastic Common Schema or Apache's combined form.

A line costs some microseconds because nothing of the logging machinery is involved: one
msgspec structure, encoded and collected. Collected lines are written by a thread of their own, so
that a slow reader of standard output never holds up a request: at most one second after the
request, or as soon as 32 KiB wait; each line at once if the output is a terminal. Lines are
written whole and at most 4,096 bytes (PIPE_BUF) at a time, so that lines of several worker
processes never mix in a pipe. What is not written when the process is killed (`kill -9`) is lost,
and so are lines beyond 8 MiB that nobody reads; their number is logged.
"""

import os
import select
import sys
import threading
import time
from collections.abc import Callable

import msgspec
import structlog

from entrepot.config.schema import Log
from entrepot.telemetry.masking import mask_query, mask_text, mask_value, printable
from entrepot.telemetry.renderers import ECS_VERSION, SERVICE_NAME

_LONGEST_PATH = 1024
_LONGEST_FIELD = 256
_PIPE_BUF = 4096
_WRITE_AT = 32 * 1024
_MOST_WAITING = 8 * 1024 * 1024
_WRITE_EVERY_SECONDS = 1.0

_log = structlog.get_logger("entrepot.accesslog")


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What the access log tells about one request. Texts are as the client sent them."""

    client: str
    """Address of the client, without port."""
    method: str
    path: str
    """Percent-decoded."""
    query: str = ""
    """Raw, without `?`; secret parameters are masked."""
    protocol: str = "1.1"
    """HTTP version."""
    status: int
    request_bytes: int = 0
    response_bytes: int = 0
    seconds: float
    request_id: str = ""
    user: str = ""
    user_agent: str = ""
    referer: str = ""


class _EcsLine(
    msgspec.Struct,
    omit_defaults=True,
    rename={
        "timestamp": "@timestamp",
        "level": "log.level",
        "request_id": "http.request.id",
        "method": "http.request.method",
        "request_bytes": "http.request.body.bytes",
        "referer": "http.request.referrer",
        "path": "url.path",
        "query": "url.query",
        "status": "http.response.status_code",
        "response_bytes": "http.response.body.bytes",
        "protocol": "http.version",
        "duration": "event.duration",
        "outcome": "event.outcome",
        "client": "client.address",
        "user": "user.name",
        "user_agent": "user_agent.original",
    },
):
    timestamp: str
    level: str
    message: str
    client: str
    method: str
    path: str
    status: int
    duration: int
    request_bytes: int
    response_bytes: int
    outcome: str
    protocol: str
    query: str = ""
    request_id: str = ""
    user: str = ""
    user_agent: str = ""
    referer: str = ""


class AccessLog:
    """Writes the access log of one process to a file descriptor.

    `access` may be called from any thread; nothing it is given makes it raise.
    """

    def __init__(
        self,
        log: Log,
        *,
        descriptor: int | None = None,
        clock: Callable[[], float] = time.time,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        """Write to `descriptor` (standard output); `clock` tells seconds since 1970. More than
        `most_waiting` bytes are not kept for a reader that does not read.
        """
        self._most_waiting = most_waiting
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._clock = clock
        self._second = -1
        self._second_text = ""
        self._line = self._combined if log.accesslog.format == "text" else self._ecs
        self._strftime = (
            "%d/%b/%Y:%H:%M:%S +0000" if log.accesslog.format == "text" else "%Y-%m-%dT%H:%M:%S"
        )
        self._tail = _constant_fields(log)
        self._encoder = msgspec.json.Encoder()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._dropped = 0
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._write_at = 0 if os.isatty(self._descriptor) else _WRITE_AT
        self._writer = threading.Thread(target=self._write_along, name="access-log", daemon=True)
        self._writer.start()

    def access(self, entry: Access) -> None:
        """Note one request."""
        line = self._line(entry)
        with self._guard:
            if self._waiting_bytes > self._most_waiting:
                self._dropped += 1
                return
            self._waiting.append(line)
            self._waiting_bytes += len(line)
        if self._closed:
            self.flush()
        elif self._waiting_bytes > self._write_at and not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Write every line noted so far; returns when they are written."""
        with self._writing:
            with self._guard:
                lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
                dropped, self._dropped = self._dropped, 0
            start = size = 0
            for end, line in enumerate(lines):
                if size and size + len(line) > _PIPE_BUF:
                    self._write(b"".join(lines[start:end]))
                    start, size = end, 0
                size += len(line)
            self._write(b"".join(lines[start:]))
        if dropped:
            _log.error("access log lines were lost because nobody reads them", lines=dropped)

    def close(self) -> None:
        """Write what waits and end the writer. Later lines are written at once."""
        self._closed = True
        self._wake.set()
        self._writer.join(timeout=5)

    def _write_along(self) -> None:
        while not self._closed:
            self._wake.wait(_WRITE_EVERY_SECONDS)
            self._wake.clear()
            self.flush()

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                # Somebody who shares the pipe has made it non-blocking, and it is full.
                select.select([], [self._descriptor], [], _WRITE_EVERY_SECONDS)
            except OSError as error:
                # The reader is gone. Requests are answered all the same.
                _log.debug("access log can't be written", error=error)
                return

    def _time(self) -> tuple[str, int]:
        """Return the current second as text, and the milliseconds in it."""
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second_text = time.strftime(self._strftime, time.gmtime(second))
            self._second = second
        return self._second_text, int((now - second) * 1000)

    def _ecs(self, entry: Access) -> bytes:
        second, milliseconds = self._time()
        line = _EcsLine(
            f"{second}.{milliseconds:03d}Z",
            "info",
            "request",
            _shown(entry.client, _LONGEST_FIELD),
            _shown(entry.method, _LONGEST_FIELD),
            _shown(entry.path, _LONGEST_PATH),
            entry.status,
            int(entry.seconds * 1e9),
            entry.request_bytes,
            entry.response_bytes,
            "success" if entry.status < 400 else "failure",
            _shown(entry.protocol, _LONGEST_FIELD),
            _shown(mask_query(entry.query), _LONGEST_PATH) if entry.query else "",
            _shown(entry.request_id, _LONGEST_FIELD),
            _shown(entry.user, _LONGEST_FIELD),
            _shown(entry.user_agent, _LONGEST_FIELD),
            _shown(mask_text(entry.referer), _LONGEST_FIELD) if entry.referer else "",
        )
        return self._encoder.encode(line)[:-1] + self._tail

    def _combined(self, entry: Access) -> bytes:
        second, _ = self._time()
        target = f"{entry.path}?{mask_query(entry.query)}" if entry.query else entry.path
        user = _shown(entry.user, _LONGEST_FIELD).replace(" ", "_") or "-"
        request = _in_quotes(f"{entry.method} {target}", _LONGEST_PATH)
        referer = _in_quotes(mask_text(entry.referer), _LONGEST_FIELD) if entry.referer else ""
        return (
            f"{_shown(entry.client, _LONGEST_FIELD) or '-'} - {user} [{second}] "
            f'"{request} HTTP/{_shown(entry.protocol, _LONGEST_FIELD)}" '
            f"{entry.status} {entry.response_bytes} "
            f'"{referer}" "{_in_quotes(entry.user_agent, _LONGEST_FIELD)}"\n'
        ).encode()


def _constant_fields(log: Log) -> bytes:
    """Return what ends every ECS line: the fields that never change."""
    fields: dict[str, object] = {
        "ecs.version": ECS_VERSION,
        "service.name": SERVICE_NAME,
        "event.dataset": "entrepot.access",
    }
    for name, value in log.fields.items():
        fields[name if "." in name else f"labels.{name}"] = mask_value(value, key=str(name))
    return b"," + msgspec.json.encode(fields)[1:] + b"\n"


def _shown(text: str, longest: int) -> str:
    return printable(text)[:longest]


def _in_quotes(text: str, longest: int) -> str:
    """Escape `text` as Apache does inside double quotes."""
    shown = printable(text)[:longest]
    if '"' in shown or "\\" in shown:
        shown = shown.replace("\\", "\\\\").replace('"', '\\"')
    return shown
