"""The heads of HTTP/1.1 requests, as ASGI wants them, and those that are known already."""

import contextlib
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

_MOST: Final = 1024
_SIZE: Final = 2048
"""Heads that are known when they come again byte for byte, and the most bytes of one."""


class Head(NamedTuple):
    """What a request says: its part of ASGI's scope, and whether another may follow."""

    scope: dict[str, Any]
    keep_alive: bool


class Heads(dict[bytes, Head]):
    """Heads by their bytes: a request that a client repeats needs no parser."""

    def keep(self, data: bytes, head: Head) -> None:
        """Know a request when it comes again; forget all others when there are too many."""
        if len(data) <= _SIZE:
            if len(self) >= _MOST:
                self.clear()
            self[data] = head


@lru_cache(maxsize=4096)
def split_target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, decoded and as it came, and the query of what a request is about."""
    raw, _, query = url.partition(b"?")
    if not url.startswith(b"/"):  # a whole URL, `*`, or nonsense
        with contextlib.suppress(httptools.HttpParserInvalidURLError):
            parsed = httptools.parse_url(url)
            raw, query = parsed.path or b"/", parsed.query or b""
    return unquote_to_bytes(raw).decode(errors="replace"), raw, query
