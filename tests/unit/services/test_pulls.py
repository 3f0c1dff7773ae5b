"""Pulls are counted without a write on the read path, and add up whoever counts them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from entrepot.core.audit import Actor
from entrepot.core.digest import Digest
from entrepot.core.manifest import DOCKER_LIST, DOCKER_MANIFEST
from entrepot.core.names import Reference, RepositoryName, Tag, parse_reference
from entrepot.core.pulls import Pulled, TagUse
from entrepot.db.address import IndexAddress
from entrepot.db.engine import Database, Transaction, Work
from entrepot.db.errors import DatabaseError
from entrepot.db.opening import open_index
from entrepot.services import delete, discovery, pull, pulls
from entrepot.services.pulls import Pulls
from tests.unit.services.conftest import SECOND, Site
from tests.wire import images

pytestmark = pytest.mark.anyio

A = RepositoryName("a")


async def ask(site: Site, reference: str, *, by: str = "GET", accept: str | None = None) -> None:
    counts = int(by == "GET")
    await pull.resolve(site.stores, A, parse_reference(reference), accept=accept, pulls=counts)


async def uses(site: Site) -> dict[str, TagUse]:
    found = await discovery.list_tag_uses(site.stores, A, last="", limit=100)
    return {use.tag: use for use in found}


async def write(site: Site) -> None:
    await site.stores.pulls.write(site.stores.index, now=site.clock.now)


async def test_what_is_shown_of_tags(site: Site) -> None:
    made = images.multi_platform("uses")
    pushed_at = site.clock.now
    digest = await site.push("a", "latest", made)
    needed = {blob.digest: len(blob.data) for child in made.children for blob in child.blobs}
    manifests = [made.manifest, *(child.manifest for child in made.children)]
    size = sum(needed.values()) + sum(len(manifest.data) for manifest in manifests)
    for _ in range(3):
        await ask(site, "latest")
    assert (await uses(site))["latest"].pulls == 0, "nothing is written by a read"
    site.clock.now += SECOND
    await write(site)
    media_type = made.manifest.media_type
    used = TagUse("latest", digest, media_type, pushed_at, pushed_at + SECOND, 3, size)
    assert await uses(site) == {"latest": used}


async def test_a_docker_pull_counts_once_and_a_look_not_at_all(site: Site) -> None:
    """HEAD of the tag, GET of the digest; whoever has the image only does the first."""
    digest = await site.push("a", "latest", images.image("docker"))
    await ask(site, "latest", by="HEAD")
    await ask(site, digest)
    await write(site)
    assert (await uses(site))["latest"].pulls == 1
    site.clock.now += SECOND
    await ask(site, "latest", by="HEAD")
    await write(site)
    found = (await uses(site))["latest"]
    assert (found.pulls, found.pulled_at) == (1, site.clock.now)


async def test_a_tag_is_used_by_its_digest_but_not_by_another_tag(site: Site) -> None:
    made = images.image("tags")
    await site.push("a", "one", made)
    digest = await site.push("a", "two", made)
    await ask(site, "one")
    await write(site)
    assert {tag: use.pulls for tag, use in (await uses(site)).items()} == {"one": 1, "two": 0}
    await ask(site, digest)
    await write(site)
    assert {tag: use.pulls for tag, use in (await uses(site)).items()} == {"one": 2, "two": 1}


async def test_processes_add_up_and_no_clock_goes_back(
    site: Site, index_address: IndexAddress
) -> None:
    digest = await site.push("a", "latest", images.image("several"))
    other = Pulls()
    for _ in range(2):
        other.note(A, digest, Tag("latest"), pulls=1)
    await ask(site, "latest")
    await write(site)
    index = open_index(index_address)
    await other.write(index, now=site.clock.now - SECOND)
    await index.close()
    found = (await uses(site))["latest"]
    assert (found.pulls, found.pulled_at) == (3, site.clock.now)


async def test_a_list_counts_though_its_image_is_given(site: Site) -> None:
    """To a client that takes no lists."""
    made = images.docker_list("old")
    assert made.manifest.media_type == DOCKER_LIST
    await site.push("a", "latest", made)
    await ask(site, "latest", accept=DOCKER_MANIFEST)
    await write(site)
    assert (await uses(site))["latest"].pulls == 1


async def test_what_was_deleted_meanwhile_is_not_counted(site: Site) -> None:
    reference: Reference = await site.push("a", "latest", images.image("gone"))
    await ask(site, "latest")
    await delete.delete_reference(site.stores, A, reference, by=Actor("ada", "user"))
    await write(site)
    assert await uses(site) == {}


class Failing:
    """An index that can't be written until it is told to work."""

    def __init__(self, index: Database) -> None:
        self._index = index
        self.works = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._index, name)

    async def write_lazily(self, work: Work[None]) -> None:
        async def half(transaction: Transaction) -> None:
            await work(transaction)
            if not self.works:
                raise DatabaseError("no")

        await self._index.write_lazily(half)


async def test_what_cannot_be_written_stays(site: Site) -> None:
    """Also what came in while it was tried, and nothing twice."""
    await site.push("a", "latest", images.image("failing"))
    failing = Failing(site.stores.index)
    await ask(site, "latest")
    with pytest.raises(DatabaseError):
        await site.stores.pulls.write(failing, now=site.clock.now)  # type: ignore[arg-type]
    await ask(site, "latest")
    assert (await uses(site))["latest"].pulls == 0
    failing.works = True
    await site.stores.pulls.write(failing, now=site.clock.now)  # type: ignore[arg-type]
    await write(site)
    assert (await uses(site))["latest"].pulls == 2


async def test_memory_is_bounded() -> None:
    counted = Pulls()
    for number in range(pulls.MOST + 10):
        counted.note(A, Digest.of(b"%d" % number), Tag("latest"), pulls=1)
    assert len(counted._counts) == pulls.MOST
    first = Digest.of(b"0")
    counted.note(A, first, Tag("latest"), pulls=1)
    assert counted._counts[Pulled(A, first, "latest")] == 2, "what is known counts on"


async def test_many_are_written_before_their_time_and_all_at_the_end(site: Site) -> None:
    """Rows of more than one transaction, and what came after it."""
    made = images.image("many")
    digest = await site.push("a", "latest", made)
    counted = Pulls()
    stores = replace(site.stores, pulls=counted)
    task = asyncio.create_task(counted.run(stores.index, site.clock))
    for number in range(pulls.MANY):
        counted.note(A, digest, Tag(f"t{number}"), pulls=1)
    while counted._counts:  # noqa: ASYNC110 - it says nothing when it has written
        await asyncio.sleep(0.01)
    counted.note(A, digest, Tag("latest"), pulls=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await uses(site))["latest"].pulls == 1
    row = await site.stores.index.fetch_one("SELECT SUM(pulls) FROM pull_statistics", {})
    assert row is not None
    assert int(row[0]) == pulls.MANY + 1
