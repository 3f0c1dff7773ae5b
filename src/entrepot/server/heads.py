"""The heads of HTTP/1.1 requests, as ASGI wants them, and those that are known already."""

import contextlib
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

_MOST: Final = 1024
_SIZE: Final = 2048
"""Heads that are known when they come again byte for byte, and the most bytes of one."""

_OWN: Final = 8
"""Heads with a secret that a connection knows."""

_BODIES: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
_SECRETS: Final = frozenset({b"authorization", b"proxy-authorization", b"cookie"})


AGAIN: Final = "entrepot.again"
"""What an application may note of such a request is under this key of the scope, in a dictionary
that all requests have which come byte for byte alike on one connection after the first; only of
those with a secret, for what others say is the same on all connections.
"""


class Head(NamedTuple):
    """What a request says: its part of ASGI's scope, and whether another may follow."""

    scope: dict[str, Any]
    keep_alive: bool


class Heads:
    """Heads of requests without a body, by their bytes: one that comes again needs no parser.

    Those without a secret are known on all connections of a server, which share `common`; of those
    with one a connection knows its last few, so that no secret stays for longer than who sent it.
    """

    def __init__(self, common: dict[bytes, Head]) -> None:
        self._common = common
        self._own: dict[bytes, Head] = {}

    def find(self, data: bytes) -> Head | None:
        """Return what a request says whose bytes are known, or None."""
        return self._own.get(data) or self._common.get(data)

    def keep(self, data: bytes, head: Head) -> None:
        """Know a request when it comes again, unless it may have a body; forget all others when
        there are too many.
        """
        names = {name for name, _ in head.scope["headers"]}
        if len(data) > _SIZE or not names.isdisjoint(_BODIES):
            return
        if not names.isdisjoint(_SECRETS):
            if len(self._own) >= _OWN:
                del self._own[next(iter(self._own))]
            self._own[data] = head
            head.scope[AGAIN] = {}
            return
        if len(self._common) >= _MOST:
            self._common.clear()
        self._common[data] = head


@lru_cache(maxsize=4096)
def split_target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, decoded and as it came, and the query of what a request is about."""
    raw, _, query = url.partition(b"?")
    if not url.startswith(b"/"):  # a whole URL, `*`, or nonsense
        with contextlib.suppress(httptools.HttpParserInvalidURLError):
            parsed = httptools.parse_url(url)
            raw, query = parsed.path or b"/", parsed.query or b""
    return unquote_to_bytes(raw).decode(errors="replace"), raw, query
