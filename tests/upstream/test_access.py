"""Who gets the credentials: logins, tokens, redirects, and servers that would like to have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.core.digest import Digest
from entrepot.upstream import (
    TlsOptions,
    UpstreamContentError,
    UpstreamError,
    UpstreamRefusedError,
)
from tests.certificates import Authority
from tests.upstream.asking import (
    BASIC,
    IMAGE,
    LOGIN,
    MANIFEST,
    NAME,
    PASSWORD,
    TAG,
    client,
    guarded,
    manifest_reply,
)
from tests.upstream.scripted import Heard, Reply, challenge, scripted
from tests.wire.images import random_bytes

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# Logins -----------------------------------------------------------------------------------------


async def test_basic_is_sent_when_asked_for_and_then_at_once() -> None:
    with scripted(guarded(BASIC, 'Basic realm="x"', manifest_reply)) as site:
        async with client(site, credentials=LOGIN) as upstream:
            assert await upstream.find_digest(NAME, TAG) == IMAGE.digest
            found = await upstream.get_manifest(NAME, TAG)
        assert found is not None
        assert found.payload == IMAGE.manifest.data
        assert [r.authorization for r in site.requests] == [None, BASIC, BASIC]


async def test_a_wrong_password_is_told_without_it() -> None:
    with scripted(lambda _: challenge('Basic realm="x"')) as site:
        async with client(site, credentials=LOGIN) as upstream:
            with pytest.raises(UpstreamRefusedError, match="refuses this user") as told:
                await upstream.check()
        assert PASSWORD not in str(told.value)
        assert len(site.requests) == 2


async def test_without_credentials_what_is_missing_is_told() -> None:
    with scripted(lambda _: challenge('Basic realm="x"')) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamRefusedError, match="asks for a user and a password"):
                await upstream.check()


def token_server(lifetime: int = 300) -> Callable[[Heard], Reply]:
    """A registry with tokens that gives them itself: T1, T2 and so on; the last one counts."""
    given: list[str] = []

    def answer(heard: Heard) -> Reply:
        if heard.path == "/token":
            given.append(f"T{len(given) + 1}")
            return Reply(200, json.dumps({"token": given[-1], "expires_in": lifetime}).encode())
        if given and heard.authorization == f"Bearer {given[-1]}":
            return manifest_reply(heard)
        realm = f"http://{heard.headers['host']}/token"
        scope = "repository:team/app:pull"
        return challenge(f'Bearer realm="{realm}",service="reg",scope="{scope}"')

    return answer


async def test_a_token_is_fetched_once_and_used_again() -> None:
    with scripted(token_server()) as site:
        async with client(site, credentials=LOGIN) as upstream:
            for _ in range(3):
                assert await upstream.find_digest(NAME, TAG) == IMAGE.digest
        asked = site.asked("/token")
        assert [r.authorization for r in asked] == [BASIC]
        assert asked[0].target == (
            "/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull&account=ann"
        )
        sent = [r.authorization for r in site.asked(MANIFEST)]
        assert sent == [None, "Bearer T1", "Bearer T1", "Bearer T1"]


async def test_an_anonymous_token() -> None:
    with scripted(token_server()) as site:
        async with client(site) as upstream:
            assert await upstream.find_digest(NAME, TAG) == IMAGE.digest
        assert [r.authorization for r in site.asked("/token")] == [None]


async def test_a_token_that_is_refused_is_replaced() -> None:
    """A registry may forget its tokens before they end."""
    with scripted(token_server()) as site:
        async with client(site) as upstream:
            assert await upstream.find_digest(NAME, TAG) == IMAGE.digest
            site.answer = token_server()
            site.answer(Heard("GET", "/token", {}))
            site.answer(Heard("GET", "/token", {}))
            assert await upstream.find_digest(NAME, TAG) == IMAGE.digest
        assert len(site.asked("/token")) == 2


async def test_a_short_lived_token_ends() -> None:
    """One that is good for less than the margin is used for a second at most, and no error."""
    with scripted(token_server(lifetime=1)) as site:
        async with client(site) as upstream:
            for _ in range(2):
                assert await upstream.find_digest(NAME, TAG) == IMAGE.digest


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_password_is_not_sent_to_another_host(scheme: str) -> None:
    """What the registry answers doesn't decide who gets the password (CVE-2026-33540)."""
    with scripted(token_server()) as thief:
        realm = f"{scheme}://localhost:{thief.port}/token"
        with scripted(lambda _: challenge(f'Bearer realm="{realm}"')) as site:
            async with client(site, credentials=LOGIN) as upstream:
                with pytest.raises(UpstreamRefusedError, match="localhost"):
                    await upstream.check()
        assert thief.requests == []


