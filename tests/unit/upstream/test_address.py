"""Addresses of registries, and what is left of addresses in messages."""

from __future__ import annotations

import pytest

from entrepot.upstream import UpstreamAddress, UpstreamAddressError
from entrepot.upstream.address import is_address, joined, origin, without_query


@pytest.mark.parametrize(
    "text, url, host",
    [
        ("https://old", "https://old", "old"),
        ("https://old/", "https://old", "old"),
        ("http://old:5000/v2/", "http://old:5000", "old:5000"),
        ("https://old/harbor/", "https://old/harbor", "old"),
        ("https://[::1]:5000", "https://[::1]:5000", "[::1]:5000"),
    ],
)
def test_addresses(text: str, url: str, host: str) -> None:
    address = UpstreamAddress.parse(text)
    assert (address.url, address.host) == (url, host)
    assert address.encrypted == url.startswith("https")


@pytest.mark.parametrize(
    "text",
    [
        *("", "old:5000", "old", "ftp://old", "https://", "https://old:port", "https://old:99999"),
        *("https://u:hidden@old", "https://hidden@old", "https://old?x=hidden", "https://old#x"),
        "https://[::1",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(UpstreamAddressError) as told:
        UpstreamAddress.parse(text)
    assert "hidden" not in str(told.value)


def test_origins() -> None:
    assert origin("https://old/x") == origin("https://OLD:443/y")
    assert origin("https://old") != origin("http://old")
    assert origin("https://old") != origin("https://old:444")


def test_what_may_be_shown() -> None:
    assert without_query("https://u:p@old:1/a?signature=x#y") == "https://old:1/a"


def test_links() -> None:
    assert joined("https://old/v2/a", "/v2/b?c=d") == "https://old/v2/b?c=d"
    assert joined("https://old/v2/a", "//other/b") == "https://other/b"
    for link in ("javascript:x", "https://u@old/", "http://[", "https://old:0/"):
        assert joined("https://old/", link) is None
    assert not is_address("https://old/" + "a" * 20_000)
