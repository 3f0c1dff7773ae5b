"""What can't be moved or deleted: protected tags, and what is on hold.

It is asked in the transaction that would do it. Nobody may do it nevertheless: the rule or the hold
must be removed first, which is recorded.
"""

from collections.abc import Iterable, Sequence

import msgspec

from entrepot.core.audit import Actor, event
from entrepot.core.decision import parse_namespace
from entrepot.core.digest import Digest
from entrepot.core.errors import DeniedError
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.core.patterns import parse_pattern, parse_tag_pattern
from entrepot.core.protections import (
    Hold,
    Protection,
    ProtectionConflictError,
    ProtectionError,
    ProtectionUnknownError,
    find_holding,
    find_protecting,
)
from entrepot.db import Reader, Transaction
from entrepot.db import holds as held
from entrepot.db.followers import list_subjects
from entrepot.db.holds import add_hold, find_hold, list_live_holds, remove_hold
from entrepot.db.manifests import find_manifest_id
from entrepot.db.protections import (
    add_protection,
    find_protection,
    find_same_protection,
    list_protections,
    list_protections_on,
    remove_protection,
)
from entrepot.db.repositories import find_repository
from entrepot.db.tags import find_tag
from entrepot.db.trash_contents import find_trashed_manifest
from entrepot.services.audit import Notes
from entrepot.services.namespaces import known_namespace
from entrepot.services.stores import Stores


async def list_protected(
    reader: Reader, name: RepositoryName, tags: Iterable[Tag]
) -> dict[Tag, Protection]:
    """Return those of a repository's tags that can't be moved or deleted, with the rule."""
    rules = await list_protections_on(reader, name)
    found = {tag: find_protecting(rules, name, tag) for tag in tags} if rules else {}
    return {tag: rule for tag, rule in found.items() if rule is not None}


async def check_may_go(
    reader: Reader,
    name: RepositoryName,
    repository: int,
    *,
    tags: Sequence[Tag],
    manifests: Sequence[Digest] = (),
    now: int,
) -> None:
    """Make sure that tags may be moved or deleted, and manifests be deleted or lose them.

    Raises:
        DeniedError: a rule protects a tag, or something is on hold.
    """
    holds = await list_live_holds(reader, repository, now=now)
    if holds:
        subjects = await list_subjects(reader, repository, manifests)
        hold = find_holding(holds, digests=[*manifests, *subjects], tags=tags)
        if hold is not None:
            raise DeniedError({"reason": str(hold), "hold": hold.id})
    for tag, rule in (await list_protected(reader, name, tags)).items():
        raise DeniedError(
            {"reason": f"tag {tag} can't be moved or deleted: {rule}", "tag": tag, "rule": rule.id}
        )


# Protections ------------------------------------------------------------------------------------


async def protect_tags(
    stores: Stores,
    namespace: str,
    *,
    repositories: str,
    tags: str,
    exception: bool,
    by: Actor | str,
) -> Protection:
    """Protect tags by pattern in a namespace and those below it, or except them.

    Raises:
        AccessUnknownError: there is no such namespace.
        PatternInvalidError: a pattern is none.
        ProtectionConflictError: there is that rule already.
    """
    wanted = Protection(
        id=0,
        namespace=parse_namespace(namespace),
        repositories=parse_pattern(repositories),
        tags=parse_tag_pattern(tags),
        exception=exception,
        created_at=stores.now(),
        created_by=str(by),
    )

    async def work(transaction: Transaction, notes: Notes) -> Protection:
        place = await known_namespace(transaction, wanted.namespace)
        same = await find_same_protection(transaction, place.id, wanted)
        if same is not None:
            raise ProtectionConflictError(f"there is that already: {same}")
        added = await add_protection(transaction, place.id, wanted)
        notes.add(event("tag.protect", target=place.name or "/", rule=str(added)))
        return added

    return await stores.trail.write(work, by=by)


async def list_rules(reader: Reader) -> list[Protection]:
    """Return every rule, oldest first."""
    return sorted(await list_protections(reader), key=lambda rule: rule.id)


