"""Quotas: what counts where, what is refused, and that sums stay right whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial

import pytest

from entrepot.core.audit import NOBODY
from entrepot.core.decision import relative_name
from entrepot.core.digest import Digest
from entrepot.core.errors import (
    BlobUnknownError,
    ManifestUnknownError,
    QuotaExceededError,
    UnsupportedError,
)
from entrepot.core.names import RepositoryName, parse_reference
from entrepot.core.quotas import RESOURCES, QuotaUnknownError, Resource
from entrepot.db import Transaction
from entrepot.db.blobs import forget_blob
from entrepot.db.recounts import find_drift
from entrepot.services.delete import delete_blob, delete_reference
from entrepot.services.limits import Limits
from entrepot.services.namespaces import Namespaces
from entrepot.services.push import ManifestRules, PushedManifest, Stored, put_manifest
from entrepot.services.quotas import Quotas
from entrepot.services.recounting import EVERY, Recounter, gather_shards, request_recount
from entrepot.services.trash import Selection, restore
from entrepot.services.uploads import Part
from entrepot.services.work import Runner
from tests.unit.services.conftest import Site, part, stream
from tests.wire import images
from tests.wire.images import Image

pytestmark = pytest.mark.anyio

MANY = 10**12


def quotas_of(site: Site) -> Quotas:
    stores = site.stores
    return Quotas(stores.index, now=stores.now, trail=stores.trail, changed=stores.limits.changed)


def namespaces_of(site: Site) -> Namespaces:
    return Namespaces(site.stores.index, now=site.clock, trail=site.stores.trail)


async def limit(
    site: Site,
    namespace: str,
    resource: Resource,
    hard: int | None = None,
    soft: int | None = None,
) -> None:
    await quotas_of(site).set(namespace, resource, soft=soft, hard=hard, by="test")


async def used(site: Site, namespace: str) -> dict[str, int]:
    """What is used, of everything, in a namespace that has some quota."""
    rows = await site.stores.index.fetch_all(
        "SELECT resource, CAST(SUM(used) AS BIGINT) FROM quota_usage "
        "JOIN namespaces ON namespaces.id = namespace_id WHERE name = :name GROUP BY resource",
        {"name": namespace},
    )
    return dict.fromkeys(RESOURCES, 0) | {row[0]: row[1] for row in rows}


async def there(site: Site, namespace: str) -> dict[str, int]:
    """What there is in a namespace, counted by hand."""
    index = site.stores.index
    names: dict[int, str] = dict(await index.fetch_all("SELECT id, name FROM repositories", {}))
    inside = {n for n, name in names.items() if relative_name(name, namespace) is not None}
    sizes: dict[bytes, int] = dict(await index.fetch_all("SELECT digest, size FROM blobs", {}))
    links = await index.fetch_all("SELECT repository_id, digest FROM repository_blobs", {})
    manifests = await index.fetch_all("SELECT repository_id FROM manifests", {})
    tags = await index.fetch_all("SELECT repository_id FROM tags", {})
    return {
        "bytes": sum(sizes[digest] for digest in {row[1] for row in links if row[0] in inside}),
        "repositories": len({row[0] for row in manifests} & inside),
        "manifests": sum(row[0] in inside for row in manifests),
        "tags": sum(row[0] in inside for row in tags),
    }


async def work(site: Site, *, batch: int = 3) -> None:
    """Do what is due in the background."""
    runner = Runner(
        site.stores.index,
        now=site.clock,
        trail=site.stores.trail,
        kinds={"recount": Recounter(site.stores, batch=batch, pause=0).run},
        node="here",
    )
    while await site.stores.index.fetch_all("SELECT 1 FROM jobs WHERE kind = 'recount'", {}):
        await runner.turn()
        await asyncio.gather(*runner._running.values())


async def put(site: Site, name: str, reference: str, image: Image) -> Stored:
    pushed = PushedManifest(
        RepositoryName(name),
        parse_reference(reference),
        image.manifest.data,
        image.manifest.media_type,
    )
    return await put_manifest(site.stores, pushed, rules=ManifestRules())


async def told(site: Site, action: str) -> list[str]:
    rows = await site.stores.index.fetch_all(
        "SELECT detail FROM audit_events WHERE action = :action ORDER BY id", {"action": action}
    )
    return [row[0] for row in rows]


def size_of(image: Image) -> int:
    return sum(len(blob.data) for blob in image.blobs)


# What counts ------------------------------------------------------------------------------------


async def test_a_blob_counts_once_in_a_namespace_and_in_each_above(site: Site) -> None:
    await namespaces_of(site).create("team", by="test")
    await namespaces_of(site).create("team/sub", by="test")
    for name in ("/", "team", "team/sub"):
        await limit(site, name, "bytes", MANY)
    one, two = images.image("one"), images.image("two")
    await site.push("team/sub/a", "1", one)
    await site.push("team/b", "1", one)
    await site.push("team-b", "1", one)
    await site.push("team", "1", two)
    assert await used(site, "team/sub") == {
        "bytes": size_of(one),
        "repositories": 1,
        "manifests": 1,
        "tags": 1,
    }
    assert await used(site, "team") == {
        "bytes": size_of(one) + size_of(two),
        "repositories": 3,
        "manifests": 3,
        "tags": 3,
    }
    assert await used(site, "") == await there(site, "")


async def test_what_is_there_already_is_counted_when_a_quota_is_set(site: Site) -> None:
    """Also while it is pushed to and deleted from, and by whoever goes on after an interruption."""
    shared = images.image("shared")
    for number in range(8):
        await site.push(f"team/r{number}", "1", images.image(f"before {number}"))
        await site.push(f"team/r{number}", "2", shared)
    await namespaces_of(site).create("team", by="test")
    await limit(site, "team", "tags", MANY)
    assert (await quotas_of(site).find("team", "tags")).quota.counted_at is None
    await site.push("team/r3", "3", images.image("meanwhile"))
    await delete_reference(site.stores, RepositoryName("team/r0"), parse_reference("1"), by=NOBODY)
    await delete_reference(site.stores, RepositoryName("team/r5"), parse_reference("2"), by=NOBODY)
    await work(site)
    assert await used(site, "team") == await there(site, "team")
    assert (await quotas_of(site).find("team", "tags")).quota.counted_at == site.clock.now
    await limit(site, "team", "bytes", MANY)
    assert (await quotas_of(site).find("team", "bytes")).quota.counted_at == site.clock.now
    assert await told(site, "quota.correct") == []


async def test_sums_stay_right_whatever_happens(site: Site) -> None:
    """Pushes, deletions, undo, lost blobs, quotas and namespaces that come and go."""
    chance = random.Random("quotas")
    spaces = namespaces_of(site)
    made = [images.image(f"shuffled {number}") for number in range(6)]
    names = ["a", "a/x", "a/b/x", "a/b/c/x", "d/x", "a-b"]
    for _ in range(160):
        name, image = chance.choice(names), chance.choice(made)
        tag = str(chance.randrange(4))
        match chance.randrange(12):
            case 0 | 1 | 2 | 3 | 4:
                await site.push(name, tag, image)
            case 5:
                await _try_delete(site, name, tag)
            case 6:
                await _try_delete(site, name, image.manifest.digest)
            case 7:
                await _try_delete_blob(site, name, Digest(chance.choice(image.blobs).digest))
            case 8:
                await _try_restore(site)
            case 9:
                space = chance.choice(["a", "a/b", "a/b/c", "d"])
                await _turn_namespace(site, spaces, space)
            case 10:
                await _turn_quota(site, chance)
            case 11:
                lost = Digest(chance.choice(image.blobs).digest)
                await site.stores.index.write(partial(_lose, digest=lost))
    await work(site)
    seen = 0
    for standing in await quotas_of(site).list():
        space = standing.quota.namespace
        assert await used(site, space) == await there(site, space), space
        seen += 1
    assert seen
    assert await told(site, "quota.correct") == []


async def _try_delete(site: Site, name: str, reference: str) -> None:
    try:
        wanted = parse_reference(reference)
        await delete_reference(site.stores, RepositoryName(name), wanted, by=NOBODY)
    except ManifestUnknownError:
        pass


async def _try_delete_blob(site: Site, name: str, digest: Digest) -> None:
    with suppress(BlobUnknownError, UnsupportedError):
        await delete_blob(site.stores, RepositoryName(name), digest, by=NOBODY)


async def _try_restore(site: Site) -> None:
    rows = await site.stores.index.fetch_all("SELECT operation FROM trash LIMIT 1", {})
    if rows:
        selection = Selection(operation=rows[0][0])
        await restore(site.stores, selection, by=NOBODY, force=True)


async def _turn_namespace(site: Site, spaces: Namespaces, name: str) -> None:
    known = {each.namespace.name for each in await spaces.list()}
    if name in known:
        await spaces.delete(name, by="test", move_up=True)
    else:
        await spaces.create(name, by="test")


async def _turn_quota(site: Site, chance: random.Random) -> None:
    names = [row[0] for row in await site.stores.index.fetch_all("SELECT name FROM namespaces", {})]
    name = chance.choice(sorted(names)) or "/"
    if chance.randrange(3):
        await limit(site, name, chance.choice(RESOURCES), MANY)
        if chance.randrange(2):
            await work(site)
    else:
        for standing in await quotas_of(site).list(name):
            await quotas_of(site).remove(name, standing.quota.resource, by="test")


async def _lose(transaction: Transaction, *, digest: Digest) -> None:
    users = await transaction.fetch_all(
        "SELECT 1 FROM manifest_blobs WHERE digest = :digest LIMIT 1", {"digest": digest.packed}
    )
    if not users:
        await forget_blob(transaction, digest)


async def test_a_wrong_sum_is_put_right_and_told(site: Site) -> None:
    await site.push("team/a", "1", images.image("one"))
    await namespaces_of(site).create("team", by="test")
    await limit(site, "team", "bytes", MANY)
    await work(site)

    async def spoil(transaction: Transaction) -> None:
        await transaction.execute("UPDATE quota_usage SET used = used + 5", {})
        await transaction.execute(
            "DELETE FROM namespace_blobs WHERE digest = "
            "(SELECT digest FROM namespace_blobs ORDER BY digest LIMIT 1)",
            {},
        )

    await site.stores.index.write(spoil)
    await ask_for_everything(site)
    assert await used(site, "team") == await there(site, "team")
    (detail,) = await told(site, "quota.correct")
    assert '"manifests":-5' in detail
    await ask_for_everything(site)
    assert len(await told(site, "quota.correct")) == 1


async def ask_for_everything(site: Site) -> None:
    site.clock.now += EVERY
    await request_recount(site.stores)
    await work(site)


async def test_shards_are_brought_together(site: Site) -> None:
    await limit(site, "/", "tags", MANY)
    await work(site)

    async def scatter(transaction: Transaction) -> None:
        for shard in range(1000, 1100):
            await transaction.execute(
                "INSERT INTO quota_usage (namespace_id, resource, shard, used) "
                "VALUES (1, 'tags', :shard, :used)",
                {"shard": shard, "used": shard - 1050},
            )

    await site.stores.index.write(scatter)
    before = await used(site, "")
    await gather_shards(site.stores)
    assert await used(site, "") == before
    rows = await site.stores.index.fetch_all(
        "SELECT 1 FROM quota_usage WHERE resource = 'tags'", {}
    )
    assert len(rows) == 1


async def test_nothing_is_left_of_quotas_that_are_removed(site: Site) -> None:
    await limit(site, "/", "bytes", MANY)
    await site.push("a", "1", images.image("one"))
    await work(site)
    await quotas_of(site).remove("/", "bytes", by="test")
    for table in ("quota_usage", "namespace_blobs"):
        assert await site.stores.index.fetch_all(f"SELECT 1 FROM {table}", {}) == []
    rows = await site.stores.index.fetch_all("SELECT counted_in FROM namespaces", {})
    assert rows == [(None,)]
    with pytest.raises(QuotaUnknownError, match="the root namespace has no quota of bytes"):
        await quotas_of(site).remove("/", "bytes", by="test")


# What is refused --------------------------------------------------------------------------------


async def test_bytes_that_do_not_fit_are_refused_before_they_are_read(site: Site) -> None:
    await limit(site, "/", "bytes", 100)
    data = b"x" * 101
    name, digest = RepositoryName("a"), Digest.of(data)
    read: list[bytes] = []

    async def pieces() -> AsyncIterator[bytes]:
        read.append(data)
        yield data

    announced = Part(body=pieces(), position=None, length=len(data))
    with pytest.raises(QuotaExceededError, match="0 B are used; this needs 101 B more"):
        await site.uploads.finish(site.uploads.begin(name), announced, digest)
    with pytest.raises(QuotaExceededError):
        await site.uploads.append(site.uploads.begin(name), announced)
    assert read == []
    await site.push_blob("a", b"x" * 100)
    with pytest.raises(QuotaExceededError):
        await site.push_blob("a", b"y")
    await site.uploads.check(name)  # an upload may begin: its blob may be there already
    await site.push_blob("b", b"x" * 100)


async def test_a_stream_ends_where_the_quota_does(site: Site) -> None:
    """And what the upload held before is held after."""
    await limit(site, "/", "bytes", 100)
    name = RepositoryName("a")
    state = await site.uploads.append(site.uploads.begin(name), part(b"x" * 60))
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 30
            yield b"x" * 30

    with pytest.raises(QuotaExceededError):
        await site.uploads.append(state, Part(endless(), position=None, length=None))
    assert given == 60
    again, _ = await site.uploads.find(name, state.upload, signed=site.uploads.sign(state))
    assert again.offset == 60
    whole = Digest.of(b"x" * 60)
    await site.uploads.finish(again, Part(stream(), position=None, length=0), whole)
    assert (await used(site, ""))["bytes"] == 60


async def test_what_is_counted_costs_nothing(site: Site) -> None:
    """A mount, another manifest of the same blobs, and an upload that names its digest."""
    one = images.image("one")
    await site.push("a", "1", one)
    await namespaces_of(site).create("team", by="test")
    await limit(site, "/", "bytes", size_of(one))
    await limit(site, "team", "bytes", size_of(one) - 1)
    await work(site)
    for blob in one.blobs:
        digest = Digest(blob.digest)
        assert await site.uploads.mount(RepositoryName("b"), digest, source=RepositoryName("a"))
        await site.push_blob("c", blob.data)
    stored = await put(site, "b", "1", one)
    assert stored.warnings == []
    with pytest.raises(QuotaExceededError, match="namespace team"):
        await _mount_all(site, "team/a", one)
    assert await used(site, "team") == await there(site, "team")


async def _mount_all(site: Site, name: str, image: Image) -> None:
    for blob in image.blobs:
        digest = Digest(blob.digest)
        await site.uploads.mount(RepositoryName(name), digest, source=RepositoryName("a"))


@pytest.mark.parametrize("resource", ["repositories", "manifests", "tags"])
async def test_one_more_than_allowed_is_refused(site: Site, resource: Resource) -> None:
    one, two = images.image("one"), images.image("two")
    await site.push("a", "1", one)
    await limit(site, "/", resource, 1)
    await work(site)
    await put(site, "a", "1", one)
    site.stores.limits.changed()
    with pytest.raises(QuotaExceededError) as refused:
        await site.push("b" if resource == "repositories" else "a", "2", two)
    assert refused.value.quota == ("/", resource)
    assert await used(site, "") == await there(site, "")


async def test_a_repository_counts_as_long_as_it_has_a_manifest(site: Site) -> None:
    """Not for what is in its trash, nor for blobs alone."""
    one, two = images.image("one"), images.image("two")
    await limit(site, "/", "repositories", 1)
    await site.push("a", "1", one)
    await site.push("a", "2", two)
    await delete_reference(site.stores, RepositoryName("a"), Digest(one.digest), by=NOBODY)
    site.stores.limits.changed()
    with pytest.raises(QuotaExceededError):
        await site.push("b", "1", one)
    await delete_reference(site.stores, RepositoryName("a"), Digest(two.digest), by=NOBODY)
    assert await used(site, "") == await there(site, "")
    assert (await used(site, ""))["repositories"] == 0
    site.stores.limits.changed()
    await site.push("b", "1", one)
    with pytest.raises(QuotaExceededError):
        await site.push("a", "1", one)
    await restore(site.stores, Selection(repository="a"), by=NOBODY)
    assert (await used(site, ""))["repositories"] == 2
    assert await used(site, "") == await there(site, "")
    await work(site)
    assert await told(site, "quota.correct") == []


async def test_all_namespaces_above_must_allow(site: Site) -> None:
    await namespaces_of(site).create("team", by="test")
    await namespaces_of(site).create("team/sub", by="test")
    await limit(site, "team", "tags", 1)
    await limit(site, "team/sub", "tags", 5)
    await site.push("team/sub/a", "1", images.image("one"))
    with pytest.raises(QuotaExceededError, match="namespace team is 1 tags"):
        await site.push("team/sub/a", "2", images.image("two"))
    await site.push("other", "2", images.image("two"))


async def test_a_soft_limit_warns_each_push_and_tells_each_crossing_once(site: Site) -> None:
    await limit(site, "/", "tags", soft=2)
    one = images.image("one")
    await site.push("a", "0", one)
    assert [len((await put(site, "a", str(n), one)).warnings) for n in range(1, 5)] == [0, 1, 1, 1]
    assert len(await told(site, "quota.exceed")) == 1
    for tag in ("1", "2", "3", "4"):
        await _try_delete(site, "a", tag)
    assert (await put(site, "a", "1", one)).warnings == []
    assert len(await told(site, "quota.recover")) == 1
    assert [len((await put(site, "a", str(n), one)).warnings) for n in range(2, 4)] == [1, 1]
    assert len(await told(site, "quota.exceed")) == 2


async def test_a_quota_counts_on_other_processes_soon(site: Site) -> None:
    """What a process knows of the quotas is two seconds old at most."""
    other = Limits()
    assert list(await other.over(site.stores.index, "a")) == []
    await limit(site, "/", "tags", 1)
    other._read_at -= 3
    assert [quota.resource for quota in await other.over(site.stores.index, "a")] == ["tags"]


async def drift(site: Site) -> Mapping[Resource, int]:
    return await find_drift(site.stores.index, 1, "")


async def test_a_hundred_pushes_at_once_are_counted_exactly(site: Site) -> None:
    await limit(site, "/", "bytes", MANY)
    await work(site)
    shared = images.image("shared")
    await site.push("first", "1", shared)

    async def push(number: int) -> None:
        await site.push(f"r{number}", "1", images.image(f"own {number}"))
        await site.push(f"r{number}", "2", shared)

    await asyncio.gather(*(push(number) for number in range(100)))
    assert await used(site, "") == await there(site, "")
    assert await drift(site) == {}
