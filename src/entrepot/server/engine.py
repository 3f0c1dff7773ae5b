"""granian, set up to serve one application in one process, on a socket that it is given.

Uses granian's embeddable server, whose event loop is ours. It is documented as experimental, and
two of its methods are replaced here: the tests in tests/wire/test_serving.py hold what we rely on.
"""

import asyncio
import contextlib
import logging
import os
import select
import socket
from pathlib import Path
from typing import Any, Literal

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from entrepot.config.schema_http import Http
from entrepot.server.certificates import Certificates
from entrepot.server.idle import close_idle, running_requests
from entrepot.server.listening import BACKLOG

_MIB = 1 << 20

READ_BUFFER = 2 * _MIB
"""How far an HTTP/1 connection is read ahead, and written behind, in bytes.

Bodies arrive in pieces of up to this size, so fewer of them cross threads: hashing and writing
256 MiB cost 640 ms of CPU with granian's 408 KiB, 565 with 2 MiB, 490 with 4 MiB. But a slow reader
holds as much (10 MiB with 4 MiB, 8 with 2), and so does whoever sends an endless head.
"""

_FOREVER_MS = 24 * 60 * 60 * 1000
_CONNECTIONS_PER_REQUEST = 4
_FILES_PER_CONNECTION = 3
_OTHER_FILES = 128


class Engine(Server):
    """Serves an ASGI application until `finish`; then takes no connections, and ends with the last
    request.
    """

    _shd: Any
    ssl_ctx: Any

    def __init__(
        self,
        application: Any,
        *,
        listener: socket.socket,
        http: Http,
        certificates: Certificates | None,
        open_files: int,
    ) -> None:
        """Serve on `listener`, which is listening already and whose owner this becomes.

        `open_files` is how many files this process may open: connections stay well below it.
        """
        self._listener = listener
        self._descriptor = listener.fileno()
        self._certificates = certificates
        self._keepalive = http.limits.keepalivetimeout
        super().__init__(
            application,
            interface=Interfaces.ASGINL,
            websockets=False,
            http=HTTPModes(http_mode(http)),
            backpressure=connections(http, open_files=open_files),
            http1_settings=http1_settings(http),
            http2_settings=http2_settings(http),
            log_enabled=False,
        )

    async def serve(self) -> None:  # type: ignore[override]
        """Serve until the last request after `finish`."""
        idle = close_idle(self._descriptor, seconds=self._keepalive)
        closing = asyncio.ensure_future(idle)
        await super().serve()
        closing.cancel()

    def running(self) -> list[asyncio.Task[Any]]:
        """Return what answers requests at the moment."""
        return running_requests()

    @property
    def has_failed(self) -> bool:
        """Whether it ended without being asked to."""
        return bool(self.interrupt_children)

    def stop_accepting(self) -> None:
        """Leave new connections to the others that listen on the same socket.

        granian can only stop accepting and close idle connections in one step, which cuts those
        that have been accepted and whose first request is on its way (over TLS, for as long as the
        handshake takes). So its event loop is made blind for the socket first. What can't be done
        is left: then a replaced worker may lose such a connection, and nothing else.
        """
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if entry.readlink().name == "anon_inode:[eventpoll]":
                    with select.epoll.fromfd(os.dup(int(entry.name))) as events:
                        events.unregister(self._descriptor)

    def finish(self) -> None:
        """Refuse connections, close the idle ones, and let `serve` return after the last request.

        Others that listen on the same socket go on.
        """
        self.stop()  # type: ignore[no-untyped-call]

    def _init_shared_socket(self) -> None:
        """Instead of making a socket, take ours."""
        unix = self._listener.family == socket.AF_UNIX
        self._ssp = None
        # granian closes the descriptor when it stops listening: it is not the socket's any more.
        self._descriptor = self._listener.detach()
        self._shd = SocketHolder(self._descriptor, unix, BACKLOG)  # type: ignore[call-arg]

    def build_ssl_context(self, *_: object) -> None:
        """Instead of paths from the constructor, take the files in memory."""
        given = self._certificates
        if given is None:
            self.ssl_ctx = (False, None, None, None, "tls1.2", None, [], False)
            return
        self.ssl_ctx = (
            True,
            given.certificate,
            given.key,
            None,
            given.minimum_version,
            given.authorities,
            [],
            given.clients_must_have_one,
        )


def quieten_granian() -> None:
    """Leave granian's own talk out of the log: only what went wrong in an application stays."""
    logging.getLogger("granian").setLevel(logging.ERROR)
    logging.getLogger("_granian").setLevel(logging.ERROR)
    logging.getLogger("_granian.utils").addFilter(_is_no_cut)


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Whether a record is not about a request that the end of the server has cut."""
    return "CancelledError" not in record.getMessage()


def http_mode(http: Http) -> Literal["1", "auto"]:
    """HTTP/2 is offered over TLS, and without only where the configuration asks for it.

    With "auto" the protocol is recognised by the first bytes, and granian doesn't limit how long a
    client may take to send those: not what an open port should do without need.
    """
    wanted = http.tls.enabled or http.h2c.enabled
    return "auto" if wanted and not http.http2.disabled else "1"


def connections(http: Http, *, open_files: int) -> int:
    """How many connections one worker holds; more wait until one is closed.

    Above the limit of requests, so that it is the application that refuses, with an answer.
    """
    affordable = (open_files - _OTHER_FILES) // _FILES_PER_CONNECTION
    return max(64, min(_CONNECTIONS_PER_REQUEST * http.limits.concurrency, affordable))


def http1_settings(http: Http) -> HTTP1Settings:
    """hyper has one timer for the head of a request and the time before it: the longer one counts.

    A proxy in front keeps connections for a minute or so; closing them earlier on this side would
    make it fail on some of the requests that it sends at that moment.
    """
    limits = http.limits
    unlimited = not (limits.headertimeout and limits.keepalivetimeout)
    seconds = max(limits.headertimeout, limits.keepalivetimeout)
    return HTTP1Settings(
        header_read_timeout=_FOREVER_MS if unlimited else max(1, round(seconds * 1000)),
        keep_alive=limits.keepalivetimeout > 0,
        max_buffer_size=READ_BUFFER,
    )


def http2_settings(http: Http) -> HTTP2Settings:
    """Windows that let one upload run at full speed, and frames of half a MiB, which Go fills."""
    return HTTP2Settings(
        initial_connection_window_size=8 * _MIB,
        initial_stream_window_size=4 * _MIB,
        max_frame_size=_MIB // 2,
        max_concurrent_streams=128,
        max_headers_size=http.limits.headersize,
        max_send_buffer_size=_MIB,
    )
