"""Addresses that the registry hands out: right behind a proxy, as `registry:2` makes them."""

import re
from functools import lru_cache
from typing import Final

from entrepot.api.http import Request

_HOST: Final = re.compile(r"[A-Za-z0-9._\-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_FORWARDED: Final = re.compile(r'(?i)(?:^|[;,\s])(proto|host)=(?:"([^"]*)"|([^;,\s"]*))')


class Links:
    """Makes the addresses of one configuration (`http.host`, `http.prefix`, `http.relativeurls`).

    `host` may hold a scheme and wins over everything that a request says; `prefix` begins and ends
    with a slash.
    """

    def __init__(self, *, host: str, prefix: str, relative: bool) -> None:
        self._prefix = prefix.rstrip("/")
        self._relative = relative
        self._fixed = host.rstrip("/") if host else None

    def to(self, request: Request, path: str) -> bytes:
        """Return the address of `path`, absolute unless `http.relativeurls` is set."""
        if self._relative:
            return f"{self._prefix}{path}".encode()
        return f"{self._origin(request)}{self._prefix}{path}".encode()

    def absolute(self, request: Request, path: str) -> str:
        """Return the address of `path` with scheme and host, even with `http.relativeurls`."""
        return f"{self._origin(request)}{self._prefix}{path}"

    def local(self, path: str) -> str:
        """Return the address of `path` on the host that was asked."""
        return f"{self._prefix}{path}"

    def origin(self, request: Request) -> str:
        """Return scheme and host of the registry, as a browser's `Origin` has them."""
        return "/".join(self._origin(request).split("/")[:3])

    def is_secure(self, request: Request) -> bool:
        """Whether the client speaks TLS, with the registry or with a proxy in front."""
        return self._origin(request).startswith("https:")

    def following(self, path: str) -> bytes:
        """Return a `Link` header to the next page, always relative as in `registry:2`."""
        return f'<{self._prefix}{path}>; rel="next"'.encode()

    def _origin(self, request: Request) -> str:
        if self._fixed is not None:
            if "://" in self._fixed:
                return self._fixed
            return f"{_scheme(request)}://{self._fixed}"
        if not request.forwarded:
            return _plain_origin(request.scope["scheme"], request.header(b"host") or "")
        forwarded = _forwarded(request)
        scheme = forwarded.get("proto", "").lower() or _scheme(request)
        host = forwarded.get("host") or _first(request.header(b"x-forwarded-host"))
        if not host or not _HOST.fullmatch(host):
            host = request.header(b"host") or ""
        return _plain_origin(scheme, host)


@lru_cache(maxsize=256)
def _plain_origin(scheme: str, host: str) -> str:
    return f"{scheme}://{host}" if _HOST.fullmatch(host) else ""


def _scheme(request: Request) -> str:
    claimed = _first(request.header(b"x-forwarded-proto")).lower()
    return claimed if claimed in {"http", "https"} else request.scope["scheme"]


def _first(header: str | None) -> str:
    return (header or "").partition(",")[0].strip()


def _forwarded(request: Request) -> dict[str, str]:
    """Read the first element of the Forwarded header (RFC 7239)."""
    element = _first(request.header(b"forwarded"))
    found = {key.lower(): quoted or plain for key, quoted, plain in _FORWARDED.findall(element)}
    if found.get("proto", "").lower() not in {"http", "https"}:
        found.pop("proto", None)
    return found
