"""Starting while a server that is needed, for the index or the blobs, doesn't answer.

What must be done once is tried again and again, and meanwhile who asks is told so, on the sockets
that will be the workers': connections that come in when all is well wait for a worker.
"""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from entrepot.core.errors import UnavailableError, UnreachableError
from entrepot.server.certificates import Certificates
from entrepot.server.errors import StartError
from entrepot.server.plain import JSON, TEXT, Answer, PlainServer, Routes

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
_TELL_SECONDS = 30.0
_POLL_SECONDS = 0.05
_FINISH_SECONDS = 1.0

_log = structlog.get_logger("entrepot.server")


def keep_trying(
    work: Callable[[], None], *, most: float, answer: Callable[[], Callable[[], None]]
) -> None:
    """Run `work` until it doesn't raise `UnreachableError`, for `most` seconds, or for ever if that
    is 0. `answer` is called after the first failure, and what it returns when all is well.

    Raises:
        StartError: the time is over.
        EntrepotError: what `work` raised otherwise.
    """
    began = time.monotonic()
    told, told_at, pause = "", 0.0, _FIRST_PAUSE
    finish: Callable[[], None] | None = None
    while True:
        try:
            work()
            break
        except UnreachableError as error:
            said, now = str(error), time.monotonic()
            if most and now + pause > began + most:
                problem = f"{said} (tried for {most:g} s: database.startuptimeout)"
                raise StartError(problem) from error
        finish = finish or answer()
        if said != told or now >= told_at + _TELL_SECONDS:
            told, told_at = said, now
            seconds = round(now - began)
            _log.warning("the start waits for a server", reason=said, seconds=seconds)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    if finish is not None:
        finish()


def answer_meanwhile(
    listeners: Iterable[tuple[socket.socket, Certificates | None]],
) -> Callable[[], None]:
    """Answer on sockets that listen, in threads; return what ends that with the last answer."""
    servers = []
    for listener, certificates in listeners:
        tls = None
        if certificates is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificates.certificate, certificates.key)
        server = _Server(listener, _Starting(), tls=tls)
        threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True).start()
        servers.append(server)

    def finish() -> None:
        for server in servers:
            server.finish()

    return finish


class _Server(PlainServer):
    """Knows how many connections it is answering."""

    keeps_connections = False

    def __init__(
        self, listener: socket.socket, routes: Routes, *, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(listener, routes, tls=tls)
        self._running = 0
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._running += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        super().process_request_thread(request, client_address)
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Take no more connections, and answer those that there are."""
        self.shutdown()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, _FINISH_SECONDS)


class _Starting:
    """A process is there, and serves nothing yet."""

    def answer(self, method: str, path: str) -> Answer:  # noqa: ARG002
        if path == "/livez":
            return 200, TEXT, b"ok\n"
        if path == "/readyz":
            return 503, TEXT, b"starting\n"
        error = UnavailableError({"reason": "the registry is starting"})
        return 503, JSON, json.dumps({"errors": error.entries()}).encode()
