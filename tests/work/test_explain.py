"""Why something is still there, and what deleting it would free."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError, NameUnknownError
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.address import IndexAddress
from entrepot.db.opening import migrate_index, open_index
from entrepot.services.audit import Trail
from entrepot.services.delete import delete_reference
from entrepot.services.explaining import explain_digest, explain_repository, explain_tag
from entrepot.services.stores import Stores
from entrepot.services.uploads import Uploads
from entrepot.storage.memory import MemoryStore
from tests.unit.services.conftest import Clock, Site
from tests.wire.images import image, multi_platform
from tests.work.conftest import Run

pytestmark = pytest.mark.anyio

APP = RepositoryName("app")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    address = IndexAddress(f"sqlite://{tmp_path / 'index.sqlite3'}")
    migrate_index(address)
    index, store, clock = open_index(address), MemoryStore(), Clock()
    stores = Stores(index, store, store, clock, Trail(index, now=clock))
    yield Site(stores, Uploads(stores, key=b"key"), clock)
    await index.close()


async def test_a_tag_and_what_is_shared(site: Site) -> None:
    """What another repository needs, too, is not freed; nor is what another tag keeps."""
    pushed = image("mine", layer_count=2)
    size = sum(len(blob.data) for blob in pushed.blobs)
    await site.push("app", "1", pushed)
    found = await explain_tag(site.stores, APP, Tag("1"))
    assert (found.size, found.freed, found.digest) == (size, size, pushed.digest)
    assert [(each.reason, each.what) for each in found.kept] == [("tag", "1")]
    await site.push("app", "2", pushed)
    assert (await explain_tag(site.stores, APP, Tag("1"))).freed == 0
    assert (await explain_digest(site.stores, APP, Digest(pushed.digest))).freed == size
    await site.push("other", "1", pushed)
    assert (await explain_digest(site.stores, APP, Digest(pushed.digest))).freed == 0
    whole = await explain_repository(site.stores, APP)
    assert (whole.manifests, whole.tags, whole.size, whole.freed) == (1, 2, size, 0)


async def test_a_child_and_its_index(site: Site) -> None:
    pushed = multi_platform("family")
    await site.push("app", "1", pushed)
    child = pushed.children[0]
    found = await explain_digest(site.stores, APP, Digest(child.digest))
    (index,) = found.kept
    assert (index.reason, index.what) == ("index", pushed.digest)
    assert [(each.reason, each.what) for each in index.because] == [("tag", "1")]
    blobs = {blob.digest: len(blob.data) for blob in pushed.every_blob()}
    above = await explain_tag(site.stores, APP, Tag("1"))
    assert above.size == above.freed == sum(blobs.values())


async def test_what_was_deleted_and_blobs(site: Site) -> None:
    pushed = image("gone", layer_count=1)
    await site.push("app", "1", pushed)
    blob = Digest(pushed.blobs[0].digest)
    found = await explain_digest(site.stores, APP, blob)
    assert found.kind == "blob"
    assert [each.reason for each in found.kept] == ["manifest", "grace"]
    assert found.kept[0].because[0].what == "1"
    await delete_reference(site.stores, APP, Digest(pushed.digest), by=NOBODY)
    gone = await explain_digest(site.stores, APP, Digest(pushed.digest))
    assert gone.kind == "trash"
    assert gone.kept[0].until == site.clock.now + site.stores.keeping.trash
    after = await explain_digest(site.stores, APP, blob)
    assert "trash" in [each.reason for each in after.kept]
    assert after.review_at is not None
    with pytest.raises(ManifestUnknownError):
        await explain_tag(site.stores, APP, Tag("1"))
    with pytest.raises(ManifestUnknownError):
        await explain_digest(site.stores, APP, Digest.of(b"never"))
    with pytest.raises(BlobUnknownError):
        await explain_digest(site.stores, APP, Digest.of(b"never"), blob=True)
    with pytest.raises(NameUnknownError):
        await explain_repository(site.stores, RepositoryName("none"))


async def test_a_grace_period_has_its_end(site: Site) -> None:
    """What nothing else keeps is kept until it is looked at; by the clock that is asked, so that
    one that is set ahead does not end it.
    """
    pushed = image("alone")
    await site.push("app", pushed.digest, pushed)
    found = await explain_digest(site.stores, APP, Digest(pushed.digest))
    (grace,) = found.kept
    assert (grace.reason, grace.what) == ("grace", "since manifest.pushed")
    assert grace.until == found.review_at == site.clock.now + site.stores.keeping.grace
    ahead = replace(site.stores, now=lambda: site.clock.now + 2 * site.stores.keeping.grace)
    assert (await explain_digest(ahead, APP, Digest(pushed.digest))).kept == ()


async def test_the_command(tmp_path: Path, run: Run) -> None:
    config = tmp_path / "config.yml"
    root = tmp_path / "registry"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n", encoding="utf-8"
    )
    done = run("explain", "none:1", "--config", config)
    assert done.returncode == 1
    assert "there is no repository none" in done.stderr
    assert "Traceback" not in done.stderr
