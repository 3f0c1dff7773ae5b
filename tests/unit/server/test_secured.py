"""HTTP/1.1 over TLS: whose certificate it was, what a refused client is told, and what is held."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from entrepot.config.schema_http import Limits, Tls
from entrepot.server.certificates import load_certificates, tls_context
from entrepot.server.secured import HANDSHAKE, Handshakes
from tests.certificates import Authority, Pair
from tests.unit.server.sites import KIB, LARGE, Site, ask, bodies, get, put, serving, until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def server_of(authority: Authority, *, optional: bool = False) -> ssl.SSLContext:
    """What a server shows, which wants a certificate of the same authority."""
    pair = authority.server()
    tls = Tls(
        certificate=str(pair.certificate),
        key=str(pair.key),
        clientcas=(str(authority.certificate),),
        clientauth="verify-client-cert-if-given" if optional else "",
    )
    return tls_context(load_certificates(tls))


def client_of(authority: Authority, shown: Pair | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.certificate))
    if shown is not None:
        made.load_cert_chain(shown.certificate, shown.key)
    return made


def with_tls(
    authority: Authority,
    scenario: Callable[[Site], Awaitable[None]],
    *,
    limits: Limits | None = None,
    most: int = 100,
) -> None:
    """Run a scenario whose client shows a certificate, which it may do without."""

    async def run() -> None:
        tls = server_of(authority, optional=True)
        client = client_of(authority, authority.client())
        async with serving(limits, most=most, tls=tls, client=client) as site:
            await scenario(site)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_whose_certificate_is_told_with_every_request(authority: Authority) -> None:
    """With the same bytes on connections of several people, in any order, each is told apart."""
    shown: dict[str, Pair | None] = {name: authority.client(name) for name in ("ada", "tom")}
    shown["nobody"] = None
    pems = {name: pair.certificate.read_text() if pair else "" for name, pair in shown.items()}

    async def scenario(site: Site) -> None:
        lines = {}
        for name, pair in shown.items():
            site.client = client_of(authority, pair)
            lines[name] = await site.open()
        known = get("/d", "X-SSL-Client-Verify: SUCCESS", "X-SSL-Client-Cert: nonsense")
        order = ["ada", "ada", "tom", "nobody", "ada", "tom", "nobody", "tom", "ada"]
        for name in order:
            assert await ask(*lines[name], known) == [b"/d :0"]
        assert list(site.server.known) == [known]
        told = [scope["extensions"]["tls"]["client_cert_chain"] for scope in site.echo.scopes]
        assert told == [[pems[name]] if pems[name] else [] for name in order]
        assert {scope["scheme"] for scope in site.echo.scopes} == {"https"}

    with_tls(authority, scenario)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_that_is_resumed_has_its_certificate(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    """Clients that come again may leave the handshake out, and are who they were."""
    shown = authority.client("ada")
    client = client_of(authority, shown)
    client.maximum_version = version

    async def scenario(site: Site) -> None:
        await asyncio.to_thread(resume, site.port, client)
        chains = [scope["extensions"]["tls"]["client_cert_chain"] for scope in site.echo.scopes]
        assert chains == [[shown.certificate.read_text()]] * 2

    with_tls(authority, scenario)


def resume(port: int, client: ssl.SSLContext) -> None:
    session = None
    for resumed in (False, True):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
            client.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secured,
        ):
            secured.sendall(get("/a"))
            assert secured.recv(1)
            assert secured.session_reused is resumed
            session = secured.session


@pytest.mark.parametrize("size", [0, 1, 16 * KIB, 3 * KIB * KIB + 5])
def test_bodies(authority: Authority, size: int) -> None:
    """Whole, however large, with the next request right behind them."""

    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        closing = get("/d", "Connection: close")
        writer.write(put("/a", b"x" * size) + put("/b", b"y" * 3) + closing)
        answer = await asyncio.wait_for(reader.read(), 60)
        first = b"x" * min(size, 16)
        assert bodies(answer) == [b"/a %s:%d" % (first, size), b"/b yyy:3", b"/d :0"]

    with_tls(authority, scenario)


def test_a_large_answer_waits_for_its_reader(authority: Authority) -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        writer.write(get("/large"))
        await until(lambda: "sent" in site.echo.events)
        await asyncio.sleep(0.3)
        assert len(site.echo.events) < LARGE
        await reader.readuntil(b"\r\n\r\n")
        for number in range(LARGE):
            assert await reader.readexactly(KIB * KIB) == bytes([number]) * KIB * KIB

    with_tls(authority, scenario)


def test_a_large_body_waits_for_the_application(authority: Authority) -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        total = LARGE * KIB * KIB
        writer.write(get("/held", f"Content-Length: {total}", method="PUT"))
        sent = asyncio.create_task(send(writer, LARGE))
        await asyncio.wait({sent}, timeout=1.0)
        assert not sent.done()
        site.echo.release.set()
        await sent
        await reader.readuntil(b":%d" % total)

    with_tls(authority, scenario)


async def send(writer: asyncio.StreamWriter, mibs: int) -> None:
    for _ in range(mibs):
        writer.write(bytes(KIB * KIB))
        await writer.drain()


@pytest.mark.parametrize("end", ["notify", "silent"])
def test_a_client_that_goes_is_noticed(authority: Authority, end: str) -> None:
    """Half a body is not taken for the whole, whether or not TLS was ended as it should be."""

    async def scenario(site: Site) -> None:
        _, writer = await site.open()
        writer.write(get("/a", "Content-Length: 9", method="PUT") + b"half")
        await until(lambda: site.echo.events == ["http.request"])
        if end == "notify":
            writer.close()
        else:
            writer.transport.abort()
        await until(lambda: site.echo.events[-1] == "http.disconnect")
        await until(lambda: not site.server.connections)

    with_tls(authority, scenario)


def test_idle_connections_are_closed(authority: Authority) -> None:
    async def scenario(site: Site) -> None:
        reader, _ = await site.open()
        assert await asyncio.wait_for(reader.read(), 60) == b""

    limits = Limits(headertimeout=0.3, keepalivetimeout=0.3)
    with_tls(authority, scenario, limits=limits)


def test_finishing_answers_what_is_being_asked_and_cuts_handshakes(authority: Authority) -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open()
        idle, _ = await site.open()
        begun, half = await site.open_plain()
        half.write(b"\x16\x03\x01\x02")
        writer.write(get("/held"))
        await until(lambda: bool(site.server.running()) and len(site.server.connections) == 2)
        await asyncio.sleep(0.05)
        site.server.finish()
        assert await idle.read() == b""
        assert await asyncio.wait_for(ended(begun), 60)
        site.echo.release.set()
        assert bodies(await reader.read()) == [b"/held :0"]

    with_tls(authority, scenario)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection, which may be a reset; return whether nothing came."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


def test_http_without_tls_is_told_so(authority: Authority) -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await site.open_plain()
        writer.write(get("/v2/"))
        answer = await asyncio.wait_for(reader.read(), 60)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"https://" in answer
        writer.close()
        assert await ask(*await site.open(), get("/d")) == [b"/d :0"]

    with_tls(authority, scenario)


def test_nonsense_ends_the_connection(authority: Authority) -> None:
    async def scenario(site: Site) -> None:
        for nonsense in (b"\0" * 64, b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05hello", b"GET"):
            reader, writer = await site.open_plain()
            writer.write(nonsense)
            writer.write_eof()
            with suppress(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 60)
            writer.close()
        assert await ask(*await site.open(), get("/d")) == [b"/d :0"]
        assert site.echo.refused == []

    with_tls(authority, scenario)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "wrong, alert, told",
    [
        ("expired", "expired", "certificate has expired"),
        ("stranger", "unknown ca", "unable to get local issuer certificate"),
        ("server", "certificate", "unsuitable certificate purpose"),
        ("none", "required|handshake failure", None),
    ],
)
def test_what_a_refused_client_is_told(
    authority: Authority,
    tmp_path: Path,
    wrong: str,
    alert: str,
    told: str | None,
    version: ssl.TLSVersion,
) -> None:
    """By an alert that says why, so that it needn't guess; a certificate that is refused is told
    to the application, and none at all is not.
    """
    makers: dict[str, Callable[[], Pair]] = {
        "expired": lambda: authority.client("expired", days=-1),
        "stranger": lambda: Authority(tmp_path, name="A stranger").client("ada"),
        "server": lambda: authority.server("other"),
    }
    shown = makers[wrong]() if told else None
    client = client_of(authority, shown)
    client.maximum_version = version

    async def run() -> None:
        async with serving(tls=server_of(authority)) as site:
            said = await asyncio.to_thread(refusal, site.port, client)
            assert any(word in said.lower() for word in alert.split("|")), said
            assert site.echo.refused == ([("127.0.0.1", told)] if told else [])
            assert site.echo.scopes == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def refusal(port: int, client: ssl.SSLContext) -> str:
    """What a client learns that sends a request as soon as it may."""
    with pytest.raises(ssl.SSLError) as caught:
        asked(port, client)
    return str(caught.value)


def asked(port: int, client: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        client.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(get("/a"))
        return secured.recv(1)


def test_a_handshake_has_a_deadline(authority: Authority) -> None:
    """It counts from the beginning, whatever comes meanwhile."""

    async def run() -> None:
        less: list[int] = []
        handshakes = Handshakes(
            server_of(authority), told=lambda *_: None, ended=lambda: less.append(1)
        )
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: handshakes.secure(asyncio.Protocol()), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await until(lambda: len(handshakes) == 1)
        writer.write(b"\x16\x03\x01\x02\x00")
        handshakes.look(handshakes.now() + HANDSHAKE - 5)
        assert len(handshakes) == 1
        handshakes.look(handshakes.now() + HANDSHAKE + 5)
        assert await asyncio.wait_for(ended(reader), 60)
        await until(lambda: bool(less))
        assert len(handshakes) == 0
        writer.close()
        server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_handshakes_count_among_the_most_connections(authority: Authority) -> None:
    """So that they can't take more than there is; who waits is served when one has ended."""

    async def scenario(site: Site) -> None:
        held = [await site.open_plain() for _ in range(2)]
        waiting = asyncio.create_task(site.open())
        await asyncio.wait({waiting}, timeout=0.3)
        assert not waiting.done()
        for _, writer in held:
            writer.close()
        reader, writer = await asyncio.wait_for(waiting, 60)
        assert await ask(reader, writer, get("/d")) == [b"/d :0"]

    with_tls(authority, scenario, most=2)


def test_an_authority_that_another_one_signed(tmp_path: Path, authority: Authority) -> None:
    """Counts by itself, as in registry:2."""
    below = Authority(tmp_path / "below", name="Below", signed_by=authority)
    pair = authority.server()
    tls = Tls(
        certificate=str(pair.certificate), key=str(pair.key), clientcas=(str(below.certificate),)
    )

    async def run() -> None:
        client = client_of(authority, below.client("eve"))
        context = tls_context(load_certificates(tls))
        async with serving(tls=context, client=client) as site:
            assert await ask(*await site.open(), get("/d")) == [b"/d :0"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
