"""HTTP/1.1 on a connection: order, lengths, ends, and what is no HTTP."""

from __future__ import annotations

import asyncio

import pytest

from entrepot.config.schema_http import Limits
from tests.unit.server.sites import (
    KIB,
    Site,
    bodies,
    get,
    put,
    until,
    with_site,
)


def test_requests_that_come_at_once_are_answered_in_their_order() -> None:
    """Even if the first takes long; bodies of any framing in between."""

    async def scenario(site: Site) -> None:
        chunked = get("/c", "Transfer-Encoding: chunked", method="PUT")
        reader, writer = await site.open()
        writer.write(
            get("/held")
            + put("/b", b"x" * 5)
            + chunked
            + b"3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
            + get("/d")
        )
        await until(lambda: bool(site.echo.scopes))
        assert len(site.echo.scopes) == 1, "one at a time"
        site.echo.release.set()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
        assert bodies(answer) == [b"/held :0", b"/b xxxxx:5", b"/c abc:3", b"/d :0"]

    with_site(scenario)


@pytest.mark.parametrize("size", [0, 1, 255 * KIB, 3 * KIB * KIB])
@pytest.mark.parametrize("pieces", [1, 7])
def test_bodies_of_known_length(size: int, pieces: int) -> None:
    """Whole, however they are cut, with the next request right behind the last byte."""

    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        data = put("/a", b"x" * size) + put("/b", b"y" * 3)
        step = len(data) // pieces + 1
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
        first = b"x" * min(size, 16)
        assert bodies(answer) == [b"/a %s:%d" % (first, size), b"/b yyy:3"]

    with_site(scenario)


