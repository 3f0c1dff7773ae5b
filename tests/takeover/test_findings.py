"""What is broken in an old storage is listed, never fatal, and never served; the rest arrives."""

from __future__ import annotations

import os

import pytest

from tests.takeover.conftest import Old
from tests.wire.images import (
    DOCKER_MANIFEST,
    Content,
    Image,
    Json,
    docker_image,
    encode,
    image,
    index,
    multi_platform,
    random_bytes,
    schema1,
)

pytestmark = pytest.mark.anyio

GOOD, BAD = image("findings good"), image("findings bad")


async def kinds(old: Old) -> dict[str, str]:
    """What is found once everything is taken over, by place; the good image is there."""
    old.volume.push("app", GOOD, "good")
    async with old.taken() as site:
        assert (await site.get("/v2/app/manifests/good")).body == GOOD.manifest.data
        assert (await site.get("/v2/app/manifests/bad")).status == 404
        assert (await site.get(f"/v2/app/manifests/{BAD.digest}")).status == 404
        assert await site.names("/v2/app/tags/list", "tags") == ["good"]
    return {place: finding.kind for place, finding in (await old.findings()).items()}


async def test_nothing(old: Old) -> None:
    assert await kinds(old) == {}


async def test_a_missing_blob(old: Old) -> None:
    old.volume.push("app", BAD, "bad")
    old.volume.blob_path(BAD.blobs[0].digest).unlink()
    found = await kinds(old)
    assert found == {f"app@{BAD.digest}": "missing", "app:bad": "missing"}
    assert BAD.blobs[0].digest in (await old.findings())[f"app@{BAD.digest}"].reason


async def test_a_torn_blob(old: Old) -> None:
    """Its size is not what the manifest says, and its digest is wrong."""
    old.volume.push("app", BAD, "bad")
    path = old.volume.blob_path(BAD.blobs[1].digest)
    path.write_bytes(path.read_bytes()[:10])
    assert await kinds(old) == {f"app@{BAD.digest}": "missing", "app:bad": "missing"}


async def test_a_manifest_that_is_wrong_about_a_size(old: Old) -> None:
    """The blob has its digest: nothing is broken that `registry:2` did not serve."""
    config = BAD.blobs[0]
    document: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": config.descriptor(size=7),
        "layers": [],
    }
    careless = Image(Content(DOCKER_MANIFEST, encode(document)), (config,))
    old.volume.push("app", careless, "careless")
    async with old.taken() as site:
        assert (await site.get("/v2/app/manifests/careless")).status == 200
    assert await old.findings() == {}


async def test_a_missing_manifest(old: Old) -> None:
    old.volume.push("app", BAD, "bad")
    old.volume.blob_path(BAD.digest).unlink()
    assert await kinds(old) == {f"app@{BAD.digest}": "missing", "app:bad": "missing"}


async def test_a_damaged_manifest(old: Old) -> None:
    old.volume.push("app", BAD, "bad")
    old.volume.blob_path(BAD.digest).write_bytes(GOOD.manifest.data)
    assert await kinds(old) == {f"app@{BAD.digest}": "damaged", "app:bad": "missing"}


async def test_a_manifest_too_large_for_any_registry(old: Old) -> None:
    large = Content(DOCKER_MANIFEST, random_bytes(4 * 1_048_576 + 1, "findings"))
    old.volume.manifest("app", large)
    assert await kinds(old) == {f"app@{large.digest}": "unreadable"}


@pytest.mark.parametrize(
    "data",
    [schema1("findings").data, b"{}", b"no json", b'{"schemaVersion":2}', b"\xff\xfe", b""],
    ids=["schema 1", "empty object", "no json", "no config", "no text", "empty"],
)
async def test_what_is_no_manifest_of_today(old: Old, data: bytes) -> None:
    strange = Content(DOCKER_MANIFEST, data)
    old.volume.manifest("app", strange)
    old.volume.tag("app", "strange", strange.digest)
    found = await kinds(old)
    assert found == {f"app@{strange.digest}": "unsupported", "app:strange": "missing"}


async def test_an_index_that_lost_some_of_its_images(old: Old) -> None:
    """It is served, as `registry:2` did: those that are left can be pulled."""
    whole = multi_platform("findings")
    old.volume.push("app", whole, "all")
    lost, left = whole.children
    old.volume.revision("app", lost.digest).unlink()
    async with old.taken() as site:
        assert (await site.get("/v2/app/manifests/all")).body == whole.manifest.data
        assert (await site.get(f"/v2/app/manifests/{left.digest}")).status == 200
        assert (await site.get(f"/v2/app/manifests/{lost.digest}")).status == 404
    (found,) = (await old.findings()).values()
    assert (found.place, found.kind) == (f"app@{whole.digest}", "incomplete")
    assert lost.digest in found.reason


async def test_an_index_that_lost_all_of_its_images(old: Old) -> None:
    empty = index([BAD])
    old.volume.push("app", empty, "bad")
    old.volume.blob_path(BAD.blobs[0].digest).unlink()
    found = await kinds(old)
    assert found == {
        f"app@{BAD.digest}": "missing",
        f"app@{empty.digest}": "missing",
        "app:bad": "missing",
    }


