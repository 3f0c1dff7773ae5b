"""Manifests that keep each other, and that nothing else keeps.

An index may list its own subject, at whatever depth: it keeps the subject because it lists it, and
the subject keeps the index because that refers to it. Neither would ever go.
"""

from typing import NamedTuple

from entrepot.core.collecting import FOREVER, ManifestFacts, keepers_of_manifest, kept_until
from entrepot.core.keeping import Keeping
from entrepot.db import Reader
from entrepot.db.collection import (
    DueManifest,
    find_due_manifest,
    find_manifest_facts,
    find_review_after,
    list_keepers,
)

_MOST = 1000
"""Manifests that are followed. What has more above it is kept."""

_EACH_OTHER = {"index", "subject"}


class Circle(NamedTuple):
    """Manifests that keep each other, all of which are due: they go together. Or, if there are
    none, when to look again, and who of the others has no review until then.
    """

    going: tuple[DueManifest, ...] = ()
    until: int = FOREVER
    unreviewed: tuple[int, ...] = ()


async def find_circle(
    reader: Reader, manifest: DueManifest, *, now: int, keeping: Keeping
) -> Circle:
    """Return the circle by which a manifest that is due keeps itself, if there is nothing else that
    keeps it. It does not go before all others are due as well: whoever was told that one of them
    exists can rely on that, and on what belongs to it.
    """
    until = _besides(manifest.facts, now, keeping)
    going, seen, unreviewed = [manifest], {manifest.id}, []
    ahead, closed = [manifest.id], False
    while ahead:
        for keeper in await list_keepers(reader, ahead.pop()):
            closed = closed or keeper == manifest.id
            if keeper in seen:
                continue
            seen.add(keeper)
            ahead.append(keeper)
            due = await find_due_manifest(reader, keeper, now=now)
            facts = await find_manifest_facts(reader, keeper) if due is None else due.facts
            if facts is not None:
                until = max(until, _besides(facts, now, keeping))
            if until == FOREVER or len(seen) > _MOST:
                return Circle()
            if due is not None:
                going.append(due)
                continue
            after = await find_review_after(reader, keeper)
            until = max(until, after or now + keeping.told)
            if after is None:
                unreviewed.append(keeper)
    if not closed:
        return Circle()
    return Circle(until=until, unreviewed=tuple(unreviewed)) if until else Circle(tuple(going))


def _besides(facts: ManifestFacts, now: int, keeping: Keeping) -> int:
    """Return until when something else keeps a manifest than those that it keeps."""
    keepers = keepers_of_manifest(facts, now=now, keeping=keeping)
    others = [keeper for keeper in keepers if keeper.reason not in _EACH_OTHER]
    return kept_until(others, now=now, keeping=keeping)
