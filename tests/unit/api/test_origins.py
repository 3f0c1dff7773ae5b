"""Where a request comes from, and who is believed about it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.api.http import Request
from entrepot.api.origins import Origins
from entrepot.core.access import Origin


def request(peer: str | None, *, shown: str = "", **headers: str) -> Request:
    """A request whose sender has shown a certificate to the server itself."""
    scope: dict[str, Any] = {
        "extensions": {"tls": {"client_cert_chain": [shown] if shown else []}},
        "method": "GET",
        "path": "/",
        "headers": [
            (name.replace("_", "-").encode(), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ],
        "client": None if peer is None else (peer, 1),
    }

    async def receive() -> dict[str, Any]:
        return {}

    return Request(scope, receive, idle=1.0)


@pytest.mark.parametrize(
    "peer, forwarded, address",
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.1.1.1, 10.9.9.9", "10.1.1.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("2001:db8:ffff::1", "198.51.100.1", "198.51.100.1"),
        (None, "198.51.100.1", ""),
    ],
)
def test_the_address(peer: str | None, forwarded: str, address: str) -> None:
    """The last one that is no trusted proxy's, and never one that a stranger made up."""
    origins = Origins(["10.0.0.0/8", "2001:db8:ffff::/48"])
    assert origins.of(request(peer, x_forwarded_for=forwarded)).address == address


def test_nobody_is_believed_by_default() -> None:
    headers = {"x_forwarded_for": "198.51.100.1", "x_cert": "pem", "x_verify": "SUCCESS"}
    assert Origins().of(request("127.0.0.1", **headers)) == Origin("127.0.0.1")
    assert Origins().of(request(None, **headers)) == Origin("")


def test_a_proxy_on_a_unix_socket() -> None:
    origins = Origins(["unix"], certificate=("X-Cert", "X-Verify"))
    headers = {"x_forwarded_for": "198.51.100.1", "x_cert": "pem", "x_verify": "SUCCESS"}
    assert origins.of(request(None, **headers)) == Origin("198.51.100.1", "pem")
    assert origins.of(request("127.0.0.1", **headers)) == Origin("127.0.0.1")


@pytest.mark.parametrize("verified", ["", "NONE", "FAILED:expired", "success", "SUCCESS,NONE"])
def test_a_certificate_that_is_not_verified_is_none(verified: str) -> None:
    origins = Origins(["10.0.0.1"], certificate=("X-Cert", "X-Verify"))
    assert origins.of(request("10.0.0.1", x_cert="pem", x_verify=verified)).certificate == ""


HEADERS = {"x_cert": "of%20the%20header", "x_verify": "SUCCESS"}


@pytest.mark.parametrize(
    "peer, headers, certificate",
    [
        ("192.0.2.1", {}, "of the connection"),
        ("192.0.2.1", HEADERS, "of the connection"),
        ("10.0.0.1", HEADERS, "of the header"),
        ("10.0.0.1", {}, ""),
        ("10.0.0.1", {**HEADERS, "x_verify": "NONE"}, ""),
    ],
)
def test_whose_certificate_counts(peer: str, headers: dict[str, str], certificate: str) -> None:
    """A stranger's header never does, and what a proxy shows is its own, not its client's."""
    origins = Origins(["10.0.0.0/8"], certificate=("X-Cert", "X-Verify"))
    asked = request(peer, shown="of the connection", **headers)
    assert origins.of(asked).certificate == certificate


def test_a_certificate_tells_nobody_where_it_is_only_a_gate() -> None:
    assert Origins().of(request("192.0.2.1", shown="pem")) == Origin("192.0.2.1")


@given(st.text(max_size=200))
def test_no_header_makes_it_fail(forwarded: str) -> None:
    origins = Origins(["10.0.0.0/8"])
    assert origins.of(request("10.0.0.1", x_forwarded_for=forwarded)).address
