"""Deleting repositories and namespaces as a whole, and saying beforehand what that would do.

It is done in steps of many small transactions, each of which leaves the index whole: indexes go
before what they list. Who is interrupted, or is told that something is left, asks for the same
again. What is pushed meanwhile stays.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from entrepot.core.audit import Actor, event
from entrepot.core.digest import Digest
from entrepot.core.errors import (
    DeniedError,
    ManifestUnknownError,
    NameUnknownError,
    UnsupportedError,
)
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.core.protections import find_protecting
from entrepot.db import Reader, Transaction
from entrepot.db.collection import is_importing
from entrepot.db.contents import (
    count_content,
    find_last_manifest,
    list_roots,
)
from entrepot.db.followers import (
    Closure,
    Stored,
    find_closure,
    find_left_behind,
    list_parents,
)
from entrepot.db.holds import list_live_holds
from entrepot.db.manifests import find_manifest_id
from entrepot.db.protections import list_protections_on
from entrepot.db.repositories import find_repository
from entrepot.db.retention import list_repositories_in
from entrepot.db.tags import find_tag, list_tags
from entrepot.db.trash import Removal
from entrepot.services.access import Visible
from entrepot.services.audit import Notes
from entrepot.services.delete import remove
from entrepot.services.explaining import explain_digest, explain_tag
from entrepot.services.protection import check_may_go
from entrepot.services.stores import Stores
from entrepot.services.usage import measure_namespace, measure_repository

BATCH: Final = 200
"""Manifests that go in one transaction."""

STEP: Final = 4000
"""Manifests after which it is said that something is left, so that no request takes too long."""

_PAGE: Final = 1000
_MOST_REASONS: Final = 20


@dataclass
class Preview:
    """What a deletion would do: how much would go, and why it would be refused; `freed` are the
    bytes that nothing would need any longer when the trash is emptied, as if what is `readable` to
    whoever asks were all there is. Of a single tag or image it says what goes (`going`) and what
    belongs to it and stays (`staying`), with the reasons.
    """

    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    freed: int = 0
    refused: list[str] = field(default_factory=list)
    going: list[str] = field(default_factory=list)
    staying: list[str] = field(default_factory=list)


class Progress(NamedTuple):
    """What a step deleted, and whether something is left for another one."""

    manifests: int
    tags: int
    left: bool


# What would be done -----------------------------------------------------------------------------


async def preview_reference(
    stores: Stores,
    name: RepositoryName,
    reference: Reference,
    readable: Visible | None = None,
) -> Preview:
    """Say what deleting a tag, or a manifest with what belongs to it, would do.

    Raises:
        ManifestUnknownError: there is no such thing.
    """
    index, unknown = stores.index, ManifestUnknownError({"name": name, "reference": reference})
    repository = await find_repository(index, name)
    if repository is None:
        raise unknown
    found = Preview(repositories=1)
    if isinstance(reference, Tag):
        known = await find_tag(index, repository, reference)
        if known is None:
            raise unknown
        closure, affected = Closure([], [reference]), [known[1]]
    else:
        number = await find_manifest_id(index, repository, reference)
        if number is None:
            raise unknown
        for parent in await list_parents(index, number):
            found.refused.append(f"{parent.digest} lists it: delete that first")
        closure = await find_closure(index, repository, Stored(number, reference))
        affected = [stored.digest for stored in closure.manifests]
    try:
        await check_may_go(
            index, name, repository, tags=closure.tags, manifests=affected, now=stores.now()
        )
    except DeniedError as error:
        found.refused.append(_reason(error))
    found.manifests, found.tags = len(closure.manifests), len(closure.tags)
    found.going = [f"tag {tag}" for tag in closure.tags]
    for stored in closure.manifests:
        belongs = "" if stored.digest == reference else f", which belongs to {reference}"
        found.going.append(f"manifest {stored.digest}{belongs}")
    for stored in await find_left_behind(index, repository, closure):
        found.staying.append(
            f"manifest {stored.digest} belongs to it, but has another tag or is in an index"
        )
    if isinstance(reference, Tag):
        found.staying.append(f"manifest {affected[0]}, until nothing needs it any more")
        found.freed = (await explain_tag(stores, name, reference, readable)).freed
    else:
        digest = Digest(reference)
        found.freed = (await explain_digest(stores, name, digest, readable)).freed
    return found


async def preview_repository(
    stores: Stores, name: RepositoryName, readable: Visible | None = None
) -> Preview:
    """Say what deleting a repository as a whole would do. Raises NameUnknownError."""
    repository = await _known(stores.index, name)
    found = Preview()
    await _add_repository(stores, found, repository, name)
    found.freed = (await measure_repository(stores, name, readable)).exclusive
    return found


async def preview_namespace(
    stores: Stores, namespace: str, readable: Visible | None = None
) -> Preview:
    """Say what deleting all repositories in a namespace and below it would do."""
    found = Preview()
    async for repository, name in _repositories(stores.index, namespace):
        await _add_repository(stores, found, repository, name)
    found.freed = (await measure_namespace(stores, namespace, readable)).exclusive
    return found


async def _add_repository(
    stores: Stores, found: Preview, repository: int, name: RepositoryName
) -> None:
    count = await count_content(stores.index, repository)
    found.repositories += bool(count.manifests)
    found.manifests += count.manifests
    found.tags += count.tags
    found.refused += await _find_refusals(stores, repository, name)


async def _find_refusals(stores: Stores, repository: int, name: RepositoryName) -> list[str]:
    """Return why a repository can't be deleted."""
    index = stores.index
    reasons = [str(hold) for hold in await list_live_holds(index, repository, now=stores.now())]
    rules = await list_protections_on(index, name)
    last = ""
    while rules and len(reasons) < _MOST_REASONS:
        tags = await list_tags(index, name, last=last, limit=_PAGE)
        for tag in tags:
            rule = find_protecting(rules, name, tag)
            if rule is not None:
                reasons.append(f"tag {name}:{tag} can't be deleted: {rule}")
        if len(tags) < _PAGE:
            break
        last = tags[-1]
    return reasons[:_MOST_REASONS]