@pytest.mark.parametrize("content", [b"", b"sha256:12", b"\x00" * 71, b"x" * 2000, b"\xff\xff"])
async def test_a_malformed_link_of_a_tag(old: Old, content: bytes) -> None:
    old.volume.push("app", BAD)
    link = old.volume.link("app/_manifests/tags/bad/current", "")
    link.write_bytes(content)
    old.volume.push("app", GOOD, "good")
    async with old.taken() as site:
        assert await site.names("/v2/app/tags/list", "tags") == ["good"]
        assert (await site.get("/v2/app/manifests/bad")).status == 404
    (found,) = (await old.findings()).values()
    assert found.place == "app:bad"
    assert found.kind in {"malformed", "unreadable"}


async def test_a_malformed_link_of_a_manifest(old: Old) -> None:
    """Also one that leads to another manifest than its place says."""
    link = old.volume.revision("app", BAD.digest)
    link.write_text(GOOD.digest)
    place = link.relative_to(old.root).as_posix()
    assert await kinds(old) == {place: "malformed"}


async def test_links_end_with_a_line_or_not(old: Old) -> None:
    """As somebody left them who mended one by hand."""
    old.volume.push("app", BAD, "1")
    path = old.volume.base / "repositories" / "app" / "_manifests" / "tags" / "1" / "current"
    (path / "link").write_text(BAD.digest + "\n")
    async with old.taken() as site:
        assert (await site.get("/v2/app/manifests/1")).status == 200


async def test_names_that_are_none(old: Old) -> None:
    """Of repositories and tags: upper case, strange characters, what is no text at all."""
    for name in ("Upper", "a b", "new\nline"):
        old.volume.push(name, BAD, "1")
    old.volume.layer(os.fsdecode(b"\xff\xfe"), BAD.digest)
    old.volume.tag("app", "-dash", GOOD.digest)
    found = await kinds(old)
    assert found == {
        "Upper": "name",
        "a b": "name",
        "new\nline": "name",
        r"\udcff\udcfe": "name",
        "app:-dash": "name",
    }


async def test_what_registry_2_leaves_behind_is_no_finding(old: Old) -> None:
    """Folders of deleted manifests, links to blobs that its cleaning took, unfinished uploads."""
    old.volume.revision("app", BAD.digest).unlink()
    old.volume.layer("app", BAD.blobs[0].digest)
    upload = old.volume.base / "repositories" / "app" / "_uploads" / "1234"
    upload.mkdir(parents=True)
    (upload / "data").write_bytes(b"the beginning")
    (old.volume.base / "repositories" / "empty" / "_uploads").mkdir(parents=True)
    assert await kinds(old) == {}


async def test_untagged_manifests_and_lone_blobs_arrive(old: Old) -> None:
    lone = docker_image("findings lone")
    old.volume.push("app", lone)
    blob = old.volume.put(b"nobody's")
    old.volume.layer("app", blob)
    old.volume.push("app", GOOD, "good")
    async with old.taken() as site:
        assert (await site.get(f"/v2/app/manifests/{lone.digest}")).body == lone.manifest.data
        assert (await site.get(f"/v2/app/blobs/{blob}")).body == b"nobody's"


async def test_other_algorithms(old: Old) -> None:
    made = image("findings sha512", algorithm="sha512")
    old.volume.push("app", made, "1")
    async with old.taken() as site:
        answer = await site.get("/v2/app/manifests/1")
        assert answer.headers[b"docker-content-digest"] == made.digest.encode()
        assert made.digest.startswith("sha512:")
    assert await old.findings() == {}


async def test_what_is_known_of_a_manifest(old: Old) -> None:
    """Rows as a push leaves them: sizes, links, media type, when it came."""
    made = docker_image("findings docker")
    old.volume.push("app", made, "1", at=1_500_000_000)
    async with old.taken():
        pass
    rows = old.index("SELECT media_type, size, created_at FROM manifests")
    assert rows == [(DOCKER_MANIFEST, len(made.manifest.data), 1_500_000_000_000_000)]
    sizes = sorted(len(blob.data) for blob in made.blobs)
    assert old.index("SELECT size FROM blobs ORDER BY size") == [(size,) for size in sizes]
    for table in ("repository_blobs", "manifest_blobs"):
        assert old.index(f"SELECT count(*) FROM {table}") == [(len(made.blobs),)]
    tags = old.index("SELECT name, created_at / 1000000, updated_at / 1000000 FROM tags")
    assert tags == [("1", 1_500_000_000, 1_500_000_000)]


async def test_the_past_of_a_tag(old: Old) -> None:
    """By the times of the links; where it points comes last, though copying lost the times."""
    first, second, third = (image(f"findings {n}") for n in range(3))
    for number, made in enumerate((first, second, third)):
        old.volume.push("app", made, "moved", at=1000 + number)
    old.volume.push("app", first, "moved", at=2000)
    for made in (third, second, first):
        old.volume.push("app", made, "copied", at=1000)
    async with old.taken():
        pass
    assert [(m[0], m[1]) for m in old.history("app", "moved")] == [
        (second.digest, 1001),
        (third.digest, 1002),
        (first.digest, 2000),
    ]
    assert old.history("app", "copied")[-1] == (first.digest, 1000, None)
