"""While a takeover is under way everything is served, and what clients do wins.

The registries here take over nothing but what they are asked for, as in the first second of a real
takeover: whatever is served was looked up in the old layout.
"""

from __future__ import annotations

import pytest

from tests.takeover.conftest import Old, Site2
from tests.takeover.volume import Volume
from tests.wire.images import Image, docker_list, fallback_tag, image, index, multi_platform

pytestmark = pytest.mark.anyio

ONE, TWO, THREE = image("takeover one"), image("takeover two"), image("takeover three")


async def put(site: Site2, name: str, reference: str, pushed: Image) -> int:
    """Push the manifest alone."""
    kind = (b"content-type", pushed.manifest.media_type.encode())
    path = f"/v2/{name}/manifests/{reference}"
    return (await site.ask("PUT", path, headers=(kind,), body=pushed.manifest.data)).status


async def push(site: Site2, name: str, reference: str, pushed: Image) -> None:
    for blob in pushed.blobs:
        digest = b"digest=" + blob.digest.encode()
        path = f"/v2/{name}/blobs/uploads/"
        assert (await site.ask("POST", path, query=digest, body=blob.data)).status == 201
    assert await put(site, name, reference, pushed) == 201


async def tags(site: Site2, name: str = "app") -> list[str]:
    return await site.names(f"/v2/{name}/tags/list", "tags")


# Reading ----------------------------------------------------------------------------------------


async def test_by_tag_and_digest(old: Old) -> None:
    """With bytes, media type and digest as they were pushed."""
    old.volume.push("deep/in/app", ONE, "1")
    old.volume.push("app", TWO)
    async with old.held() as site:
        for path, content in (
            ("/v2/deep/in/app/manifests/1", ONE.manifest),
            (f"/v2/app/manifests/{TWO.digest}", TWO.manifest),
        ):
            answer = await site.get(path)
            assert (answer.status, answer.body) == (200, content.data)
            assert answer.headers[b"content-type"] == content.media_type.encode()
            assert answer.headers[b"docker-content-digest"] == content.digest.encode()


@pytest.mark.parametrize("listed", [multi_platform("takeover"), docker_list("takeover")])
async def test_an_index_brings_what_it_lists(old: Old, listed: Image) -> None:
    """Also where an index lists an index."""
    nested = index([listed, ONE])
    old.volume.push("app", nested, "all")
    async with old.held() as site:
        assert (await site.get("/v2/app/manifests/all")).body == nested.manifest.data
        assert old.index("SELECT count(*) FROM manifests") == [(len(nested.every_manifest()),)]
        for blob in nested.every_blob():
            assert (await site.get(f"/v2/app/blobs/{blob.digest}")).body == blob.data


async def test_a_blob_before_its_manifest(old: Old) -> None:
    old.volume.push("app", ONE, "1")
    async with old.held() as site:
        for blob in ONE.blobs:
            answer = await site.get(f"/v2/app/blobs/{blob.digest}")
            assert (answer.status, answer.body) == (200, blob.data)


async def test_a_blob_of_another_repository(old: Old) -> None:
    """Only what a repository links is its own."""
    old.volume.push("app", ONE, "1")
    async with old.held() as site:
        assert (await site.get(f"/v2/other/blobs/{ONE.blobs[0].digest}")).status == 404
        assert (await site.get(f"/v2/other/manifests/{ONE.digest}")).status == 404


async def test_what_is_not_there(old: Old) -> None:
    old.volume.push("app", ONE, "1")
    async with old.held() as site:
        assert (await site.get("/v2/app/manifests/2")).status == 404
        assert (await site.get(f"/v2/app/manifests/{TWO.digest}")).status == 404
        assert (await site.get("/v2/none/tags/list")).status == 404


async def test_lists_are_complete(old: Old) -> None:
    """The catalog and the tags, page by page, with what is taken over and what is not."""
    for name in ("a", "a-b", "a/b", "b"):
        old.volume.push(name, ONE, "1", "2", "3")
    async with old.held() as site:
        assert (await site.get("/v2/a/b/manifests/2")).status == 200
        assert await site.names("/v2/_catalog", "repositories") == ["a", "a-b", "a/b", "b"]
        answer = await site.ask("GET", "/v2/_catalog", query=b"n=2&last=a")
        assert answer.body == b'{"repositories":["a-b","a/b"]}'
        assert b"last=a%2Fb" in answer.headers[b"link"]
        for name in ("a", "a/b"):
            assert await tags(site, name) == ["1", "2", "3"]
            answer = await site.ask("GET", f"/v2/{name}/tags/list", query=b"n=1&last=1")
            assert b'"tags":["2"]' in answer.body
            assert b"last=2" in answer.headers[b"link"]


async def test_referrers_that_clients_listed(old: Old) -> None:
    """`registry:2` has no referrers API: clients keep the list under a tag."""
    old.volume.push("app", ONE, "1")
    old.volume.push("app", index([TWO]), fallback_tag(ONE.digest))
    async with old.held() as site:
        found = await site.names(f"/v2/app/referrers/{ONE.digest}", "manifests")
        assert [entry["digest"] for entry in found] == [TWO.digest]  # type: ignore[index]


async def test_nothing_of_the_old_storage_is_changed(old: Old) -> None:
    old.volume.push("app", ONE, "1")
    before = old.volume.files()
    async with old.held() as site:
        await site.get("/v2/app/manifests/1")
    async with old.taken():
        pass
    assert old.volume.files() == before


# Writing ----------------------------------------------------------------------------------------


