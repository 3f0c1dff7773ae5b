"""Deleting repositories and namespaces as a whole."""

from __future__ import annotations

import pytest

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import DeniedError, ManifestUnknownError, NameUnknownError
from entrepot.core.names import RepositoryName, Tag
from entrepot.services import deletion
from entrepot.services.deletion import (
    Preview,
    Progress,
    delete_content,
    delete_repository,
    preview_namespace,
    preview_reference,
    preview_repository,
)
from entrepot.services.protection import place_hold, protect_tags, unprotect_tags
from entrepot.services.trash import Selection, list_trash, restore
from tests.unit.services.conftest import Site
from tests.unit.services.test_trash import content, in_trash
from tests.wire import images

pytestmark = pytest.mark.anyio

A, B = RepositoryName("team/a"), RepositoryName("team/b")
DONE = "0123456789abcdef"


async def furnish(site: Site) -> None:
    """Two repositories of a namespace that share a blob, and one that is beside it."""
    nested = images.index([images.multi_platform("nested")])
    for child in nested.children:
        await site.push("team/a", child.digest, child)
    await site.push("team/a", "nested", nested)
    await site.push("team/a", "v1", images.image("one"))
    await site.put("team/a", "v2", images.image("one"))
    for number in range(3):
        signature = images.artifact(f"s{number}", subject=images.image("one").manifest)
        await site.push("team/a", signature.digest, signature)
    await site.push("team/b", "v1", images.image("one"))
    await site.push("teams/c", "v1", images.image("elsewhere"))
    await site.push("teams/c", "v2", images.artifact("empty"))


def sizes(*made: images.Image) -> int:
    """The bytes of all blobs, each counted once, but for the one that is everywhere."""
    blobs = {blob.digest: len(blob.data) for image in made for blob in image.every_blob()}
    blobs.pop(images.EMPTY.digest, None)
    return sum(blobs.values())


SIGNATURES = [images.artifact(f"s{n}", subject=images.image("one").manifest) for n in range(3)]
OF_A = [images.multi_platform("nested"), *SIGNATURES]


def numbers(found: Preview) -> tuple[int, int, int, int]:
    return found.repositories, found.manifests, found.tags, found.freed


@pytest.fixture(params=[1, 2, 200])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(deletion, "BATCH", request.param)
    size: int = request.param
    return size


async def test_a_repository_goes_and_comes_back(site: Site, batch: int) -> None:
    await furnish(site)
    before = await content(site)
    preview = await preview_repository(site.stores, A)
    assert preview == Preview(1, 8, 3, sizes(*OF_A))
    done = await delete_repository(site.stores, A, operation=DONE, by=NOBODY)
    assert done == Progress(8, 3, left=False)
    assert await in_trash(site) == 11
    assert {row[0] for row in (await content(site))["tags"]} == {"v1", "v2"}
    again = await delete_repository(site.stores, A, operation=DONE, by=NOBODY)
    assert again == Progress(0, 0, left=False)
    await restore(site.stores, Selection(operation=DONE), by=NOBODY)
    assert await content(site) == before
    assert await in_trash(site) == 0


async def test_a_namespace_goes_in_steps_and_comes_back(site: Site, batch: int) -> None:
    await furnish(site)
    before = await content(site)
    assert await preview_namespace(site.stores, "team") == Preview(
        2, 9, 4, sizes(*OF_A, images.image("one"))
    )
    steps = 0
    manifests = tags = 0
    left = True
    while left:
        done = await delete_content(site.stores, "team", operation=DONE, by=NOBODY, step=1)
        manifests, tags, left = manifests + done.manifests, tags + done.tags, done.left
        steps += 1
    assert (manifests, tags) == (9, 4)
    assert steps >= 9 / batch
    rows = await list_trash(site.stores.index, Selection(namespace="team"), limit=99)
    assert len(rows) == 13
    await restore(site.stores, Selection(namespace="team"), by=NOBODY)
    assert await content(site) == before


async def test_nothing_goes_if_something_must_stay(site: Site) -> None:
    await furnish(site)
    before = await content(site)
    rule = await protect_tags(
        site.stores, "/", repositories="**", tags="v2", exception=False, by="root"
    )
    preview = await preview_namespace(site.stores, "team")
    assert len(preview.refused) == 1
    assert "tag team/a:v2" in preview.refused[0]
    for refused in (
        delete_repository(site.stores, A, operation=DONE, by=NOBODY),
        delete_content(site.stores, "team", operation=DONE, by=NOBODY),
    ):
        with pytest.raises(DeniedError, match="v2"):
            await refused
    await unprotect_tags(site.stores, rule.id, by="root")
    await place_hold(site.stores, B, None, reason="r", owner="legal", by="root")
    with pytest.raises(DeniedError, match="legal"):
        await delete_content(site.stores, "team", operation=DONE, by=NOBODY)
    assert (await preview_repository(site.stores, B)).refused != []
    assert await content(site) == before


async def test_what_deleting_an_image_would_do(site: Site) -> None:
    """Bytes that something else needs, or another repository links, are not freed."""
    await furnish(site)
    one = Digest(images.image("one").digest)
    found = await preview_reference(site.stores, A, one)
    assert found.going[:3] == ["tag v1", "tag v2", f"manifest {one}"]
    assert {line.rpartition(", ")[2] for line in found.going[3:]} == {f"which belongs to {one}"}
    assert numbers(found) == (1, 4, 2, sizes(*SIGNATURES))
    assert (found.refused, found.staying) == ([], [])
    nested = Digest(images.index([images.multi_platform("nested")]).digest)
    found = await preview_reference(site.stores, A, nested)
    assert numbers(found) == (1, 1, 1, sizes(images.multi_platform("nested")))
    await site.put("team/a", "signature", SIGNATURES[0])
    (stays,) = (await preview_reference(site.stores, A, one)).staying
    assert stays.startswith(f"manifest {SIGNATURES[0].digest} belongs to it, but has another tag")
    child = Digest(images.multi_platform("nested").digest)
    assert (await preview_reference(site.stores, A, child)).refused == [
        f"{nested} lists it: delete that first"
    ]
    found = await preview_reference(site.stores, A, Tag("v1"))
    assert (numbers(found), found.going) == ((1, 0, 1, 0), ["tag v1"])
    assert found.staying == [f"manifest {one}, until nothing needs it any more"]
    await place_hold(site.stores, A, one, reason="r", owner="legal", by="root")
    assert "legal" in (await preview_reference(site.stores, A, Tag("v1"))).refused[0]
    for name, reference in ((A, Tag("no")), (A, Digest.of(b"no")), (RepositoryName("no"), one)):
        with pytest.raises(ManifestUnknownError):
            await preview_reference(site.stores, name, reference)


async def test_what_is_not_there(site: Site) -> None:
    for name in ("team", "no"):
        assert await preview_namespace(site.stores, name) == Preview()
    with pytest.raises(NameUnknownError):
        await preview_repository(site.stores, A)
    with pytest.raises(NameUnknownError):
        await delete_repository(site.stores, A, operation=DONE, by=NOBODY)
