"""One HTTP/1.1 request and its answer, as ASGI's `receive` and `send`."""

import asyncio
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, Protocol

from entrepot.server.lifespan import Message

HELD: Final = 2 << 20
"""Bytes of a body that are held before the client is made to wait."""

_JOINED: Final = 64 << 10
"""Up to so many bytes the head and the body are written as one piece."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_END: Final = b"\r\n"
_BODILESS: Final = frozenset({204, 304})
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus
}


_MOST_DRAWN: Final = 1024

Headers = tuple[tuple[bytes, bytes], ...]
Drawn = tuple[bytes, int | None, bool]
_drawn: Final[dict[Headers, Drawn]] = {}

WHOLE: Final = "entrepot.response"
"""A message beside ASGI's own: an answer in one piece, with the keys of both of its messages. The
extension of the same name in a scope says that it may be sent.
"""


class AnswerError(Exception):
    """An application answered what can't be sent; the text says what is wrong with it."""


class Line(Protocol):
    """The connection, as an exchange needs it."""

    def write(self, data: bytes) -> None:
        """Send."""

    async def drained(self) -> None:
        """Wait until not too much waits to be sent, or nobody will read it any more."""

    def read_on(self) -> None:
        """Let the client send more of its body."""

    def answered(self, exchange: "Exchange", *, whole: bool) -> None:
        """Go on after an answer; `whole` is whether it has the length that it announced."""


class Exchange:
    """`keep_alive` is whether another request may follow, `expects` whether the client waits to be
    told to send its body.
    """

    body_ended = False
    closes = False
    """Whether the answer says that it is the last one."""
    started = ended = gone = False
    _told = _chunked = _bodiless = False
    _held = 0
    _head: bytes | None = None
    _left: int | None = None
    _waiter: asyncio.Future[None] | None = None

    def __init__(
        self, line: Line, scope: Message, *, length: int | None, keep_alive: bool, expects: bool
    ) -> None:
        self.scope = scope
        self.length = length
        """Bytes of the body as announced; None without an announcement."""
        self.keep_alive = keep_alive
        self._line = line
        self._expects = expects
        self._pieces: list[bytes] = []

    # What the client sends ----------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Take a piece of the body; return whether the client may send more at once."""
        if self.ended:
            return True
        self._pieces.append(data)
        self._held += len(data)
        self._wake()
        return self._held < HELD

    def end_body(self) -> None:
        """The body is complete."""
        self.body_ended = True
        if self._waiter is not None:
            self._wake()

    def lose(self) -> None:
        """The client has gone."""
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def receive(self) -> Message:
        """ASGI's `receive`. Pieces that came since the last call come as one."""
        if self._expects and not self.started:
            self._expects = False
            if not self._pieces and not self.body_ended:
                self._line.write(_CONTINUE)
        while True:
            if self._pieces:
                pieces, self._pieces = self._pieces, []
                if self._held >= HELD:
                    self._line.read_on()
                self._held = 0
                body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                self._told = self.body_ended
                return {"type": "http.request", "body": body, "more_body": not self._told}
            if self.gone or self.ended:
                return {"type": "http.disconnect"}
            if self.body_ended and not self._told:
                self._told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    # What is answered ---------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """ASGI's `send`. What nobody can read any more is dropped.

        Raises:
            AnswerError: the answer is not one that may be sent.
        """
        kind = message["type"]
        if kind != "http.response.body":
            self._begin(message["status"], message["headers"])
            if kind != WHOLE:
                return
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if self.ended or (self._head is None and not self.started):
            raise AnswerError("a body without a beginning, or after the end")
        self._write(body, more=more)
        if more:
            await self._line.drained()
            return
        self.ended = True
        if self._waiter is not None:
            self._wake()
        self._line.answered(self, whole=self._bodiless or not self._left)

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self.started or self._head is not None:
            raise AnswerError("a second beginning")
        drawn = _drawn.get(tuple(headers)) if status == 200 else None
        lines, length, dated = drawn or _draw(status, headers)
        version = self.scope["http_version"]
        self._bodiless = status in _BODILESS or self.scope["method"] == "HEAD"
        more = b"" if dated else _date(int(time.time()))
        if length is not None:
            self._left = length
        elif not self._bodiless:
            self._chunked = version == "1.1"
            if self._chunked:
                more += b"transfer-encoding: chunked\r\n"
            else:
                self.keep_alive = False
        if not self.keep_alive or not self.body_ended:
            self.closes = True
            more += b"connection: close\r\n"
        elif version == "1.0":
            more += b"connection: keep-alive\r\n"
        self._head = b"%b%b\r\n" % (lines, more)

    def _write(self, body: bytes, *, more: bool) -> None:
        if self._bodiless:
            body = b""
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0:
                raise AnswerError("more body than was announced")
        elif self._chunked:
            end = b"" if more else b"0\r\n\r\n"
            body = b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end
        head, self._head, self.started = self._head, None, True
        if self.gone:
            return
        if head is None:
            if body:
                self._line.write(body)
        elif len(body) <= _JOINED:
            self._line.write(head + body)
        else:
            self._line.write(head)
            self._line.write(body)


def _draw(status: int, headers: list[tuple[bytes, bytes]]) -> Drawn:
    """Return the lines of an answer's head, the length that they announce, and whether they have a
    date. Those of answers like others, as most are, are remembered; not what may hold a secret,
    such as a cookie or a signed address.

    Raises:
        AnswerError: a header holds the end of a line.
    """
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status]
    lines += [b"%b: %b" % header for header in headers]
    text = b"".join([line + _END for line in lines])
    if text.count(b"\n") != len(lines) or text.count(b"\r") != len(lines):
        raise AnswerError("a header holds the end of a line")
    known = dict(headers)
    length = known.get(b"content-length")
    drawn = text, None if length is None else int(length), b"date" in known
    if status == 200 and b"set-cookie" not in known:
        if len(_drawn) >= _MOST_DRAWN:
            _drawn.clear()
        _drawn[tuple(headers)] = drawn
    return drawn


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode()


def refusal(status: int) -> bytes:
    """Return a whole answer to what is no request of HTTP, after which the connection ends."""
    lines = (_STATUS_LINES[status], b"content-length: 0", b"connection: close", _END)
    return b"\r\n".join(lines)


def new_scope(*, client: Any, server: Any, tls: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the scopes of all requests of a connection have in common; `tls` is ASGI's
    extension of that name.
    """
    extensions: dict[str, Any] = {WHOLE: {}}
    if tls is not None:
        extensions["tls"] = tls
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "scheme": "http" if tls is None else "https",
        "root_path": "",
        "client": client,
        "server": server,
        "extensions": extensions,
    }