async def test_a_host_that_is_named_gives_tokens() -> None:
    with scripted(token_server()) as giver:
        realm = f"http://localhost:{giver.port}/token"
        asked = guarded("Bearer T1", f'Bearer realm="{realm}"', manifest_reply)
        with scripted(asked) as site:
            hosts = frozenset({"localhost"})
            async with client(site, credentials=LOGIN, token_hosts=hosts) as upstream:
                assert await upstream.find_digest(NAME, TAG) == IMAGE.digest
        assert [r.authorization for r in giver.requests] == [BASIC]


async def test_a_token_is_not_fetched_without_encryption_for_a_registry_that_has_it(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    with scripted(token_server()) as thief:
        realm = f"http://127.0.0.1:{thief.port}/token"
        answer = challenge(f'Bearer realm="{realm}"')
        with scripted(lambda _: answer, tls=authority.server()) as site:
            tls = TlsOptions(ca=authority.certificate)
            async with client(site, tls=tls) as upstream:
                with pytest.raises(UpstreamRefusedError, match="not encrypted"):
                    await upstream.check()
        assert thief.requests == []


@pytest.mark.parametrize(
    "realm", ["file:///etc/passwd", "http://u:p@127.0.0.1/token", "http://[::1/token", "//x"]
)
async def test_realms_that_are_none(realm: str) -> None:
    with scripted(lambda _: challenge(f'Bearer realm="{realm}"')) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamRefusedError, match="none for a token"):
                await upstream.check()


@pytest.mark.parametrize(
    "reply, told",
    [
        (Reply(200, b"no json"), "gave no token"),
        (Reply(200, b'{"token": "a\\nb"}'), "gave no token"),
        (Reply(200, b" " * 1_048_577), "longer than"),
        (Reply(403), "no token for this user"),
        (Reply(307, b"", {"Location": "http://localhost/"}), "307"),
    ],
)
async def test_givers_of_tokens_that_fail(reply: Reply, told: str) -> None:
    def answer(heard: Heard) -> Reply:
        if heard.path == "/token":
            return reply
        return challenge(f'Bearer realm="http://{heard.headers["host"]}/token"')

    with scripted(answer) as site:
        async with client(site, credentials=LOGIN) as upstream:
            with pytest.raises(UpstreamError, match=told):
                await upstream.check()


# Redirects --------------------------------------------------------------------------------------


async def test_a_redirect_to_another_host_gets_no_credentials() -> None:
    data = random_bytes(5000, "redirected")
    digest = Digest.of(data)
    with scripted(lambda _: Reply(200, data)) as store:
        to_store = Reply(307, b"", {"Location": f"http://localhost:{store.port}/x?signed=yes"})
        with scripted(guarded(BASIC, 'Basic realm="x"', lambda _: to_store)) as site:
            async with client(site, credentials=LOGIN) as upstream:
                got = [p async for p in upstream.blob(NAME, digest, size=len(data))]
        assert b"".join(got) == data
        assert [r.authorization for r in store.requests] == [None]


async def test_a_login_that_another_host_asks_for_is_not_answered() -> None:
    with scripted(lambda _: challenge('Basic realm="x"')) as thief:
        location = {"Location": f"http://localhost:{thief.port}/?signature=hidden"}
        with scripted(lambda _: Reply(307, b"", location)) as site:
            async with client(site, credentials=LOGIN) as upstream:
                with pytest.raises(UpstreamRefusedError, match="401") as told:
                    await upstream.get_manifest(NAME, TAG)
        assert "hidden" not in str(told.value)
        assert [r.authorization for r in thief.requests] == [None]


@pytest.mark.parametrize("location", ["", "gopher://x/", "http://u:p@localhost/", "http://[/"])
async def test_redirects_that_lead_nowhere(location: str) -> None:
    with scripted(lambda _: Reply(302, b"", {"Location": location})) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamContentError, match="redirected"):
                await upstream.get_manifest(NAME, TAG)
        assert len(site.requests) <= 6


async def test_a_redirect_does_not_give_encryption_up(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    location = {"Location": "http://127.0.0.1:1/"}
    with scripted(lambda _: Reply(307, b"", location), tls=authority.server()) as site:
        tls = TlsOptions(ca=authority.certificate)
        async with client(site, tls=tls) as upstream:
            with pytest.raises(UpstreamContentError, match="not encrypted"):
                await upstream.get_manifest(NAME, TAG)
