"""The client for other registries, with servers that are unwell or mean no good."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName, Tag
from entrepot.upstream import (
    Credentials,
    TlsOptions,
    UpstreamAddress,
    UpstreamAddressError,
    UpstreamContentError,
    UpstreamError,
    UpstreamOptions,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from entrepot.upstream.client import Upstream
from tests.certificates import Authority
from tests.servers import free_port
from tests.upstream.scripted import Heard, Reply, Site, challenge, scripted
from tests.wire.images import image, random_bytes

pytestmark = pytest.mark.anyio

NAME = RepositoryName("team/app")
TAG = Tag("v1")
PASSWORD = "s3cret-of-the-test"
LOGIN = Credentials("ann", PASSWORD)
BASIC = "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
IMAGE = image("upstream client")
MANIFEST = "/v2/team/app/manifests/v1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client(
    site: Site | str, *, credentials: Credentials | None = None, **options: object
) -> Upstream:
    url = site if isinstance(site, str) else site.url
    given = UpstreamOptions(credentials=credentials, pause=0.01, timeout=10, **options)  # type: ignore[arg-type]
    return Upstream(UpstreamAddress.parse(url), given)


def manifest_reply(heard: Heard) -> Reply:
    made = IMAGE.manifest
    headers = {"Docker-Content-Digest": made.digest, "Content-Type": made.media_type}
    return Reply(200, made.data, headers)


def guarded(wanted: str, asked: str, then: Callable[[Heard], Reply]) -> Callable[[Heard], Reply]:
    """Let in who sends `wanted`; ask others for it."""
    return lambda heard: then(heard) if heard.authorization == wanted else challenge(asked)


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


# Blobs ------------------------------------------------------------------------------------------

BLOB = random_bytes(900_000, "upstream blob")
BLOB_DIGEST = Digest.of(BLOB)


async def fetched(upstream: Upstream) -> bytes:
    return b"".join([p async for p in upstream.blob(NAME, BLOB_DIGEST, size=len(BLOB))])


async def test_a_blob_is_taken_up_where_the_connection_broke() -> None:
    def answer(heard: Heard) -> Reply:
        start = int(heard.headers.get("range", "bytes=0-")[6:-1])
        rest = BLOB[start:]
        headers = {"Content-Range": f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}"}
        status = 206 if start else 200
        return Reply(status, rest[:300_000], headers, announced=len(rest))

    with scripted(answer) as site:
        async with client(site, attempts=3) as upstream:
            assert await fetched(upstream) == BLOB
        ranges = [r.headers.get("range") for r in site.requests]
        assert ranges[0] is None
        assert len(ranges) >= 3
        assert None not in ranges[1:]


async def test_a_server_without_ranges_sends_it_all_again() -> None:
    def answer(_: Heard) -> Reply:
        if len(site.requests) == 1:
            return Reply(200, BLOB[:500_000], announced=len(BLOB))
        return Reply(200, BLOB)

    with scripted(answer) as site:
        async with client(site) as upstream:
            assert await fetched(upstream) == BLOB
        assert len(site.requests) == 2


@pytest.mark.parametrize(
    "reply, told",
    [
        (Reply(200, BLOB + b"x"), "longer than"),
        (Reply(200, BLOB[:-1] + bytes([BLOB[-1] ^ 1])), "other bytes"),
        (Reply(200, BLOB[:-1]), "ended early"),
        (Reply(206, BLOB), "206"),
        (Reply(404), "404"),
        (Reply(200, BLOB[:10], announced=len(BLOB)), "team/app/blobs"),
    ],
)
async def test_blobs_that_are_not_what_they_should_be(reply: Reply, told: str) -> None:
    with scripted(lambda _: reply) as site:
        async with client(site, attempts=2) as upstream:
            with pytest.raises(UpstreamError, match=told):
                await fetched(upstream)


async def test_another_range_than_asked_for_is_refused() -> None:
    def answer(heard: Heard) -> Reply:
        if "range" not in heard.headers:
            return Reply(200, BLOB[:500_000], announced=len(BLOB))
        return Reply(206, BLOB, {"Content-Range": f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}"})

    with scripted(answer) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamContentError, match="another range"):
                await fetched(upstream)


# Manifests --------------------------------------------------------------------------------------


async def test_a_manifest_with_another_digest_is_refused() -> None:
    other = image("other")
    promised = Reply(200, other.manifest.data, {"Docker-Content-Digest": IMAGE.digest})
    with scripted(lambda _: promised) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamContentError, match="has the digest"):
                await upstream.get_manifest(NAME, TAG)
            with pytest.raises(UpstreamContentError, match="has the digest"):
                await upstream.get_manifest(NAME, Digest(IMAGE.digest))


@pytest.mark.parametrize("announced", [None, 10_000_000])
async def test_a_manifest_that_is_too_large(announced: int | None) -> None:
    with scripted(lambda _: Reply(200, b" " * 5_000_000, announced=announced)) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamContentError, match="longer than 4194304"):
                await upstream.get_manifest(NAME, TAG)


async def test_without_a_digest_in_the_head_the_manifest_is_read() -> None:
    with scripted(lambda _: Reply(200, IMAGE.manifest.data)) as site:
        async with client(site) as upstream:
            assert await upstream.find_digest(NAME, TAG) == IMAGE.digest
        assert [r.method for r in site.requests] == ["HEAD", "GET"]


async def test_what_is_not_there_is_none() -> None:
    with scripted(lambda _: Reply(404)) as site:
        async with client(site) as upstream:
            assert await upstream.find_digest(NAME, TAG) is None
            assert await upstream.get_manifest(NAME, TAG) is None
            assert [t async for t in upstream.tags(NAME)] == []
            assert await upstream.referrers(NAME, Digest(IMAGE.digest)) is None


# Lists ------------------------------------------------------------------------------------------


async def test_lists_are_followed_page_by_page() -> None:
    def answer(heard: Heard) -> Reply:
        if "last=b" in heard.target:
            return Reply(200, b'{"name": "team/app", "tags": ["c"]}')
        link = {"Link": '</v2/team/app/tags/list?n=2&last=b>; rel="next"'}
        return Reply(200, b'{"name": "team/app", "tags": ["a", "b"]}', link)

    with scripted(answer) as site:
        async with client(site) as upstream:
            assert [t async for t in upstream.tags(NAME)] == ["a", "b", "c"]


async def test_a_list_that_goes_on_at_another_host_is_refused() -> None:
    with scripted(lambda _: Reply(200, b"{}")) as thief:
        link = {"Link": f'<http://localhost:{thief.port}/v2/_catalog?last=a>; rel="next"'}
        page = Reply(200, b'{"repositories": ["a"]}', link)
        with scripted(guarded(BASIC, 'Basic realm="x"', lambda _: page)) as site:
            async with client(site, credentials=LOGIN) as upstream:
                with pytest.raises(UpstreamContentError, match="another host"):
                    assert [name async for name in upstream.repositories()]
        assert thief.requests == []


async def test_a_link_with_another_port_is_asked_of_the_registry_itself() -> None:
    """Behind a proxy registries write addresses that are theirs only."""
    with scripted(lambda _: Reply(200, b"{}")) as thief:

        def answer(heard: Heard) -> Reply:
            if "last=a" in heard.target:
                return Reply(200, b'{"repositories": ["b"]}')
            link = {"Link": f'<http://127.0.0.1:{thief.port}/v2/_catalog?last=a>; rel="next"'}
            return Reply(200, b'{"repositories": ["a"]}', link)

        with scripted(answer) as site:
            async with client(site) as upstream:
                assert [name async for name in upstream.repositories()] == ["a", "b"]
        assert thief.requests == []


async def test_a_list_that_never_ends() -> None:
    link = {"Link": '</v2/_catalog?n=1000>; rel="next"'}
    with scripted(lambda _: Reply(200, b'{"repositories": []}', link)) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamContentError, match="never ends"):
                assert [name async for name in upstream.repositories()]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": 1}', b"\xff", b'{"tags": [null]}'])
async def test_lists_that_are_none(body: bytes) -> None:
    with scripted(lambda _: Reply(200, body)) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamContentError, match="is no list"):
                assert [tag async for tag in upstream.tags(NAME)]


async def test_referrers_with_malformed_digests() -> None:
    with scripted(lambda _: Reply(200, b'{"manifests": [{"digest": "../../x"}]}')) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamContentError, match="malformed digest"):
                await upstream.referrers(NAME, Digest(IMAGE.digest))


# Failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_passes_is_asked_again(status: int) -> None:
    def answer(heard: Heard) -> Reply:
        if len(site.requests) < 4:
            return Reply(status, b"", {"Retry-After": "0"})
        return manifest_reply(heard)

    with scripted(answer) as site:
        async with client(site) as upstream:
            assert await upstream.find_digest(NAME, TAG) == IMAGE.digest
        assert len(site.requests) == 4


async def test_patience_ends() -> None:
    with scripted(lambda _: Reply(503)) as site:
        async with client(site, attempts=3) as upstream:
            with pytest.raises(UpstreamUnreachableError, match=r"503 .* \(tried 3 times\)"):
                await upstream.check()
        assert len(site.requests) == 3


async def test_nobody_there() -> None:
    async with client(f"http://127.0.0.1:{free_port()}", attempts=2) as upstream:
        with pytest.raises(UpstreamUnreachableError, match="tried 2 times"):
            await upstream.check()


async def test_what_the_registry_says_is_passed_on_in_short() -> None:
    said = {"errors": [{"code": "DENIED", "message": "no\x1b[31m entry " + "x" * 5000}]}
    with scripted(lambda _: Reply(403, json.dumps(said).encode())) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamRefusedError, match="403 Forbidden: DENIED no") as told:
                await upstream.check()
        assert "\x1b" not in str(told.value)
        assert len(str(told.value)) < 400


async def test_a_certificate_of_nobody_is_not_asked_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with scripted(lambda _: Reply(200), tls=authority.server()) as site:
        async with client(site) as upstream:
            with pytest.raises(UpstreamUnreachableError, match="authority that signed"):
                await upstream.check()
        async with client(site, tls=TlsOptions(ca=authority.certificate)) as upstream:
            await upstream.check()
        async with client(site, tls=TlsOptions(insecure=True)) as upstream:
            await upstream.check()
        assert len(site.requests) == 2


async def test_a_certificate_of_ours_is_shown(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, ca = authority.client(), authority.certificate
    with scripted(lambda _: Reply(200), tls=authority.server(), clients=ca) as site:
        async with client(site, tls=TlsOptions(ca=ca), attempts=2) as upstream:
            with pytest.raises(UpstreamUnreachableError):
                await upstream.check()
        shown = TlsOptions(ca=ca, certificate=pair.certificate, key=pair.key)
        async with client(site, tls=shown) as upstream:
            await upstream.check()
        assert len(site.requests) == 1


async def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("nothing")
    for options in (TlsOptions(ca=tmp_path / "text"), TlsOptions(ca=tmp_path / "none")):
        with pytest.raises(UpstreamAddressError, match="no usable PEM file"):
            client("https://old", tls=options)
