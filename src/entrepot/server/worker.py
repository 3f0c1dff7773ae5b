"""A worker process: one application, served until it is told to end.

    SIGTERM   refuse new connections, finish requests within `http.draintimeout`, cut the rest
    SIGUSR1   leave new connections to others, finish requests without a limit of time: this worker
              has been replaced

SIGINT and SIGHUP, which a terminal sends to every process at once, are the supervisor's business.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
import uvloop

from entrepot.config import Config
from entrepot.core.errors import EntrepotError
from entrepot.server.accepting import Share
from entrepot.server.certificates import Certificates, tls_context
from entrepot.server.engine import Engine, connections, http_mode, quieten_granian
from entrepot.server.http1 import Http1Server
from entrepot.server.lifespan import Application, Lifespan
from entrepot.server.linux import keep_freed_memory
from entrepot.telemetry import configure_logging

_GARBAGE = (20_000, 20, 50)
"""Requests leave hardly any cycles behind: looking for them less often saves some percent."""

_SETTLE_SECONDS = 0.02
_CLOSE_SECONDS = 5.0
_HANDSHAKE_SECONDS = 3.0
"""Time for which a replaced worker waits for the first requests of connections it has accepted."""

_log = structlog.get_logger("entrepot.server")


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is to do, and with what."""

    config: Config
    build: Callable[[], Application]
    listener: socket.socket
    share: Share
    certificates: Certificates | None
    open_files: int
    ready: int
    """The end of a pipe to which one byte is written once requests are served."""


class Wishes:
    """What the supervisor wants, as signals tell it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.leave = asyncio.Event()
        self.hurry = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, self.leave.set)
        loop.add_signal_handler(signal.SIGTERM, self._end)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _end(self) -> None:
        self.leave.set()
        self.hurry.set()


def work(given: Work) -> int:
    """Serve until told to end; return the exit status. Must run in a process of its own."""
    keep_freed_memory()
    configure_logging(given.config.log)
    quieten_granian()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        # The loop is left open: what is not over by now ends with the process, in silence.
        return loop.run_until_complete(_serve(given))
    except EntrepotError as error:
        _log.error("the worker can't serve", reason=str(error))
        return 1


async def _serve(given: Work) -> int:
    wishes = Wishes()
    application = given.build()
    lifespan = Lifespan(application)
    await lifespan.startup()
    gc.set_threshold(*_GARBAGE)
    engine = _engine(given, application)
    serving = asyncio.ensure_future(engine.serve())
    leaving = asyncio.ensure_future(wishes.leave.wait())
    await asyncio.wait({serving}, timeout=_SETTLE_SECONDS)
    if not serving.done() and not engine.has_failed:
        os.write(given.ready, b"1")
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not leaving.done():
        leaving.cancel()
        _log.error("the HTTP server of the worker failed")
        return 1
    if not wishes.hurry.is_set():
        engine.stop_accepting()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wishes.hurry.wait(), _HANDSHAKE_SECONDS)
    application.draining = wishes.hurry.is_set()
    engine.finish()
    await _drain(engine, serving, wishes=wishes, seconds=given.config.http.draintimeout)
    async with asyncio.timeout(_CLOSE_SECONDS):
        await lifespan.shutdown()
    return 0


def _engine(given: Work, application: Application) -> Engine | Http1Server:
    """Return what serves: granian for TLS and HTTP/2, else what costs less. granian doesn't say
    whose certificate a client has shown.
    """
    http, certificates = given.config.http, given.certificates
    own = not http.tls.enabled and http_mode(http) == "1"
    if own or given.config.users_show_certificates:
        return Http1Server(
            application,
            listener=given.listener,
            share=given.share,
            http=http,
            most=connections(http, open_files=given.open_files),
            tls=tls_context(certificates) if certificates is not None else None,
        )
    engine = Engine(
        application,
        listener=given.listener,
        http=http,
        certificates=given.certificates,
        open_files=given.open_files,
    )
    configure_logging(given.config.log)  # granian has done its own set-up
    quieten_granian()
    return engine


async def _drain(
    engine: Engine | Http1Server,
    serving: asyncio.Future[None],
    *,
    wishes: Wishes,
    seconds: float,
) -> None:
    """Wait for the end of all requests; once there is a hurry, `seconds` at most."""
    hurrying = asyncio.ensure_future(wishes.hurry.wait())
    either: set[asyncio.Future[Any]] = {serving, hurrying}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    if not serving.done():
        await asyncio.wait({serving}, timeout=seconds)
    cut = engine.running()
    if not serving.done() and cut:
        _log.warning("requests were cut at the end of http.draintimeout", requests=len(cut))
        for request in cut:
            request.cancel()
        await asyncio.wait(cut, timeout=1.0)
