"""Requests and responses, as the handlers see them."""

import asyncio
import re
import secrets
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    MutableMapping,
)
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from entrepot.core.access import Identity
from entrepot.core.audit import Actor
from entrepot.core.decision import Decision
from entrepot.core.errors import ClientDisconnectedError, RequestTimeoutError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

DRAIN: Final = 16 * 1_048_576
"""Bytes of a refused request that are read and dropped, so that its client reads the answer."""

AHEAD: Final = 16
AHEAD_BYTES: Final = 1_048_576
"""The most pieces of a body that are asked for before they are needed, and roughly their bytes.

A body of known length comes in pieces as large as the server's buffer, so two of them are enough.
"""

_FORWARDED: Final = frozenset({b"forwarded", b"x-forwarded-proto", b"x-forwarded-host"})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}")


class Request:
    """One HTTP request. `path` is decoded; `identity` is the caller, `actor` the caller's name and
    `address` the client's once they are known, `decision` why it was let in if that was asked,
    `as_of` the revision of rights which that was decided by if it may be an old one,
    `sent` what an operation of `/api/v1` was given, `received` the bytes of the body that were
    read.
    """

    __slots__ = (
        "_asked",
        "_by_name",
        "_id",
        "_idle",
        "_pieces",
        "_query",
        "_receive",
        "actor",
        "address",
        "as_of",
        "decision",
        "headers",
        "identity",
        "method",
        "path",
        "received",
        "scope",
        "sent",
    )

    def __init__(self, scope: Scope, receive: Receive, *, idle: float) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Headers = scope["headers"]
        self._by_name: dict[bytes, bytes] = dict(self.headers)
        self.actor: str | None = None
        self.identity: Identity
        self.address = ""
        self.decision: Decision | None = None
        self.as_of: int | None = None
        self.sent: Any = None
        self._id = ""
        self._query: dict[str, list[str]] | None = None
        self._idle = idle
        self._receive = receive
        self._pieces: AsyncGenerator[bytes, None] | None = None
        self._asked = False
        """Whether the client was asked for its body."""
        self.received = 0

    def header(self, name: bytes) -> str | None:
        """Return a header by its lower-case name; several lines are joined by commas."""
        last = self._by_name.get(name)
        if last is None:
            return None
        if len(self._by_name) == len(self.headers):
            return last.decode("latin-1")
        return b",".join(value for key, value in self.headers if key == name).decode("latin-1")

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the query, each with all its values."""
        if self._query is None:
            text: str = self.scope["query_string"].decode("latin-1")
            self._query = parse_qs(text, keep_blank_values=True) if text else {}
        return self._query

    @property
    def forwarded(self) -> bool:
        """Whether a proxy in front says how the client addressed it."""
        return not _FORWARDED.isdisjoint(self._by_name)

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        values = self.query.get(name)
        return values[0] if values else None

    @property
    def content_length(self) -> int | None:
        """The bytes that the client announced, or None for a body that ends when it ends."""
        text = self.header(b"content-length")
        return int(text) if text is not None and text.isascii() and text.isdigit() else None

    @property
    def id(self) -> str:
        """The id by which logs and answers name this request: the caller's, or a new one."""
        if not self._id:
            given = self.header(b"x-request-id")
            known = given and _REQUEST_ID.fullmatch(given)
            self._id = given if given and known else secrets.token_hex(16)
        return self._id

    @property
    def client(self) -> str:
        """The address of the peer, empty if it has none (a Unix socket)."""
        peer = self.scope.get("client")
        return peer[0].removeprefix("::ffff:") if peer else ""

    @property
    def called_from(self) -> Actor:
        """Somebody, from where it was sent, for the audit log."""
        return Actor(address=self.address or self.client, request=self.id)

    @property
    def caller(self) -> Actor:
        """Who sent it, from where, and why it was let in, for the audit log."""
        return self.called(self.identity)

    def called(self, identity: Identity) -> Actor:
        """Return its sender for the audit log, if that is `identity`."""
        decision = self.decision
        grant = decision.grant if decision is not None else None
        return Actor(
            name=identity.name,
            kind=identity.kind,
            method=identity.method,
            credential=identity.credential,
            address=self.address or self.client,
            request=self.id,
            reason=decision.reason if decision is not None else "access control is off",
            grant=grant.id if grant is not None else 0,
        )

    def body(self) -> AsyncIterator[bytes]:
        """Give the body in the pieces in which it arrives; asked again, what is left of it.

        Raises:
            ClientDisconnectedError: the client went away before the end.
            RequestTimeoutError: nothing arrived for the idle timeout.
        """
        if self._pieces is None:
            self._pieces = self._read()
        return self._pieces

    async def _read(self) -> AsyncGenerator[bytes, None]:
        """Read the body.

        Docker sends pieces of 32 KiB, and to wait for each would cost far more than to handle it:
        several are asked for at once. The server answers in the order of asking.
        """
        self._asked = True
        rest = self.content_length
        asked: deque[Awaitable[Message]] = deque()
        ahead = 1
        patience = _Patience(self._idle)
        try:
            while rest is None or rest > 0:
                while len(asked) < ahead:
                    asked.append(self._receive())
                message = await self._next(asked.popleft(), patience)
                data = message.get("body", b"")
                if data:
                    self.received += len(data)
                    ahead = min(AHEAD_BYTES // len(data) + 1, AHEAD) if rest is None else 2
                    yield data
                if rest is not None:
                    rest -= len(data)
                if not message.get("more_body", False):
                    return
        finally:
            patience.end()
            for unused in asked:
                if isinstance(unused, Coroutine):
                    unused.close()

    async def _next(self, asked: Awaitable[Message], patience: "_Patience") -> Message:
        with patience:
            message = await asked
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError("the client went away")
        return message

    async def drain(self) -> None:
        """Read and drop what is left of a body that nobody wanted, if it is not too much."""
        unwanted = self.method in {"GET", "HEAD", "DELETE"} or self.header(b"expect")
        if unwanted and not self._asked:
            return
        dropped = 0
        with suppress(ClientDisconnectedError, RequestTimeoutError):
            async for data in self.body():
                dropped += len(data)
                if dropped > DRAIN:
                    break
        if self._pieces is not None:
            await self._pieces.aclose()

    def end(self) -> None:
        """Let go of the connection. An exception's traceback may hold the request until the next
        collection of garbage, and a body that is held but not read stops its client.
        """
        self._receive = _nothing
        self._pieces = None

    async def disconnected(self) -> None:
        """Return when the client has gone, or has its whole answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _nothing() -> Message:
    """Tell that there is no client any more."""
    return {"type": "http.disconnect"}


class _Patience:
    """Ends a wait that takes longer than `seconds`, by one timer for all the waits of a body:
    `asyncio.timeout` would make a timer for each, and cost as much as the wait itself.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._waiting: asyncio.Task[object] | None = None
        self._expired = False
        self._timer = self._loop.call_later(seconds, self._look)

    def __enter__(self) -> None:
        self._since = self._loop.time()
        self._waiting = asyncio.current_task()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        waiting, self._waiting = self._waiting, None
        if self._expired and waiting is not None and kind is asyncio.CancelledError:
            self._expired = False
            waiting.uncancel()
            raise RequestTimeoutError({"seconds": self._seconds}) from None

    def _look(self) -> None:
        left = self._seconds - (self._loop.time() - self._since)
        if self._waiting is not None and left <= 0:
            self._expired = True
            self._waiting.cancel()
        else:
            self._timer = self._loop.call_later(max(left, 1.0), self._look)

    def end(self) -> None:
        """Stop watching."""
        self._timer.cancel()


class Response:
    """One answer: a body in one piece, or in pieces whose lengths add up to `content-length`."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, headers: Headers, body: bytes | AsyncIterator[bytes] = b""
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def json_response(
    status: int,
    content: object,
    *,
    headers: Headers | None = None,
    kind: bytes = b"application/json",
) -> Response:
    """Return `content` as JSON."""
    body = msgspec.json.encode(content, enc_hook=str)
    fixed = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    return Response(status, fixed + (headers or []), body)


def empty_response(status: int, headers: Headers) -> Response:
    """Return an answer without a body."""
    return Response(status, [*headers, (b"content-length", b"0")])
