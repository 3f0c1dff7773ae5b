"""The sockets that the server listens on.

They are made by the supervising process and inherited by whoever accepts connections, so that those
which wait while a worker dies or is replaced are taken by another.
"""

import errno
import os
import socket
import stat
from pathlib import Path

from entrepot.config import Address, UnixAddress
from entrepot.server.errors import StartError

BACKLOG = 1024
"""Connections that wait for a worker at most."""


def bind(address: Address | UnixAddress) -> socket.socket:
    """Take an address without listening yet: until `listen` connections are refused.

    An empty host is every interface, IPv4 and IPv6. A Unix socket left over by a server that died
    is replaced. Raises StartError, saying why, if the address can't be had.
    """
    try:
        if isinstance(address, UnixAddress):
            return _bind_unix(Path(address.path))
        return _bind_tcp(address)
    except (OSError, UnicodeError) as error:
        raise StartError(f"can't listen on {address}: {_reason(error, address)}") from error


def listen(bound: socket.socket, *, address: Address | UnixAddress) -> None:
    """Let connections come in. Raises StartError if another server was quicker."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        raise StartError(f"can't listen on {address}: {_reason(error, address)}") from error


def _prepare(made: socket.socket) -> None:
    """Set what connections inherit: answers leave at once, and clients whose machine or network is
    gone are noticed after two minutes. No process that inherits the socket may ever wait in accept.
    """
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    made.setblocking(False)  # noqa: FBT003


def bound_address(bound: socket.socket, *, address: Address | UnixAddress) -> str:
    """The address as people write it, with the port that the system chose for port 0."""
    if isinstance(address, UnixAddress):
        return str(address)
    return str(Address(address.host, bound.getsockname()[1]))


def _bind_tcp(address: Address) -> socket.socket:
    found = socket.getaddrinfo(
        address.bind_host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # "localhost" has addresses of both kinds; like Go, and so registry:2, prefer IPv4.
    family, kind, protocol, _, target = min(found, key=lambda one: one[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        _prepare(bound)
        if family == socket.AF_INET6:
            everything = address.bind_host == "::"
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if everything else 1)
        bound.bind(target)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_unix(path: Path) -> socket.socket:
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(errno.EEXIST, "there is something that is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(os.fspath(path)) == 0:
                raise OSError(errno.EADDRINUSE, "")
        path.unlink()
    bound = socket.socket(socket.AF_UNIX)
    bound.setblocking(False)  # noqa: FBT003
    try:
        bound.bind(os.fspath(path))
    except OSError:
        bound.close()
        raise
    return bound


def _reason(error: OSError | UnicodeError, address: Address | UnixAddress) -> str:
    if isinstance(error, UnicodeError | socket.gaierror):
        return "the host name can't be resolved"
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there"
        case errno.EACCES if isinstance(address, Address):
            return f"not allowed; port {address.port} needs the capability CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return "this machine doesn't have the address"
    return error.strerror or str(error)
