"""HTTP/1.1 on the event loop's own thread (docs/adr/0012-http1.md says why); with TLS where users
are told by their certificates (`secured.py`).

llhttp, by httptools, reads requests; uvloop moves the bytes; here is what lies between: whose turn
it is on a connection, what waits, and what ends. A body of known length bypasses the parser.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from typing import Any, Final, cast

import httptools
import structlog

from entrepot.config.schema_http import Http
from entrepot.server.accepting import Acceptor, Share
from entrepot.server.exchange import Exchange, new_scope, refusal
from entrepot.server.heads import Head, Heads, split_target
from entrepot.server.lifespan import Application
from entrepot.server.secured import LINGER, Handshakes

_PIPELINED: Final = 64
_HEAD: Final = 65_536
"""Bytes beyond `http.limits.headersize` after which not even the application is asked."""

_log = structlog.get_logger("entrepot.server")


class Connection(asyncio.Protocol):
    """One client's connection. Requests are answered one after the other, in the order in which
    they came.
    """

    def __init__(self, server: "Http1Server") -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._common: dict[str, Any]
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._between = True
        """Whether the parser has seen the end of a request, and nothing of the next one."""
        self._in_head = False
        self._heads = self._head_size = self._parsed = 0
        self._known = Heads(server.known)
        self._head: Head | None = None
        """What the last request said, if it may be known when it comes again."""
        self._incoming: Exchange | None = None
        """The request whose body is on its way."""
        self._raw = 0
        """Bytes of that body that are still to come, past the parser."""
        self._current: Exchange | None = None
        """The request that is being answered."""
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Exchange] = deque()
        self._paused = self._full = False
        self._room: asyncio.Future[None] | None = None
        self._lingers = False
        self.since = server.now()
        """When the connection began to wait for what it waits for now."""

    # What asyncio tells -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        own = transport.get_extra_info("sockname")
        self._common = new_scope(
            client=(peer[0], peer[1]) if isinstance(peer, tuple) else None,
            server=(own[0], own[1]) if isinstance(own, tuple) else (own, None),
            tls=transport.get_extra_info("tls"),
        )
        self._server.connections.add(self)
        if self._server.finishing:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._server.lost(self)
        for exchange in (self._current, self._incoming, *self._waiting):
            if exchange is not None:
                exchange.lose()
        self._waiting.clear()
        self.resume_writing()

    def eof_received(self) -> bool:
        """The client sends no more. It may still read the answer to what it has sent whole."""
        whole = self._incoming is None and self._current is not None and not self._lingers
        for exchange in (self._current, *self._waiting):
            if exchange is not None:
                exchange.keep_alive = False
        return whole

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        if self._raw:
            data = self._take_raw(data)
        if self._between and self._current is None:
            known = self._known.find(data)
            if known is not None:
                exchange = self._exchange(known)
                exchange.end_body()
                self._start(exchange)
                return
        if data:
            self._parse(data)

    # Reading ------------------------------------------------------------------------------------

    def _take_raw(self, data: bytes) -> bytes:
        """Hand the body on; return what comes behind it."""
        exchange = self._incoming
        if exchange is None:
            raise RuntimeError("a body without a request")
        rest = data[self._raw :] if len(data) > self._raw else b""
        if rest:
            data = data[: self._raw]
        self._raw -= len(data)
        self._feed(exchange, data)
        if not self._raw:
            self._parser = httptools.HttpRequestParser(self)
            self._between = True
            self._end_incoming()
        return rest

    def _parse(self, data: bytes) -> None:
        began, self._between = self._between, False
        heads = self._heads
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # Nothing is upgraded here: the request is answered as if nobody had asked.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                if self._incoming is not None:
                    self._end_incoming()
                continue
            except httptools.HttpParserError:
                self._refuse(400)
                return
            break
        incoming = self._incoming
        if self._in_head:
            if not self._head_size and self._current is None:
                self.since = self._server.now()
            self._head_size += len(data)
            if self._head_size > self._server.head_size:
                self._refuse(431)
        elif incoming is not None:
            if incoming.length is not None:
                self._raw = incoming.length - self._parsed
        elif self._heads > heads and data.endswith(b"\r\n\r\n"):
            self._between = True
            if began and self._heads == heads + 1 and self._head is not None:
                self._known.keep(data, self._head)

    def on_url(self, url: bytes) -> None:
        self._in_head = True
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes behind a body in chunks is of no use
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        url, self._url, self._headers = self._url, b"", []
        self._in_head, self._head_size, self._parsed = False, 0, 0
        self._heads += 1
        names = dict(headers)
        version = parser.get_http_version()
        path, raw, query = split_target(url)
        head = Head(
            {
                "http_version": version,
                "method": parser.get_method().decode(),
                "path": path,
                "raw_path": raw,
                "query_string": query,
                "headers": headers,
            },
            keep_alive=parser.should_keep_alive(),
        )
        length = None
        if b"content-length" in names and b"transfer-encoding" not in names:
            length = int(names[b"content-length"])
        expects = names.get(b"expect", b"").lower() == b"100-continue"
        self._incoming = exchange = self._exchange(head, length=length, expects=expects)
        self._head = None
        if self._lingers:
            return
        if b"host" not in names and version == "1.1":
            self._refuse(400)
        elif self._current is None:
            self._head = head
            self._start(exchange)
        elif len(self._waiting) < _PIPELINED:
            self._waiting.append(exchange)
            self._pause()
        else:
            self._refuse(400)

    def _exchange(
        self, head: Head, *, length: int | None = None, expects: bool = False
    ) -> Exchange:
        return Exchange(
            self,
            {**self._common, **head.scope},
            length=length,
            keep_alive=self._server.keeps_alive and head.keep_alive,
            expects=expects,
        )

    def on_body(self, body: bytes) -> None:
        if self._incoming is not None:
            self._parsed += len(body)
            self._feed(self._incoming, body)

    def on_message_complete(self) -> None:
        if self._incoming is not None:
            self._end_incoming()

    def _feed(self, exchange: Exchange, data: bytes) -> None:
        if not exchange.feed(data):
            self._pause()

    def _end_incoming(self) -> None:
        exchange, self._incoming, self._raw = self._incoming, None, 0
        if exchange is not None:
            exchange.end_body()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Let the client send more."""
        if self._paused and not self._waiting and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # Answering ----------------------------------------------------------------------------------

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        self._task = self._server.run(self, exchange)

    def write(self, data: bytes) -> None:
        """Send, unless the client has gone."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until less than what asyncio calls too much waits to be sent."""
        while self._full and not self._transport.is_closing():
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def answered(self, exchange: Exchange, *, whole: bool) -> None:
        """Go on with the next request, or end."""
        self._current = None
        if self._lingers:
            return
        self.since = self._server.now()
        if not whole:
            self._transport.abort()
        elif not exchange.body_ended or (self._paused and not exchange.keep_alive):
            self._linger()
        elif exchange.closes or not exchange.keep_alive or self._server.finishing:
            self._transport.close()
        elif self._waiting:
            following = self._waiting.popleft()
            self.read_on()
            self._start(following)
        else:
            self.read_on()

    def failed(self, exchange: Exchange) -> None:
        """The application left a request without its whole answer."""
        if exchange.started or self._transport.is_closing():
            self._transport.abort()
        else:
            exchange.ended = True
            self.write(refusal(500))
            self._linger()

    def cut(self) -> None:
        """End without an answer."""
        self._transport.abort()

    def _refuse(self, status: int) -> None:
        """Answer what is no request, and end; an answer that is being made says that it is the last
        one instead.
        """
        self._waiting.clear()
        current = self._current
        if current is not None and current.body_ended:
            current.keep_alive = False
            self._pause()
            return
        if current is not None:
            current.lose()
        if current is None or not current.started:
            self.write(refusal(status))
        self._linger()

    def _linger(self) -> None:
        """Say that the answer is over, and drop what still comes, for a while."""
        self._current, self._lingers, self._raw = None, True, 0
        self.since = self._server.now()
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()

    # Ending -------------------------------------------------------------------------------------

    def look(self, now: float, *, patience: float) -> None:
        """Close the connection if it has waited for too long for its client."""
        waited = now - self.since
        if self._lingers:
            if waited > LINGER:
                self._transport.abort()
        elif self._current is None and patience and waited > patience:
            self._transport.close()

    def finish(self) -> None:
        """Close the connection, after the request that is being answered."""
        if self._current is None and not self._lingers:
            self._transport.close()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What answers a request at the moment."""
        return self._task if self._current is not None else None


class Http1Server:
    """Serves an ASGI application on a socket that is listening already, and whose owner this
    becomes, until `finish`; then takes no connections, and ends with the last request.
    """

    has_failed = False

    def __init__(
        self,
        application: Application,
        *,
        listener: socket.socket,
        http: Http,
        most: int,
        share: Share,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`most` connections are held at once; more wait until one is closed."""
        limits = http.limits
        self._application = application
        self._acceptor = Acceptor(
            listener, share=share, most=most, held=self._held, take=self._take
        )
        unlimited = not (limits.headertimeout and limits.keepalivetimeout)
        self._patience = 0.0 if unlimited else max(limits.headertimeout, limits.keepalivetimeout)
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._opening: set[asyncio.Task[Any]] = set()
        refused = application.certificate_refused
        self._handshakes = Handshakes(tls, told=refused, ended=self._one_less)
        self.now = self._loop.time
        self.keeps_alive = limits.keepalivetimeout > 0
        self.head_size = limits.headersize + _HEAD
        self.connections: set[Connection] = set()
        self.known: dict[bytes, Head] = {}
        self.finishing = False

    async def serve(self) -> None:
        """Serve until the last request after `finish`."""
        looking = asyncio.ensure_future(self._look())
        self._acceptor.go_on()
        await self._ended.wait()
        looking.cancel()
        names = ((getattr(task.get_coro(), "__name__", ""), task) for task in asyncio.all_tasks())
        await asyncio.gather(*(task for name, task in names if name == "_answer"))

    def stop_accepting(self) -> None:
        """Leave new connections to the others that listen on the same socket."""
        self._acceptor.stop()

    def finish(self) -> None:
        """Refuse connections, close the idle ones, and let `serve` return after the last request.

        Others that listen on the same socket go on.
        """
        self.finishing = True
        self._acceptor.close()
        self._handshakes.abort()
        for connection in list(self.connections):
            connection.finish()
        self._one_less()

    def running(self) -> list[asyncio.Task[Any]]:
        """Return what answers requests at the moment."""
        tasks = (connection.task for connection in self.connections)
        return [task for task in tasks if task is not None]

    def _held(self) -> int:
        return len(self.connections) + len(self._opening) + len(self._handshakes)

    def _take(self, accepted: socket.socket) -> None:
        opening = self._loop.create_task(self._open(accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        opening.add_done_callback(self._one_less)

    async def _open(self, accepted: socket.socket) -> None:
        secure = self._handshakes.secure
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(lambda: secure(Connection(self)), accepted)

    def lost(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        self._one_less()

    def _one_less(self, *_: object) -> None:
        """There may be room for another connection, or none is left."""
        if not self.finishing:
            self._acceptor.go_on()
        elif not self._held():
            self._ended.set()

    async def _look(self) -> None:
        """Close connections that wait for too long."""
        pause = min(1.0, self._patience / 4) if self._patience else 1.0
        while True:
            await asyncio.sleep(pause)
            now = self.now()
            self._handshakes.look(now)
            for connection in list(self.connections):
                connection.look(now, patience=self._patience)

    # Requests -----------------------------------------------------------------------------------

    def run(self, connection: Connection, exchange: Exchange) -> "asyncio.Task[None]":
        """Have the application answer."""
        return self._loop.create_task(self._answer(connection, exchange))

    async def _answer(self, connection: Connection, exchange: Exchange) -> None:
        try:
            await self._application(exchange.scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            connection.cut()
            return
        except Exception:  # noqa: BLE001 - nothing that an application does may end the server
            _log.exception("the application failed")
        if not exchange.ended:
            connection.failed(exchange)
