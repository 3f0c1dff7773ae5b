"""Counting what lies in namespaces that have quotas, in the transaction that changes it.

`namespaces.counted_in` holds the ids of those namespaces that count what lies in one: itself or
above it, if they have quotas. It is read with the repository, so that nothing is asked where
nothing is counted. What is counted is a sum over shards, and every transaction adds to one that no
other has at that time; a blob's bytes count once by its row in `namespace_blobs`. So no push waits
for another, unless both are the first to bring the same blob.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from entrepot.core.decision import prefixes
from entrepot.core.digest import Digest
from entrepot.core.quotas import Resource
from entrepot.db.engine import Reader, Transaction

Counted = tuple[int, ...]
"""The ids of the namespaces that count what lies in a repository."""

NOWHERE: Final[Counted] = ()

_FIND_COUNTED = """
    SELECT namespaces.counted_in FROM repositories
    JOIN namespaces ON namespaces.id = repositories.namespace_id
    WHERE repositories.id = :repository
"""
_IS_ANYTHING_COUNTED = "SELECT 1 FROM quotas LIMIT 1"
_FIND_REPOSITORY_OF = "SELECT repository_id FROM manifests WHERE id = :manifest"
_HAS_MANIFESTS = "SELECT 1 FROM manifests WHERE repository_id = :repository LIMIT 1"
_ADD_USAGE = """
    INSERT INTO quota_usage (namespace_id, resource, shard, used)
    VALUES (:namespace, :resource, :shard, :more)
    ON CONFLICT (namespace_id, resource, shard)
    DO UPDATE SET used = quota_usage.used + excluded.used
"""
_ADD_BLOB = """
    INSERT INTO namespace_blobs (namespace_id, digest, size)
    SELECT CAST(:namespace AS BIGINT), digest, size FROM blobs WHERE digest = :digest
    ON CONFLICT (namespace_id, digest) DO NOTHING
    RETURNING size
"""
# What the namespace holds is found by the name: its own, or one that begins with it and a slash.
_REMOVE_BLOB = """
    DELETE FROM namespace_blobs WHERE namespace_id = :namespace AND digest = :digest
        AND NOT EXISTS (
            SELECT 1 FROM repository_blobs
            JOIN repositories ON repositories.id = repository_blobs.repository_id
            JOIN namespaces ON namespaces.id = :namespace
            WHERE repository_blobs.digest = :digest
                AND (namespaces.name = '' OR repositories.name = namespaces.name
                     OR (repositories.name > namespaces.name || '/'
                         AND repositories.name < namespaces.name || '0'))
        )
    RETURNING size
"""
_TOUCH_BLOB = "UPDATE blobs SET synced = synced WHERE digest = :digest"
_REMOVE_LOST = """
    DELETE FROM namespace_blobs
    WHERE digest = :digest AND namespace_id IN (SELECT namespace_id FROM quotas)
    RETURNING namespace_id, size
