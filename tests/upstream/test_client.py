"""The client for other registries, with servers that are unwell or mean no good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrepot.core.digest import Digest
from entrepot.upstream import (
    TlsOptions,
    UpstreamAddressError,
    UpstreamContentError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from entrepot.upstream.client import Upstream
from tests.certificates import Authority
from tests.servers import free_port
from tests.upstream.asking import (
    BASIC,
    IMAGE,
    LOGIN,
    NAME,
    TAG,
    client,
    guarded,
    manifest_reply,
)
from tests.upstream.scripted import Heard, Reply, scripted
from tests.wire.images import image, random_bytes

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
