"""Is it needed? What keeps a manifest or a link, until when, and what becomes of it now.

This is the one place that says so (docs/collection.md, "What keeps what"): the collector asks it in
the transaction that would remove something, and whoever explains asks it, too. Times are
microseconds since 1970.
"""

from typing import Final, Literal, NamedTuple

from entrepot.core.keeping import Keeping

FOREVER: Final = 2**62
"""Until something else happens."""

Reason = Literal["tag", "index", "subject", "manifest", "hold", "trash", "history", "grace"]


class Keeper(NamedTuple):
    """Something that keeps content, and until when."""

    reason: Reason
    until: int = FOREVER


class ManifestFacts(NamedTuple):
    """What the index knows of a manifest that matters here: whether a tag points at it, an index
    lists it, its subject is there; until when a hold or something in the trash keeps it, which the
    latter may do for longer; and when a tag last left it. 0 is never.
    """

    tagged: bool
    listed: bool
    attached: bool
    held_until: int
    trashed_until: int
    left_at: int


class LinkFacts(NamedTuple):
    """The same of a repository's link to a blob: whether a manifest of the repository needs it,
    until when a hold on the repository or something in its trash keeps it, and when the blob was
    last uploaded or mounted.
    """

    needed: bool
    held_until: int
    trashed_until: int
    linked_at: int


def keepers_of_manifest(facts: ManifestFacts, *, now: int, keeping: Keeping) -> list[Keeper]:
    """Return what keeps a manifest. Its grace period is that of its review."""
    keepers: list[Keeper] = []
    if facts.tagged:
        keepers.append(Keeper("tag"))
    if facts.listed:
        keepers.append(Keeper("index"))
    if facts.attached:
        keepers.append(Keeper("subject"))
    _add(keepers, "hold", facts.held_until, now)
    if facts.trashed_until:
        keepers.append(Keeper("trash", max(facts.trashed_until, now + keeping.told)))
    if facts.left_at:
        _add(keepers, "history", facts.left_at + keeping.trash, now)
    return keepers


def keepers_of_link(facts: LinkFacts, *, now: int, keeping: Keeping) -> list[Keeper]:
    """Return what keeps a link."""
    keepers: list[Keeper] = []
    if facts.needed:
        keepers.append(Keeper("manifest"))
    _add(keepers, "hold", facts.held_until, now)
    if facts.trashed_until:
        keepers.append(Keeper("trash", max(facts.trashed_until, now + keeping.told)))
    _add(keepers, "grace", facts.linked_at + keeping.grace, now)
    return keepers


def _add(keepers: list[Keeper], reason: Reason, until: int, now: int) -> None:
    if until > now:
        keepers.append(Keeper(reason, until))


def kept_until(keepers: list[Keeper], *, now: int, keeping: Keeping) -> int:
    """Return when to look again: 0 if nothing keeps it, `FOREVER` if it need not be looked at until
    something that keeps it goes. A hold without an end is no such thing: what it keeps may have
    lost everything else meanwhile, so it is looked at again and again.
    """
    if any(each.until == FOREVER and each.reason != "hold" for each in keepers):
        return FOREVER
    until = max((keeper.until for keeper in keepers), default=0)
    return now + keeping.deleted if until == FOREVER else until
