"""Addresses to listen on, in the forms that Go's net.Listen takes."""

import ipaddress
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address; an empty `host` is every interface of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def bind_host(self) -> str:
        """The host to bind: for every interface "::" (both protocols), "0.0.0.0" without IPv6."""
        if self.host:
            return self.host
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::", 0))
        except OSError:
            return "0.0.0.0"  # noqa: S104 (every interface is what the address says)
        return "::"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_address(text: str) -> Address:
    """The address written as ":5000", "0.0.0.0:5000", "[::1]:5000" or "localhost:5000".

    Raises ValueError, saying what is wrong, for anything else.
    """
    expected = "expected host:port, such as :5000 or 127.0.0.1:5000"
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"no port in {text!r}; {expected}")
    if host.startswith("[") and host.endswith("]"):
        host = _ipv6(host[1:-1], text=text)
    elif ":" in host:
        raise ValueError(f"an IPv6 address needs brackets in {text!r}; {expected}")
    if any(c.isspace() or c in "/[]@" for c in host) or not host.isprintable():
        raise ValueError(f"no host name in {text!r}; {expected}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"the port in {text!r} is not a number from 0 to 65535; {expected}")
    return Address(host, int(port))


def _ipv6(host: str, *, text: str) -> str:
    try:
        ipaddress.IPv6Address(host)
    except ValueError as error:
        raise ValueError(f"no IPv6 address between the brackets of {text!r}") from error
    return host