async def test_a_pushed_tag_wins(old: Old) -> None:
    """And its past is known, with where it pointed before it was pushed here."""
    old.volume.push("app", ONE, "1", at=1000)
    old.volume.push("app", TWO, "1", at=2000)
    async with old.held() as site:
        await push(site, "app", "1", THREE)
        assert (await site.get("/v2/app/manifests/1")).body == THREE.manifest.data
    async with old.taken() as site:
        assert (await site.get("/v2/app/manifests/1")).body == THREE.manifest.data
        assert await tags(site) == ["1"]
    past = old.history("app", "1")
    assert [move[0] for move in past] == [ONE.digest, TWO.digest, THREE.digest]
    assert [move[1] for move in past][:2] == [1000, 2000]


async def test_a_deleted_tag_stays_deleted(old: Old) -> None:
    """Whether it was asked for before or not."""
    old.volume.push("app", ONE, "1", "2", "3")
    async with old.held() as site:
        await site.get("/v2/app/manifests/1")
        for tag in ("1", "2"):
            assert (await site.ask("DELETE", f"/v2/app/manifests/{tag}")).status == 202
        assert await tags(site) == ["3"]
        assert (await site.get("/v2/app/manifests/1")).status == 404
    async with old.taken() as site:
        assert await tags(site) == ["3"]
        assert (await site.get("/v2/app/manifests/2")).status == 404


async def test_a_deleted_manifest_stays_deleted_with_its_tags(old: Old) -> None:
    """Also the tags that were not taken over when it was deleted."""
    old.volume.push("app", ONE, "1", "2")
    old.volume.push("app", TWO, "3")
    async with old.held() as site:
        await site.get("/v2/app/manifests/1")
        assert (await site.ask("DELETE", f"/v2/app/manifests/{ONE.digest}")).status == 202
        assert await tags(site) == ["3"]
        for reference in ("1", "2", ONE.digest):
            assert (await site.get(f"/v2/app/manifests/{reference}")).status == 404
    async with old.taken() as site:
        assert await tags(site) == ["3"]
        for reference in ("1", "2", ONE.digest):
            assert (await site.get(f"/v2/app/manifests/{reference}")).status == 404
    assert old.index("SELECT count(*) FROM import_deletions") == [(0,)]


async def test_a_deleted_blob_stays_deleted(old: Old) -> None:
    """A manifest that needs it and was not taken over is broken from then on."""
    old.volume.push("app", ONE, "1")
    blob = ONE.blobs[1].digest
    async with old.held() as site:
        assert (await site.ask("DELETE", f"/v2/app/blobs/{blob}")).status == 202
        assert (await site.get(f"/v2/app/blobs/{blob}")).status == 404
        assert (await site.get("/v2/app/manifests/1")).status == 404
    async with old.taken() as site:
        assert (await site.get(f"/v2/app/blobs/{blob}")).status == 404
    assert "was deleted" in (await old.findings())[f"app@{ONE.digest}"].reason


async def test_what_is_pushed_again_after_it_was_deleted(old: Old) -> None:
    old.volume.push("app", ONE, "1")
    async with old.held() as site:
        assert (await site.ask("DELETE", f"/v2/app/manifests/{ONE.digest}")).status == 202
        await push(site, "app", "new", ONE)
    async with old.taken() as site:
        assert await tags(site) == ["new"]


async def test_a_manifest_that_is_needed_cannot_be_deleted(old: Old) -> None:
    """A blob that a manifest needs, once that is taken over."""
    old.volume.push("app", ONE, "1")
    async with old.held() as site:
        await site.get("/v2/app/manifests/1")
        refused = await site.ask("DELETE", f"/v2/app/blobs/{ONE.blobs[0].digest}")
        assert refused.status == 405


async def test_a_manifest_over_old_blobs_and_manifests(old: Old) -> None:
    """A push may refer to what is not taken over yet."""
    old.volume.push("app", ONE, "1")
    old.volume.push("app", TWO)
    async with old.held() as site:
        assert await put(site, "app", "again", ONE) == 201
        assert await put(site, "app", "both", index([ONE, TWO])) == 201
        assert await tags(site) == ["1", "again", "both"]


async def test_an_old_blob_is_mounted(old: Old) -> None:
    old.volume.push("app", ONE, "1")
    blob = ONE.blobs[0].digest
    async with old.held() as site:
        query = f"mount={blob}&from=app".encode()
        answer = await site.ask("POST", "/v2/other/blobs/uploads/", query=query)
        assert answer.status == 201
        assert (await site.get(f"/v2/other/blobs/{blob}")).body == ONE.blobs[0].data


async def test_a_mended_manifest_is_served(old: Old) -> None:
    """A manifest lacked a blob; the blob is pushed; then it is complete."""
    old.volume.push("app", ONE, "1")
    lost = ONE.blobs[1]
    old.volume.blob_path(lost.digest).unlink()
    async with old.held() as site:
        assert (await site.get("/v2/app/manifests/1")).status == 404
        digest = b"digest=" + lost.digest.encode()
        pushed = await site.ask("POST", "/v2/app/blobs/uploads/", query=digest, body=lost.data)
        assert pushed.status == 201
        assert (await site.get("/v2/app/manifests/1")).body == ONE.manifest.data


# When there is none -----------------------------------------------------------------------------


async def test_an_index_that_is_not_empty_is_left_alone(old: Old) -> None:
    async with old.taken() as site:
        await push(site, "own", "1", TWO)
    Volume(old.root).push("app", ONE, "1")
    async with old.taken() as site:
        assert (await site.get("/v2/app/manifests/1")).status == 404
        assert await site.names("/v2/_catalog", "repositories") == ["own"]
    assert await old.imports() == []