async def known_protection(reader: Reader, number: int) -> Protection:
    """Return a rule. Raises ProtectionUnknownError."""
    found = await find_protection(reader, number)
    if found is None:
        raise ProtectionUnknownError(f"there is no rule {number} that protects tags")
    return found


async def unprotect_tags(stores: Stores, number: int, *, by: Actor | str) -> Protection:
    """Remove a rule, and return what it was. Raises ProtectionUnknownError."""

    async def work(transaction: Transaction, notes: Notes) -> Protection:
        rule = await known_protection(transaction, number)
        await remove_protection(transaction, number)
        notes.add(event("tag.unprotect", target=rule.namespace or "/", rule=str(rule)))
        return rule

    return await stores.trail.write(work, by=by)


# Holds ------------------------------------------------------------------------------------------


async def place_hold(
    stores: Stores,
    name: RepositoryName,
    reference: Reference | None,
    *,
    reason: str,
    owner: str,
    expires_at: int | None = None,
    by: Actor | str,
) -> Hold:
    """Keep a repository, or an image of it that a tag points at now or that has a digest.

    Raises:
        ProtectionUnknownError: there is nothing like that, not even in the trash.
        ProtectionError: it would have ended already.
    """
    now = stores.now()
    if expires_at is not None and expires_at <= now:
        raise ProtectionError("the hold would end before it begins")
    wanted = Hold(
        id=0,
        repository=name,
        digest=None,
        reason=reason,
        owner=owner,
        created_at=now,
        created_by=str(by),
        expires_at=expires_at,
    )

    async def work(transaction: Transaction, notes: Notes) -> Hold:
        repository = await find_repository(transaction, name)
        if repository is None:
            raise ProtectionUnknownError(f"there is no repository {name}")
        digest = await _find_held(transaction, repository, name, reference)
        hold = msgspec.structs.replace(wanted, digest=digest)
        added = await add_hold(transaction, repository, hold)
        told = event(
            "hold.place",
            repository=name,
            tag=reference if isinstance(reference, Tag) else "",
            digest=digest or "",
            target=owner,
            hold=added.id,
            because=reason,
            until=expires_at,
        )
        notes.add(told)
        return added

    return await stores.trail.write(work, by=by)


async def _find_held(
    reader: Reader, repository: int, name: RepositoryName, reference: Reference | None
) -> Digest | None:
    if reference is None:
        return None
    if isinstance(reference, Tag):
        found = await find_tag(reader, repository, reference)
        if found is None:
            raise ProtectionUnknownError(f"there is no tag {name}:{reference}")
        return found[1]
    if (
        await find_manifest_id(reader, repository, reference) is None
        and await find_trashed_manifest(reader, repository, reference) is None
    ):
        raise ProtectionUnknownError(f"there is no manifest {name}@{reference}")
    return reference


async def list_holds(reader: Reader, *, repository: str, after: int, limit: int) -> list[Hold]:
    """Return the holds on a repository, or on all if none is named, oldest first, after an id."""
    return await held.list_holds(reader, repository=repository, after=after, limit=limit)


async def known_hold(reader: Reader, number: int) -> Hold:
    """Return a hold. Raises ProtectionUnknownError."""
    found = await find_hold(reader, number)
    if found is None:
        raise ProtectionUnknownError(f"there is no hold {number}")
    return found


async def release_hold(stores: Stores, number: int, *, by: Actor | str) -> Hold:
    """End a hold, and return what it was. What nothing else keeps is looked at after the grace
    period. Raises ProtectionUnknownError.
    """
    after, before = stores.now() + stores.keeping.grace, stores.keeping.deleted

    async def work(transaction: Transaction, notes: Notes) -> Hold:
        hold = await known_hold(transaction, number)
        await remove_hold(transaction, number, review_after=after, before=before)
        told = event(
            "hold.release",
            repository=hold.repository,
            digest=hold.digest or "",
            target=hold.owner,
            hold=hold.id,
            because=hold.reason,
        )
        notes.add(told)
        return hold

    return await stores.trail.write(work, by=by)
