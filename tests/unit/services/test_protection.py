"""What can't be moved or deleted: protected tags, and what is on hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import DeniedError
from entrepot.core.names import RepositoryName, Tag, parse_reference
from entrepot.core.protections import (
    Hold,
    Protection,
    ProtectionConflictError,
    ProtectionError,
    ProtectionUnknownError,
)
from entrepot.db.holds import find_hold_on
from entrepot.db.repositories import find_repository
from entrepot.services.delete import delete_blob, delete_reference
from entrepot.services.namespaces import Namespaces
from entrepot.services.protection import (
    list_protected,
    place_hold,
    protect_tags,
    release_hold,
    unprotect_tags,
)
from entrepot.services.trash import Emptied, Selection, empty_trash, expire_trash, restore
from tests.unit.services.conftest import SECOND, Site
from tests.unit.services.test_trash import clear_reviews, content, in_trash, reviewed
from tests.wire import images

pytestmark = pytest.mark.anyio

A = RepositoryName("a")
ONE, OTHER = images.image("one"), images.image("other")
DAY = 86_400 * SECOND


async def protect(site: Site, tags: str, *, exception: bool = False) -> Protection:
    return await protect_tags(
        site.stores, "/", repositories="**", tags=tags, exception=exception, by="root"
    )


async def hold(site: Site, reference: str = "", *, expires_at: int | None = None) -> Hold:
    return await place_hold(
        site.stores,
        A,
        parse_reference(reference) if reference else None,
        reason="a lawsuit",
        owner="legal",
        expires_at=expires_at,
        by="root",
    )


async def kept(site: Site, reference: str, match: str) -> None:
    """It is not deleted, for this reason."""
    wanted = parse_reference(reference)
    await refused(site, lambda: delete_reference(site.stores, A, wanted, by=NOBODY), match)


async def refused(site: Site, what: Callable[[], Awaitable[object]], match: str) -> None:
    """It is refused with this in its reason, and changes nothing."""
    before = {**await content(site), "links": []}, await in_trash(site)
    with pytest.raises(DeniedError, match=match):
        await what()
    assert ({**await content(site), "links": []}, await in_trash(site)) == before


# Protected tags ---------------------------------------------------------------------------------


async def test_a_protected_tag_neither_moves_nor_goes(site: Site) -> None:
    digest = await site.push("a", "v1", ONE)
    rule = await protect(site, "v*")
    await site.push("a", "v2", ONE)
    await site.push("a", "v1", ONE)
    await site.push("a", "latest", ONE)
    await site.push("a", "latest", OTHER)
    await refused(site, lambda: site.push("a", "v1", OTHER), f"rule {rule.id} protects tags v")
    for reference in (Tag("v1"), digest):
        await kept(site, reference, "tag v1")
    await delete_reference(site.stores, A, Tag("latest"), by=NOBODY)
    assert set(await list_protected(site.stores.index, A, [Tag("v1"), Tag("x")])) == {"v1"}
    await unprotect_tags(site.stores, rule.id, by="root")
    await site.push("a", "v1", OTHER)
    await delete_reference(site.stores, A, digest, by=NOBODY)


async def test_a_protected_tag_is_not_moved_back_by_force(site: Site) -> None:
    digest = await site.push("a", "v1", ONE)
    done = await delete_reference(site.stores, A, digest, by=NOBODY)
    await site.push("a", "v1", OTHER)
    await protect(site, "*")
    await refused(
        site,
        lambda: restore(site.stores, Selection(operation=done.operation), by=NOBODY, force=True),
        "tag v1",
    )


async def test_rules_are_found_by_the_namespaces_of_a_repository(site: Site) -> None:
    namespaces = Namespaces(site.stores.index, now=site.clock)
    for name in ("team", "team/sub", "tea", "other"):
        await namespaces.create(name, by="root")
        await protect_tags(
            site.stores, name, repositories="**", tags=f"{name[-3:]}*", exception=False, by="root"
        )
    tags = [Tag(text) for text in ("eam1", "sub1", "tea1", "her1")]
    found = await list_protected(site.stores.index, RepositoryName("team/sub/x"), tags)
    assert set(found) == {"eam1", "sub1"}


async def test_rules_that_can_not_be(site: Site) -> None:
    rule = await protect(site, "v*")
    with pytest.raises(ProtectionConflictError, match=f"rule {rule.id}"):
        await protect(site, "v*")
    await protect(site, "v*", exception=True)
    with pytest.raises(ProtectionUnknownError):
        await unprotect_tags(site.stores, 99, by="root")


# Holds ------------------------------------------------------------------------------------------


async def test_nothing_of_an_image_on_hold_goes(site: Site) -> None:
    """Neither itself, nor a tag of it, nor what refers to it; whatever else stays free."""
    digest = await site.push("a", "v1", ONE)
    signature = images.artifact("signature", subject=ONE.manifest)
    await site.push("a", signature.digest, signature)
    cosign = Tag(f"{images.fallback_tag(digest)}.sig")
    await site.push("a", cosign, images.artifact("cosign"))
    placed = await hold(site, "v1")
    assert placed.digest == digest
    for reference in (digest, Tag("v1"), Digest(signature.digest), cosign):
        await kept(site, reference, "hold .* of legal keeps .*: a lawsuit")
    await refused(site, lambda: site.push("a", "v1", OTHER), "a lawsuit")
    other = await site.push("a", "v2", OTHER)
    await delete_reference(site.stores, A, other, by=NOBODY)
    await release_hold(site.stores, placed.id, by="root")
    await delete_reference(site.stores, A, digest, by=NOBODY)


async def test_nothing_of_a_repository_on_hold_goes(site: Site) -> None:
    digest = await site.push("a", "v1", ONE)
    blob = await site.push_blob("a", b"unused")
    await hold(site)
    await kept(site, digest, "legal")
    await refused(site, lambda: delete_blob(site.stores, A, blob, by=NOBODY), "legal")
    await refused(site, lambda: site.push("a", "v1", OTHER), "legal")
    await site.push("a", "v2", OTHER)


async def test_a_hold_ends_by_itself(site: Site) -> None:
    digest = await site.push("a", "v1", ONE)
    repository = await find_repository(site.stores.index, A)
    assert repository is not None
    placed = await hold(site, digest, expires_at=site.clock.now + DAY)
    ask = site.stores.index
    assert await find_hold_on(ask, repository, digest, now=site.clock.now) == placed
    assert await find_hold_on(ask, repository, Digest.of(b""), now=site.clock.now) is None
    site.clock.now += DAY
    assert await find_hold_on(ask, repository, digest, now=site.clock.now) is None
    await delete_reference(site.stores, A, digest, by=NOBODY)


@pytest.mark.parametrize("whole", [True, False])
async def test_a_hold_keeps_the_trash(site: Site, whole: bool) -> None:
    digest = await site.push("a", "v1", ONE)
    other = await site.push("a", "v2", OTHER)
    for each in (digest, other):
        await delete_reference(site.stores, A, each, by=NOBODY)
    placed = await hold(site, "" if whole else digest)
    late = site.clock.now + 100 * DAY
    done = await empty_trash(site.stores, Selection(repository="a"), by=NOBODY)
    assert done == (Emptied(0, 4) if whole else Emptied(2, 2))
    assert await expire_trash(site.stores, now=late) == 0
    await release_hold(site.stores, placed.id, by="root")
    assert await expire_trash(site.stores, now=late) == done.held


async def test_what_a_hold_kept_is_looked_at_when_it_ends(site: Site) -> None:
    """What a tag left, or was pushed meanwhile; what lay there without a tag is left alone."""
    await site.push("a", images.image("old").digest, images.image("old"))
    left = await site.push("a", "v1", ONE)
    await site.push("a", "v1", OTHER)
    site.clock.now += 30 * DAY
    placed = await hold(site)
    pushed = await site.push("a", images.image("new").digest, images.image("new"))
    await clear_reviews(site)
    await release_hold(site.stores, placed.id, by="root")
    after = site.clock.now + site.stores.keeping.grace
    assert await reviewed(site) == {left: after, pushed: after}


async def test_holds_that_can_not_be(site: Site) -> None:
    await site.push("a", "v1", ONE)
    with pytest.raises(ProtectionError, match="before it begins"):
        await hold(site, expires_at=site.clock.now)
    for reference in ("no", Digest.of(b"no")):
        with pytest.raises(ProtectionUnknownError):
            await hold(site, reference)
    with pytest.raises(ProtectionUnknownError):
        await place_hold(site.stores, RepositoryName("no"), None, reason="r", owner="o", by="root")
    with pytest.raises(ProtectionUnknownError):
        await release_hold(site.stores, 99, by="root")