"""
_LIST_NAMESPACES = "SELECT id, name, counted_in FROM namespaces"
_LIST_COUNTING = "SELECT DISTINCT namespace_id FROM quotas"
_SET_COUNTED = "UPDATE namespaces SET counted_in = :counted WHERE id = :namespace"


class Home(NamedTuple):
    """A repository, by its id, and the namespaces that count what lies in it."""

    id: int
    counted: Counted


class Usage(NamedTuple):
    """How much more, or less, of a resource there is in a namespace."""

    namespace: int
    resource: Resource
    more: int


# Where something is counted ---------------------------------------------------------------------


def parse_counted(text: str | None) -> Counted:
    """Return what `namespaces.counted_in` says."""
    return tuple(map(int, text.split())) if text else NOWHERE


async def find_counted(reader: Reader, repository: int) -> Counted:
    """Return which namespaces count what lies in a repository."""
    row = await reader.fetch_one(_FIND_COUNTED, {"repository": repository})
    return parse_counted(row[0]) if row else NOWHERE


async def find_home(reader: Reader, repository: int) -> Home:
    """Return a repository, given by its id, with where it is counted."""
    return Home(repository, await find_counted(reader, repository))


async def refresh_counted(transaction: Transaction) -> None:
    """Note anew which namespaces count what, after a quota or the tree has changed."""
    rows = await transaction.fetch_all(_LIST_NAMESPACES, {})
    counting = {row[0] for row in await transaction.fetch_all(_LIST_COUNTING, {})}
    ids = {name: number for number, name, _ in rows if number in counting}
    changed = []
    for number, name, known in rows:
        found = sorted(ids[prefix] for prefix in prefixes(name) if prefix in ids)
        counted = " ".join(map(str, found)) or None
        if counted != known:
            changed.append({"namespace": number, "counted": counted})
    await transaction.execute_many(_SET_COUNTED, changed)


# What comes and goes ----------------------------------------------------------------------------


async def add_usage(transaction: Transaction, changes: Iterable[Usage]) -> None:
    """Add to what is used."""
    shard = transaction.shard
    values = [change._asdict() | {"shard": shard} for change in changes if change.more]
    if values:
        await transaction.execute_many(_ADD_USAGE, values)


async def count(transaction: Transaction, counted: Counted, more: Mapping[Resource, int]) -> None:
    """Count that there are more, or fewer, repositories, manifests or tags in a repository."""
    if counted:
        await add_usage(
            transaction,
            (
                Usage(namespace, what, number)
                for namespace in counted
                for what, number in more.items()
            ),
        )


async def count_links(
    transaction: Transaction, counted: Counted, digests: Sequence[Digest]
) -> None:
    """Count blobs that a repository links, where they are not counted yet."""
    found = []
    for namespace in counted:
        for digest in digests:
            values = {"namespace": namespace, "digest": digest.packed}
            row = await transaction.fetch_one(_ADD_BLOB, values)
            if row is not None:
                found.append(Usage(namespace, "bytes", row[0]))
    if found:
        await add_usage(transaction, _added_up(found))


async def uncount_link(transaction: Transaction, repository: int, digest: Digest) -> None:
    """Count a blob no more where no link to it is left. The repository's link must have been
    removed before, the blob must not.
    """
    for namespace in await find_counted(transaction, repository):
        size = await remove_counted(transaction, namespace, digest)
        await add_usage(transaction, [Usage(namespace, "bytes", -size)])


async def remove_counted(transaction: Transaction, namespace: int, digest: Digest) -> int:
    """Remove a blob from those that are counted, unless something links it there; return its bytes
    if it was removed, else 0.
    """
    values = {"namespace": namespace, "digest": digest.packed}
    row = await transaction.fetch_one(_REMOVE_BLOB, values)
    if row is None:
        return 0
    # A push that finds the blob counted adds nothing, and reads nothing that would bring it into
    # the way of this: but it has read the blob's row, which is changed here for that reason.
    await transaction.execute(_TOUCH_BLOB, {"digest": digest.packed})
    return int(row[0])


async def find_homes(reader: Reader, manifests: Sequence[int]) -> Mapping[int, int]:
    """Return how many of some manifests each repository has; none at all without quotas."""
    homes: dict[int, int] = {}
    if await reader.fetch_one(_IS_ANYTHING_COUNTED, {}) is None:
        return homes
    for manifest in manifests:
        row = await reader.fetch_one(_FIND_REPOSITORY_OF, {"manifest": manifest})
        if row is not None:
            homes[row[0]] = homes.get(row[0], 0) + 1
    return homes


async def uncount_manifests(transaction: Transaction, homes: Mapping[int, int]) -> None:
    """Count manifests no more that were removed, so many of each repository, and no repository that
    has none left.
    """
    for repository, number in homes.items():
        empty = await transaction.fetch_one(_HAS_MANIFESTS, {"repository": repository}) is None
        fewer: Mapping[Resource, int] = {"manifests": -number, "repositories": -int(empty)}
        await count(transaction, await find_counted(transaction, repository), fewer)


async def uncount_tags(transaction: Transaction, repository: int, number: int) -> None:
    """Count tags of a repository no more that were removed."""
    if number:
        await count(transaction, await find_counted(transaction, repository), {"tags": -number})


async def uncount_blob(transaction: Transaction, digest: Digest) -> None:
    """Count a blob nowhere any more, whose every link is about to be removed."""
    rows = await transaction.fetch_all(_REMOVE_LOST, {"digest": digest.packed})
    await add_usage(transaction, [Usage(row[0], "bytes", -row[1]) for row in rows])


def _added_up(changes: Iterable[Usage]) -> list[Usage]:
    sums: dict[tuple[int, Resource], int] = {}
    for namespace, resource, more in changes:
        sums[namespace, resource] = sums.get((namespace, resource), 0) + more
    return [Usage(*key, more) for key, more in sums.items()]
