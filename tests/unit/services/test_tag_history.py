"""Where tags pointed, and putting them back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from entrepot.core.audit import NOBODY, Actor
from entrepot.core.digest import Digest
from entrepot.core.errors import DeniedError
from entrepot.core.keeping import Keeping
from entrepot.core.names import RepositoryName, Tag, parse_reference
from entrepot.core.undo import UndoError, UndoUnknownError
from entrepot.services import pull
from entrepot.services.delete import delete_reference
from entrepot.services.protection import place_hold, protect_tags
from entrepot.services.tag_history import (
    RolledBack,
    Target,
    forget_old_history,
    list_tag_history,
    roll_back_tag,
)
from entrepot.services.trash import Selection, empty_trash
from tests.unit.services.conftest import SECOND, START, Site
from tests.unit.services.test_trash import content, in_trash
from tests.wire import images

pytestmark = pytest.mark.anyio

A, V1 = RepositoryName("a"), Tag("v1")
DAY = 86_400 * SECOND
MADE = [images.image(f"state {number}") for number in range(3)]


async def moved(site: Site) -> list[Digest]:
    """A tag that pointed at three images, a day each."""
    digests = []
    for made in MADE:
        digests.append(await site.push("a", "v1", made))
        site.clock.now += DAY
    return digests


async def current(site: Site) -> Digest:
    return (await pull.resolve(site.stores, A, V1, accept=None, pulls=0)).digest


async def test_the_history_says_who_when_from_and_to(site: Site) -> None:
    first, second, third = await moved(site)
    await site.push("a", "other", MADE[0])
    await delete_reference(site.stores, A, V1, by=Actor("alice"))
    moves = await list_tag_history(site.stores, A, V1, limit=9)
    assert [(move.digest, move.previous, move.changed_by) for move in moves] == [
        (None, third, "alice"),
        (third, second, ""),
        (second, first, ""),
        (first, None, ""),
    ]
    assert [move.changed_at for move in moves] == [START + days * DAY for days in (3, 2, 1, 0)]
    every = await list_tag_history(site.stores, A, None, limit=2)
    assert [move.tag for move in every] == ["v1", "other"]
    rest = await list_tag_history(site.stores, A, None, before=every[-1].id, limit=9)
    assert [move.id for move in rest] == [move.id for move in moves[1:]]
    with pytest.raises(UndoUnknownError):
        await list_tag_history(site.stores, RepositoryName("no"), None, limit=1)


@pytest.mark.parametrize(
    "target, number",
    [
        (Target(), 1),
        (Target(steps=2), 0),
        (Target(moment=START), 0),
        (Target(moment=START + DAY - 1), 0),
        (Target(moment=START + DAY), 1),
        (Target(moment=START + 9 * DAY), 2),
        (Target(digest=Digest(MADE[0].digest)), 0),
    ],
)
async def test_a_tag_is_put_back(site: Site, target: Target, number: int) -> None:
    digests = await moved(site)
    done = await roll_back_tag(site.stores, A, V1, target, by=NOBODY)
    assert done == RolledBack(digests[number], digests[2])
    assert await current(site) == digests[number]
    if number < 2:
        await roll_back_tag(site.stores, A, V1, Target(), by=NOBODY)
        assert await current(site) == digests[2], "what was put back can be undone as well"


@pytest.mark.parametrize("target", [Target(steps=3), Target(steps=9), Target(moment=START - 1)])
async def test_what_is_not_remembered(site: Site, target: Target) -> None:
    await moved(site)
    before = await content(site)
    with pytest.raises(UndoError):
        await roll_back_tag(site.stores, A, V1, target, by=NOBODY)
    with pytest.raises(UndoUnknownError):
        await roll_back_tag(site.stores, A, Tag("no"), target, by=NOBODY)
    assert await content(site) == before


async def test_the_manifest_comes_back_from_the_trash_without_other_tags(site: Site) -> None:
    first = await site.push("a", "v1", MADE[0])
    await site.put("a", "v2", MADE[0])
    signature = images.artifact("signature", subject=MADE[0].manifest)
    await site.push("a", signature.digest, signature)
    await delete_reference(site.stores, A, first, by=NOBODY)
    second = await site.push("a", "v1", MADE[1])
    await roll_back_tag(site.stores, A, V1, Target(first), by=NOBODY)
    now = await content(site)
    assert {row[0] for row in now["tags"]} == {"v1"}
    packed = {row[0] for row in now["manifests"]}
    assert packed == {Digest(each).packed for each in (first, second, signature.digest)}
    assert await in_trash(site) == 2, "both tags, one of which was put back by hand"
    await delete_reference(site.stores, A, first, by=NOBODY)
    await empty_trash(site.stores, Selection(repository="a"), by=NOBODY)
    with pytest.raises(UndoError, match="push it again"):
        await roll_back_tag(site.stores, A, V1, Target(first), by=NOBODY)


async def test_what_may_not_move_is_not_put_back(site: Site) -> None:
    digests = await moved(site)
    await place_hold(site.stores, A, parse_reference(digests[2]), reason="r", owner="o", by="root")
    with pytest.raises(DeniedError, match="hold"):
        await roll_back_tag(site.stores, A, V1, Target(), by=NOBODY)
    await protect_tags(site.stores, "/", repositories="**", tags="v*", exception=False, by="root")
    await site.push("a", "x", MADE[0])
    await site.push("a", "x", MADE[1])
    await roll_back_tag(site.stores, A, Tag("x"), Target(), by=NOBODY)


async def test_old_history_is_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entrepot.services.tag_history._STEP", 1)
    await moved(site)
    site.clock.now = START + 11 * DAY + 1
    for days, left in ((0, 3), (9, 2), (8, 1)):
        keeping = Keeping(history=days * DAY)
        await forget_old_history(replace(site.stores, keeping=keeping))
        assert len(await list_tag_history(site.stores, A, V1, limit=9)) == left
