"""Where a request comes from: the client's address and certificate, also through proxies."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from entrepot.api.http import Request
from entrepot.core.access import Origin

_MOST_HOPS: Final = 32
_VERIFIED: Final = "SUCCESS"


class Origins:
    """Believes what `proxies` say about their clients, and nobody else.

    `proxies` are addresses, networks, and `unix` for whoever comes by a Unix socket. A proxy adds
    the address that it saw to the end of X-Forwarded-For; what a client wrote there before is
    passed over, because from the end on the first address that is no proxy's counts.

    With `certificate`, the names of two headers, certificates tell users. From a proxy the first
    one's value is the client's, URL-encoded, if the second says SUCCESS, nginx's word for one that
    was verified; what the proxy itself shows is not a client's. From anybody else it is what was
    shown to this server, which has verified it, and no header.
    """

    def __init__(
        self, proxies: Sequence[str] = (), *, certificate: tuple[str, str] | None = None
    ) -> None:
        self._networks = [ipaddress.ip_network(proxy) for proxy in proxies if proxy != "unix"]
        self._sockets = "unix" in proxies
        self._some = bool(proxies)
        self._certificate = (
            None
            if certificate is None
            else tuple(name.lower().encode("ascii") for name in certificate)
        )
        self._is_proxy = lru_cache(maxsize=1024)(self._look_up)

    def of(self, request: Request) -> Origin:
        """Return where `request` comes from."""
        peer = request.client
        if not self._some or not self._is_proxy(peer):
            return Origin(peer, self._shown(request))
        return Origin(self._client(peer, request), self._verified(request))

    def address_of(self, request: Request) -> str:
        """Return the address alone."""
        peer = request.client
        return self._client(peer, request) if self._some and self._is_proxy(peer) else peer

    def _client(self, peer: str, request: Request) -> str:
        """Return the last address that is no proxy's; the last proxy's if there is none."""
        address, forwarded = peer, request.header(b"x-forwarded-for") or ""
        for hop in reversed(forwarded.split(",")[-_MOST_HOPS:]):
            found = _address(hop.strip())
            if not found:
                break
            address = found
            if not self._is_proxy(address):
                break
        return address

    def _shown(self, request: Request) -> str:
        """Return what was shown to this server, by ASGI's extension `tls`."""
        shown = request.scope.get("extensions", {}).get("tls", {}).get("client_cert_chain")
        return shown[0] if shown and self._certificate is not None else ""

    def _verified(self, request: Request) -> str:
        if self._certificate is None:
            return ""
        certificate, verified = self._certificate
        if request.header(verified) != _VERIFIED:
            return ""
        return _unescaped(request.header(certificate) or "")

    def _look_up(self, address: str) -> bool:
        if not address:
            return self._sockets
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._networks)


@lru_cache(maxsize=256)
def _unescaped(text: str) -> str:
    return unquote(text, "latin-1")


def _address(hop: str) -> str:
    """Return the address in one field of X-Forwarded-For, which may have a port; else nothing."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(hop)
    except ValueError:
        return ""
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