def test_a_byte_at_a_time() -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        for byte in put("/a%20b?q=1", b"xy") + get("/d"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        writer.write_eof()
        assert bodies(await asyncio.wait_for(reader.read(), 60)) == [b"/a b xy:2", b"/d :0"]
        assert site.echo.scopes[0]["query_string"] == b"q=1"

    with_site(scenario)


@pytest.mark.parametrize(
    "target, path, query",
    [
        ("/a/b", "/a/b", b""),
        ("/a?x=/b?c", "/a", b"x=/b?c"),
        ("http://other/a%2Fb?x", "/a/b", b"x"),
        ("http://other", "/", b""),
        ("/%ff", "/\ufffd", b""),
    ],
)
def test_targets(target: str, path: str, query: bytes) -> None:
    async def scenario(site: Site) -> None:
        await site.say(get(target))
        scope = site.echo.scopes[0]
        assert (scope["path"], scope["query_string"]) == (path, query)

    with_site(scenario)


def test_an_upgrade_is_not_made() -> None:
    """The request is answered in HTTP/1.1, and so is the next."""

    async def scenario(site: Site) -> None:
        asked = get("/a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
        assert bodies(await site.say(asked + get("/b"))) == [b"/a :0", b"/b :0"]

    with_site(scenario)


def test_a_client_that_waits_to_be_told_is_told_when_its_body_is_read() -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        writer.write(get("/a", "Content-Length: 2", "Expect: 100-continue", method="PUT"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"xy")
        writer.write_eof()
        assert bodies(await reader.read()) == [b"/a xy:2"]

    with_site(scenario)


def test_a_body_that_nobody_wants_ends_the_connection() -> None:
    """The answer can be read, says that it is the last, and what the client still sends does not
    take it away.
    """

    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        writer.write(get("/unread", f"Content-Length: {4 * KIB * KIB}", method="PUT"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"connection: close" in head
        for _ in range(4):
            writer.write(bytes(KIB * KIB))
            await writer.drain()
        assert await reader.read() == b"no"

    with_site(scenario)


def test_a_stream_is_in_chunks_or_to_the_end() -> None:
    async def scenario(site: Site) -> None:
        answer = await site.say(get("/stream"))
        assert b"transfer-encoding: chunked" in answer
        assert answer.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        answer = await site.say(b"GET /stream HTTP/1.0\r\n\r\n")
        assert b"connection: close" in answer
        assert answer.endswith(b"\r\n\r\nonetwo")
        answer = await site.say(get("/stream", method="HEAD") + get("/b"))
        assert answer.count(b"HTTP/1.1 200 ") == 2

    with_site(scenario)


def test_http_1_0_keeps_the_connection_if_asked() -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        for _ in range(2):
            writer.write(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert b"connection: keep-alive" in await reader.readuntil(b"/a :0")
        writer.write(b"GET /a HTTP/1.0\r\n\r\n")
        assert b"connection: close" in await reader.read()

    with_site(scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        b"nonsense\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        get("/a", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nx: y\nz: w\r\n\r\n",
        b"GET /a HTTP/9.9\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(wrong: bytes) -> None:
    """With 400 and the end of the connection; what came before it is answered, and that is the last
    answer.
    """

    async def scenario(site: Site) -> None:
        for _ in range(2):
            answer = await site.say(wrong)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert answer.count(b"HTTP/1.1") == 1
        both = await site.say(put("/a", b"x") + wrong)
        assert bodies(both) == [b"/a x:1"]
        assert b"connection: close" in both

    with_site(scenario)


def test_chunks_that_are_none_end_the_connection() -> None:
    """The application is told that the client has gone: it must not take half for the whole."""

    async def scenario(site: Site) -> None:
        head = get("/a", "Transfer-Encoding: chunked", method="PUT")
        answer = await site.say(head + b"3\r\nabc\r\nzz\r\n" + get("/b"))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert site.echo.events[-1] == "http.disconnect"

    with_site(scenario)


def test_a_head_that_is_too_large_is_refused() -> None:
    async def scenario(site: Site) -> None:
        answer = await site.say(get("/a", "x: " + "y" * 900 * KIB).rstrip())
        assert answer.startswith(b"HTTP/1.1 431 ")

    with_site(scenario, Limits(headersize=1024))


def test_answers_that_would_mislead_the_client_end_the_connection() -> None:
    """Fewer or more bytes than announced, or a header that would begin another one."""

    async def scenario(site: Site) -> None:
        for path in ("/short", "/long"):
            reader, writer = await site.open()
            writer.write(get(path) + get("/b"))
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(KIB)
        for path in ("/split", "/crash"):
            answer = await site.say(get(path) + get("/b"))
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert b"set-cookie" not in answer
            assert answer.count(b"HTTP/1.1") == 1

    with_site(scenario)


def test_a_client_that_goes_is_noticed() -> None:
    async def scenario(site: Site) -> None:
        _, writer = await site.open()
        writer.write(get("/a", "Content-Length: 9", method="PUT") + b"half")
        await until(lambda: site.echo.events == ["http.request"])
        writer.close()
        await until(lambda: site.echo.events[-1] == "http.disconnect")

    with_site(scenario)


def test_the_most_connections() -> None:
    """One more waits, and is served as soon as another has ended."""

    async def scenario(site: Site) -> None:
        held = [await site.open() for _ in range(2)]
        await until(lambda: len(site.server.connections) == 2)
        reader, writer = await site.open()
        writer.write(get("/a"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        held[0][1].close()
        assert await asyncio.wait_for(reader.readuntil(b"/a :0"), 60)

    with_site(scenario, most=2)


def test_connections_that_wait_for_too_long_are_closed() -> None:
    """Idle ones, and those whose head does not come to its end; not those that are answered."""

    async def scenario(site: Site) -> None:
        idle, slow, busy = [await site.open() for _ in range(3)]
        slow[1].write(b"GET /a HTTP/1.1\r\nHo")
        busy[1].write(get("/held"))
        assert await asyncio.wait_for(idle[0].read(), 60) == b""
        assert await asyncio.wait_for(slow[0].read(), 60) == b""
        site.echo.release.set()
        assert await asyncio.wait_for(busy[0].readuntil(b"/held :0"), 60)

    with_site(scenario, Limits(headertimeout=1.0, keepalivetimeout=1.0))


def test_finishing_answers_what_is_being_asked() -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        idle, _ = await site.open()
        writer.write(get("/held"))
        await until(lambda: bool(site.server.running()) and len(site.server.connections) == 2)
        site.server.finish()
        assert await idle.read() == b""
        site.echo.release.set()
        assert bodies(await reader.read()) == [b"/held :0"]
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await site.open()

    with_site(scenario)
