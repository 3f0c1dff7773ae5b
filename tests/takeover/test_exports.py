"""`entrepot export-layout`: links are written, those of what is gone removed, all others kept."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from entrepot import moving
from entrepot.services.exports import Exported, TakeoverUnfinishedError
from tests.takeover.conftest import Old
from tests.takeover.test_serving import push, put
from tests.wire.images import image, index, schema1

pytestmark = pytest.mark.anyio

ONE, TWO = image("exports one"), image("exports two")
LAYOUT = "docker/registry/v2"


async def export(old: Old) -> Exported:
    return await asyncio.to_thread(moving.export, old.config)


def links(old: Old) -> set[str]:
    """The links below `repositories`."""
    base = old.volume.base / "repositories"
    return {path.relative_to(base).as_posix() for path in base.rglob("link")}


async def test_an_export_is_what_registry_2_would_have_written(old: Old) -> None:
    """Images that were pushed here lie there as if they had been pushed to `registry:2`."""
    async with old.taken() as site:
        await push(site, "team/app", "1", ONE)
        await push(site, "team/app", "2", TWO)
        assert await put(site, "team/app", "both", index([ONE, TWO])) == 201
    done = await export(old)
    assert (done.repositories, done.manifests, done.tags) == (1, 3, 3)
    written = {path: data for path, (data, _) in old.volume.files().items()}
    wanted = Old(old.root.parent / "wanted").volume
    wanted.push("team/app", ONE, "1")
    wanted.push("team/app", TWO, "2")
    wanted.push("team/app", index([ONE, TWO]), "both")
    assert written == {path: data for path, (data, _) in wanted.files().items()}


async def test_again_nothing_is_left_to_do(old: Old) -> None:
    old.volume.push("app", ONE, "1")
    before = old.volume.files()
    async with old.taken():
        pass
    for _ in range(2):
        done = await export(old)
        assert (done.written, done.removed, done.younger) == (0, 0, 0)
    assert old.volume.files() == before


async def test_times_are_kept(old: Old) -> None:
    """So that a tag's past survives the way back and another takeover."""
    old.volume.push("app", ONE, "1", at=1000)
    old.volume.push("app", TWO, "1", at=2000)
    async with old.taken():
        pass
    past = old.history("app", "1")
    for path in (old.volume.base / "repositories").rglob("link"):
        path.unlink()
    assert (await export(old)).written == len(links(old))
    for path in (old.root / "entrepot").iterdir():
        if path.is_file():
            path.unlink()
    async with old.taken():
        pass
    assert old.history("app", "1") == past == [(ONE.digest, 1000, None), (TWO.digest, 2000, None)]


async def test_what_was_deleted_goes(old: Old) -> None:
    with old.config_path.open("a") as file:
        file.write("lifecycle: {trash: {window: 0s}}\n")
    old.volume.push("app", ONE, "1", "also")
    old.volume.push("app", TWO, "2")
    async with old.taken() as site:
        assert (await site.ask("DELETE", f"/v2/app/manifests/{ONE.digest}")).status == 202
        lone = ONE.blobs[1].digest
        assert (await site.ask("DELETE", f"/v2/app/blobs/{lone}")).status == 202
    await export(old)
    left = links(old)
    assert not any("tags/1/" in link or "tags/also/" in link for link in left)
    assert f"app/_manifests/revisions/{ONE.digest.replace(':', '/')}/link" not in left
    assert f"app/_layers/{lone.replace(':', '/')}/link" not in left
    assert "app/_manifests/tags/2/current/link" in left


async def test_what_was_broken_stays(old: Old) -> None:
    """Schema 1 images, and what may be mended by hand."""
    old.volume.push("app", TWO, "2")
    ancient = schema1("exports")
    old.volume.manifest("app", ancient)
    old.volume.tag("app", "ancient", ancient.digest)
    old.volume.push("app", ONE, "torn")
    old.volume.blob_path(ONE.blobs[0].digest).unlink()
    old.volume.link("app/_manifests/tags/bent/current", "bent")
    before = links(old)
    async with old.taken():
        pass
    assert (await export(old)).removed == 0
    assert links(old) == before


async def test_what_registry_2_wrote_since_stays(old: Old) -> None:
    """And is taken in by an import."""
    old.volume.push("app", ONE, "1")
    async with old.taken():
        pass
    later = time.time() + 10
    old.volume.push("app", TWO, "2", at=later)
    for blob in TWO.blobs:
        os.utime(old.volume.layer("app", blob.digest), (later, later))
    before = links(old)
    done = await export(old)
    assert (done.removed, done.younger) == (0, 3 + len(TWO.blobs))
    assert links(old) == before
    await asyncio.to_thread(
        moving.import_storage, old.config, str(old.root), verify=False, tell=lambda _a, _b: None
    )
    async with old.taken() as site:
        assert (await site.get("/v2/app/manifests/2")).body == TWO.manifest.data


async def test_damaged_links_are_written_anew(old: Old) -> None:
    old.volume.push("app", ONE, "1")
    async with old.taken():
        pass
    before = old.volume.files()
    links_there = sorted((old.volume.base / "repositories").rglob("link"))
    links_there[0].write_bytes(b"")
    links_there[-1].write_bytes(b"sha256:nothing")
    assert (await export(old)).written == 2
    assert {p: d for p, (d, _) in old.volume.files().items()} == {
        p: d for p, (d, _) in before.items()
    }


async def test_not_in_the_middle_of_a_takeover(old: Old) -> None:
    """What is not taken over yet would look as if it were gone."""
    old.volume.push("app", ONE, "1")
    async with old.held():
        with pytest.raises(TakeoverUnfinishedError, match="import status"):
            await export(old)
    assert "app/_manifests/tags/1/current/link" in links(old)