async def list_repository_names(stores: Stores, namespace: str) -> list[RepositoryName]:
    """Return the names of all repositories in a namespace and below it."""
    return [name async for _, name in _repositories(stores.index, namespace)]


async def _repositories(
    reader: Reader, namespace: str
) -> AsyncIterator[tuple[int, RepositoryName]]:
    last = ""
    while page := await list_repositories_in(reader, namespace, last=last, limit=_PAGE):
        for repository in page:
            yield repository.id, repository.name
        last = page[-1].name


# Doing it ---------------------------------------------------------------------------------------


async def delete_repository(
    stores: Stores, name: RepositoryName, *, operation: str, by: Actor, step: int = STEP
) -> Progress:
    """Delete all of a repository, or as much as one step does.

    Raises:
        NameUnknownError: there is no such repository.
        UnsupportedError: what `registry:2` left is being taken over.
        DeniedError: something is protected or on hold; nothing more is deleted then.
    """
    repository = await _known(stores.index, name)
    await _check(stores, [(repository, name)])
    return await _delete_content(stores, repository, name, operation=operation, by=by, step=step)


async def delete_content(
    stores: Stores, namespace: str, *, operation: str, by: Actor, step: int = STEP
) -> Progress:
    """Delete all repositories in a namespace and below it, or as much as one step does.

    Raises:
        UnsupportedError: what `registry:2` left is being taken over.
        DeniedError: something is protected or on hold; nothing more is deleted then.
    """
    every = [each async for each in _repositories(stores.index, namespace)]
    await _check(stores, every)
    manifests = tags = 0
    for repository, name in every:
        done = await _delete_content(
            stores, repository, name, operation=operation, by=by, step=step - manifests
        )
        manifests, tags = manifests + done.manifests, tags + done.tags
        if done.left:
            return Progress(manifests, tags, left=True)
    return Progress(manifests, tags, left=False)


async def _check(stores: Stores, every: Sequence[tuple[int, RepositoryName]]) -> None:
    """Make sure, before anything goes, that nothing must stay."""
    if await is_importing(stores.index):
        raise UnsupportedError(
            {"reason": "what registry:2 left is being taken over; delete it when that is done"}
        )
    reasons: list[str] = []
    for repository, name in every:
        reasons += await _find_refusals(stores, repository, name)
        if len(reasons) > _MOST_REASONS:
            break
    if reasons:
        raise DeniedError({"reason": "; ".join(reasons[:_MOST_REASONS])})


async def _delete_content(
    stores: Stores,
    repository: int,
    name: RepositoryName,
    *,
    operation: str,
    by: Actor,
    step: int,
) -> Progress:
    """Go through the manifests that no index lists, again and again until there are none."""
    most = await find_last_manifest(stores.index, repository)
    manifests = tags = 0
    last, found = b"", False
    while True:
        if manifests >= step:
            return Progress(manifests, tags, left=True)
        batch = await _delete_batch(
            stores, repository, name, last, most, operation=operation, by=by
        )
        if batch is None:
            if not found:
                return Progress(manifests, tags, left=False)
            last, found = b"", False
            continue
        closure, found = batch, True
        manifests, tags = manifests + len(closure.manifests), tags + len(closure.tags)
        last = max(stored.digest.packed for stored in closure.manifests)


async def _delete_batch(
    stores: Stores,
    repository: int,
    name: RepositoryName,
    last: bytes,
    most: int,
    *,
    operation: str,
    by: Actor,
) -> Closure | None:
    now = stores.now()
    removal = Removal(repository, operation, by.name, now, now + stores.keeping.trash)

    async def work(transaction: Transaction, notes: Notes) -> Closure | None:
        roots, tags = await list_roots(transaction, repository, last=last, most=most, limit=BATCH)
        if not roots:
            return None
        digests = [stored.digest for stored in roots]
        await check_may_go(transaction, name, repository, tags=tags, manifests=digests, now=now)
        closure = Closure(roots, tags)
        await remove(stores, transaction, removal, closure)
        told = event(
            "repository.delete",
            repository=name,
            manifests=len(roots),
            tags=len(tags),
            operation=operation,
        )
        notes.add(told)
        return closure

    return await stores.trail.write(work, by=by)


def _reason(error: DeniedError) -> str:
    return str(error.detail["reason"]) if isinstance(error.detail, dict) else str(error)


async def _known(reader: Reader, name: RepositoryName) -> int:
    found = await find_repository(reader, name)
    if found is None:
        raise NameUnknownError({"name": name})
    return found
