"""Go's durations, and addresses as Go's net.Listen takes them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.config.address import Address, UnixAddress, parse_address
from entrepot.config.duration import format_duration, from_nanoseconds, parse_duration
from entrepot.config.schema_http import Http


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("0", 0.0),
        ("+0", 0.0),
        ("-0", 0.0),
        ("5s", 5.0),
        ("168h", 604800.0),
        ("1h30m", 5400.0),
        ("1h15m30.918s", 4530.918),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("-1.5h", -5400.0),
        ("+5s", 5.0),
        ("100ms", 0.1),
        ("12us", 12e-6),
        ("12µs", 12e-6),
        ("12μs", 12e-6),
        ("7ns", 7e-9),
        ("1s1s", 2.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Everything that Go's time.ParseDuration takes."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", "5", "5 s", "1d", "1h-5m", "-", "+", "--1s", ".s", "1e3s", "9999999h", "1S", "٣s"],
)
def test_no_durations(text: str) -> None:
    """Everything that it refuses, and more than 292 years."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.0, "0s"),
        (5400.0, "1h30m"),
        (604800.0, "168h"),
        (90.5, "1m30.5s"),
        (0.1, "100ms"),
        (1.2e-5, "12us"),
        (7e-9, "7ns"),
        (60.0, "1m"),
        (-30.0, "-30s"),
        (10.0, "10s"),
        (100.0, "1m40s"),
    ],
)
def test_formatting(seconds: float, text: str) -> None:
    """Short, and in Go's form."""
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**17), max_value=10**17))
def test_what_is_formatted_can_be_read(nanoseconds: int) -> None:
    """format_duration and parse_duration are each other's inverse."""
    seconds = from_nanoseconds(nanoseconds)
    read = parse_duration(format_duration(seconds))
    assert math.isclose(read, seconds, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize(
    "text, host, port",
    [
        (":5000", "", 5000),
        ("0.0.0.0:5000", "0.0.0.0", 5000),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:5000", "::1", 5000),
        ("[::]:5000", "::", 5000),
        ("localhost:5000", "localhost", 5000),
        ("registry.example.com:443", "registry.example.com", 443),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    """Host and port; an IPv6 address in brackets; no host is every interface."""
    address = parse_address(text)
    assert address == Address(host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5000",
        "localhost",
        ":",
        "localhost:",
        ":http",
        ":70000",
        ":-1",
        "::1:5000",
        "[::1:5000",
        "[x]:1",
        "http://a:5000",
        "a b:5",
        ":٣",
        "a\n:5",
        ":5000000000000000000000",
    ],
)
def test_no_addresses(text: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@pytest.mark.parametrize(
    "host, loopback",
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("::", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("example.com", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Whether other machines can reach an address."""
    assert Address(host, 1).is_loopback is loopback


def test_what_is_bound() -> None:
    """Every interface is "::" where there is IPv6, which takes IPv4 as well."""
    assert Address("", 1).bind_host in ("::", "0.0.0.0")
    assert Address("127.0.0.1", 1).bind_host == "127.0.0.1"


def test_listening() -> None:
    """`net: unix` makes the address a path."""
    assert Http().listen() == Address("", 5000)
    unix = Http(net="unix", addr="/run/registry.sock").listen()
    assert unix == UnixAddress("/run/registry.sock")
    assert str(unix) == "unix:/run/registry.sock"
    assert Http().debug_listen() is None


@pytest.mark.parametrize(
    "prefix, path", [("", ""), ("/", ""), ("/hub/", "/hub"), ("hub", "/hub"), ("/a/b/", "/a/b")]
)
def test_path_prefix(prefix: str, path: str) -> None:
    """One form for the routes, however the prefix was written."""
    assert Http(prefix=prefix).path_prefix == path
