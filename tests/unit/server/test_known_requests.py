"""Requests that come again byte for byte are known: which are kept, and how many."""

from __future__ import annotations

import asyncio

import pytest

from entrepot.server.heads import AGAIN
from tests.unit.server.sites import Site, ask, get, with_site


def test_a_request_that_is_known() -> None:
    """Is answered like the first time, from everybody; bytes that look like one and are part of
    something else are not taken for one.
    """

    async def scenario(site: Site) -> None:
        known = get("/d?n=1", "X-A: b")
        reader, writer = await site.open()
        for _ in range(3):
            assert await ask(reader, writer, known) == [b"/d :0"]
        assert list(site.server.known) == [known]
        other = await site.open()
        assert await ask(*other, known) == [b"/d :0"]
        first, *others = site.echo.scopes
        for scope in others:
            assert {**scope, "client": None} == {**first, "client": None}
        assert others[-1]["client"][1] != first["client"][1]
        size = len(known)
        head = get("/b", f"Content-Length: {size}", method="PUT")
        assert await ask(reader, writer, head, known) == [b"/b %s:%d" % (known[:16], size)]
        head = get("/c", "Transfer-Encoding: chunked", method="PUT") + b"%x\r\n" % size
        body = [b"/c %s:%d" % (known[:16], size)]
        assert await ask(reader, writer, head, known, b"\r\n0\r\n\r\n") == body
        assert await ask(reader, writer, known[:9], known[9:]) == [b"/d :0"]
        assert await ask(reader, writer, known) == [b"/d :0"]
        writer.write(b"X")
        await asyncio.sleep(0.05)
        writer.write(known)
        answer = await asyncio.wait_for(reader.read(), 60)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert (await site.say(known + known)).count(b"/d :0") == 2

    with_site(scenario)


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Basic c2VjcmV0",
        "authorization:c2VjcmV0",
        "Proxy-Authorization: a c2VjcmV0",
        "Cookie: a=c2VjcmV0; b=authorization: c2VjcmV0",
    ],
)
def test_requests_with_secrets_are_known_on_their_connection(line: str) -> None:
    """Nothing that the server keeps beyond it holds the secret."""

    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        known, other = get("/d", line, "X: y"), get("/d", line.replace("c2V", "d2V"), "X: y")
        for data in (known, known, other, known, known, other, other):
            assert await ask(reader, writer, data) == [b"/d :0"]
        sent = [scope["headers"][1][1].partition(b"VjcmV0")[0][-2:] for scope in site.echo.scopes]
        assert sent == [b"c2", b"c2", b"d2", b"c2", b"c2", b"d2", b"d2"]
        notes = [scope.get(AGAIN) for scope in site.echo.scopes]
        assert notes == [None, {}, None, {}, {}, {}, {}]
        assert notes[1] is notes[3] is notes[4]
        assert notes[5] is notes[6] is not notes[1], "each has its own"
        assert await ask(*await site.open(), known) == [b"/d :0"]
        assert not site.server.known

    with_site(scenario)


def test_a_connection_knows_its_last_few_requests_with_secrets() -> None:
    """What was noted of one that is forgotten is forgotten with it."""

    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        for number in (*range(9), 8, 1, 0):
            await ask(reader, writer, get(f"/{number}", "Authorization: Basic c2VjcmV0"))
        notes = [scope.get(AGAIN) for scope in site.echo.scopes]
        assert notes == [*([None] * 9), {}, {}, None]
        assert not site.server.known

    with_site(scenario)


@pytest.mark.parametrize("lines", [["Content-Length: 0"], ["Expect: nothing"]])
def test_requests_that_may_have_a_body_are_not_kept(lines: list[str]) -> None:
    async def scenario(site: Site) -> None:
        await site.say(get("/d", *lines))
        assert not site.server.known

    with_site(scenario)


def test_of_known_requests_there_are_only_so_many() -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        closing = get("/e", "Connection: close")
        for _ in range(2):
            assert (await site.say(closing)).count(b"connection: close") == 1
        assert await ask(reader, writer, get("/f", f"X: {'x' * 4096}")) == [b"/f :0"]
        assert list(site.server.known) == [closing]
        for number in range(1100):
            writer.write(get(f"/{number}"))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
        assert 0 < len(site.server.known) < 1100

    with_site(scenario)
