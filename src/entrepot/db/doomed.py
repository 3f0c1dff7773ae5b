"""Blobs whose rows are gone and whose bytes are about to go (docs/collection.md, "A blob goes").

As long as a row here has no `deleted_at`, `blobs` has none for that digest. With `deleted_at` it is
a gravestone: it tells an upload that bytes it had put before may have gone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from entrepot.core.digest import Digest
from entrepot.db.engine import Reader, Transaction
from entrepot.db.settings import find_setting, replace_setting

_RECLAIMED: Final = "collection.reclaimed"

_FIND_STATE = """
    SELECT (SELECT size FROM blobs WHERE digest = :digest AND quarantined_at IS NULL),
           (SELECT COALESCE(deleted_at, 0) FROM doomed_blobs WHERE digest = :digest)
"""
_FIND_SIZE = "SELECT size FROM blobs WHERE digest = :digest"
_ANEW = """
    ON CONFLICT (digest) DO UPDATE SET size = excluded.size, doomed_at = excluded.doomed_at,
        owner = excluded.owner, lease_expires_at = excluded.lease_expires_at, attempts = 0,
        last_error = NULL, deleted_at = NULL
"""
_DOOM = f"""
    INSERT INTO doomed_blobs (digest, size, doomed_at, owner, lease_expires_at)
    SELECT blobs.digest, blobs.size, CAST(:now AS BIGINT), CAST(:owner AS TEXT),
           CAST(:until AS BIGINT)
    FROM blobs
    WHERE blobs.digest = :digest AND NOT EXISTS (
        SELECT 1 FROM repository_blobs WHERE repository_blobs.digest = blobs.digest
    ) AND NOT EXISTS (
        SELECT 1 FROM trash_references WHERE trash_references.digest = blobs.digest
    )
    {_ANEW} RETURNING size
"""  # noqa: S608 - constants alone
_FORGET = "DELETE FROM blobs WHERE digest = :digest"
_DOOM_OBJECT = f"""
    INSERT INTO doomed_blobs (digest, size, doomed_at, owner, lease_expires_at)
    VALUES (:digest, :size, :now, :owner, :until)
    {_ANEW}
"""  # noqa: S608 - constants alone
_HAS_DOOMED = """
    SELECT 1 FROM doomed_blobs
    WHERE deleted_at IS NULL AND (lease_expires_at <= :now OR lease_expires_at > :most) LIMIT 1
"""
_LIST_FREE = """
    SELECT digest, size, attempts FROM doomed_blobs
    WHERE deleted_at IS NULL AND lease_expires_at <= :now
    ORDER BY lease_expires_at LIMIT :limit
"""
_CLAIM = """
    UPDATE doomed_blobs SET owner = :owner, lease_expires_at = :until WHERE digest = :digest
"""
_MEND = """
    UPDATE doomed_blobs SET lease_expires_at = :until
    WHERE deleted_at IS NULL AND lease_expires_at > :most
"""
_BURY = """
    UPDATE doomed_blobs SET deleted_at = :now, last_error = NULL
    WHERE digest = :digest AND owner = :owner AND deleted_at IS NULL
"""
_RETRY = """
    UPDATE doomed_blobs SET attempts = attempts + 1, last_error = :error, lease_expires_at = :until
    WHERE digest = :digest AND owner = :owner AND deleted_at IS NULL
"""
_IS_DELETING = "SELECT 1 FROM doomed_blobs WHERE deleted_at IS NULL LIMIT 1"
_HAS_ANY = "SELECT 1 FROM doomed_blobs LIMIT 1"
_FIND_LATELY = """
    SELECT 1 FROM doomed_blobs WHERE digest = :digest
    AND (deleted_at IS NULL OR deleted_at >= :since)
    AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = doomed_blobs.digest)
"""
_LIST_GRAVESTONES = """
    SELECT digest FROM doomed_blobs WHERE deleted_at < :before ORDER BY deleted_at LIMIT :limit
"""
_REMOVE = "DELETE FROM doomed_blobs WHERE digest = :digest AND deleted_at IS NOT NULL"
_LIST_FAILED = """
    SELECT digest, size, attempts, last_error FROM doomed_blobs
    WHERE deleted_at IS NULL AND attempts > 0 ORDER BY digest LIMIT :limit
"""


class BlobState(NamedTuple):
    """What the index knows of a digest: its bytes, None if it has no row or
    they are damaged; and when the object of
    that name was last deleted, 0 if that may happen at any moment, None if it was not.
    """

    size: int | None
    deleted_at: int | None

    @property
    def doomed(self) -> bool:
        """Whether the object of that name may be deleted at any moment."""
        return self.deleted_at == 0


class Doomed(NamedTuple):
    """A blob whose object is to be deleted: its bytes, and how often that has failed."""

    digest: Digest
    size: int
    attempts: int = 0


class FailedDeletion(NamedTuple):
    """A blob whose object could not be deleted: how often that was tried, and the last error."""

    digest: Digest
    size: int
    attempts: int
    error: str | None


class Lease(NamedTuple):
    """Who may delete objects, from when until when."""

    owner: str
    now: int
    until: int


async def find_blob_state(reader: Reader, digest: Digest) -> BlobState:
    """Return whether there is a blob, and whether its object may be deleted or was lately."""
    row = await reader.fetch_one(_FIND_STATE, {"digest": digest.packed})
    return BlobState(*row) if row else BlobState(None, None)


async def find_size(reader: Reader, digest: Digest) -> int:
    """Return the bytes of a blob by its row, damaged or not; 0 without a row."""
    row = await reader.fetch_one(_FIND_SIZE, {"digest": digest.packed})
    return int(row[0]) if row else 0


async def doom_blobs(
    transaction: Transaction, digests: Iterable[Digest], lease: Lease
) -> list[Doomed]:
    """Remove the rows of those blobs that no repository links and nothing in the trash needs, and
    return these.
    """
    doomed = []
    for digest in digests:
        row = await transaction.fetch_one(_DOOM, {"digest": digest.packed, **lease._asdict()})
        if row is not None:
            await transaction.execute(_FORGET, {"digest": digest.packed})
            doomed.append(Doomed(digest, row[0]))
    return doomed


async def doom_objects(
    transaction: Transaction, objects: Iterable[tuple[Digest, int]], lease: Lease
) -> list[Doomed]:
    """Doom objects of which the index still knows nothing, and return these; sizes in bytes."""
    doomed = []
    for digest, size in objects:
        state = await find_blob_state(transaction, digest)
        if state.size is None and not state.doomed:
            values = {"digest": digest.packed, "size": size, **lease._asdict()}
            await transaction.execute(_DOOM_OBJECT, values)
            doomed.append(Doomed(digest, size))
    return doomed


async def claim_doomed(
    transaction: Transaction, lease: Lease, *, longest: int, limit: int
) -> list[Doomed]:
    """Take over blobs whose deletion was not finished, or failed some time ago. No lease lasts
    `longest` microseconds: one that seems to was written by a clock that has been set back since,
    and begins anew.
    """
    most = lease.now + longest
    await transaction.execute(_MEND, {"until": lease.until, "most": most})
    rows = await transaction.fetch_all(_LIST_FREE, {"now": lease.now, "limit": limit})
    claimed = [Doomed(Digest.unpack(row[0]), row[1], row[2]) for row in rows]
    values = {"owner": lease.owner, "until": lease.until}
    await transaction.execute_many(
        _CLAIM, ({"digest": found.digest.packed, **values} for found in claimed)
    )
    return claimed


async def has_doomed(reader: Reader, *, now: int, longest: int) -> bool:
    """Return whether there is anything to do for `claim_doomed`."""
    return await reader.fetch_one(_HAS_DOOMED, {"now": now, "most": now + longest}) is not None


async def is_deleting(reader: Reader) -> bool:
    """Return whether the object of any blob may be deleted at any moment."""
    return await reader.fetch_one(_IS_DELETING, {}) is not None


async def find_lately_deleted(
    reader: Reader, digests: Iterable[Digest], *, since: int
) -> Digest | None:
    """Return one of those blobs that have no row and whose object is being deleted, or was since a
    time; None if there is none.
    """
    if await reader.fetch_one(_HAS_ANY, {}) is None:
        return None
    for digest in digests:
        if await reader.fetch_one(_FIND_LATELY, {"digest": digest.packed, "since": since}):
            return digest
    return None


async def bury(
    transaction: Transaction, digests: Iterable[Digest], *, owner: str, now: int
) -> None:
    """Record that objects were deleted, by their owner."""
    values = ({"digest": digest.packed, "owner": owner, "now": now} for digest in digests)
    await transaction.execute_many(_BURY, values)


async def retry_later(
    transaction: Transaction, failures: Mapping[Digest, tuple[str, int]], *, owner: str
) -> None:
    """Record why objects could not be deleted, and when that is tried again."""
    values = (
        {"digest": digest.packed, "owner": owner, "error": error, "until": until}
        for digest, (error, until) in failures.items()
    )
    await transaction.execute_many(_RETRY, values)


async def list_gravestones(reader: Reader, *, before: int, limit: int) -> list[Digest]:
    """Return blobs whose objects were deleted before a time."""
    rows = await reader.fetch_all(_LIST_GRAVESTONES, {"before": before, "limit": limit})
    return [Digest.unpack(row[0]) for row in rows]


async def remove_gravestones(transaction: Transaction, digests: Sequence[Digest]) -> None:
    """Forget that objects were deleted."""
    await transaction.execute_many(_REMOVE, ({"digest": digest.packed} for digest in digests))


async def list_failed_deletions(reader: Reader, *, limit: int) -> list[FailedDeletion]:
    """Return blobs whose objects could not be deleted so far."""
    rows = await reader.fetch_all(_LIST_FAILED, {"limit": limit})
    return [FailedDeletion(Digest.unpack(row[0]), *row[1:]) for row in rows]


class Reclaimed(msgspec.Struct, frozen=True):
    """What was deleted since this index began: blobs, and their bytes."""

    blobs: int = 0
    size: int = 0


async def find_reclaimed(reader: Reader) -> Reclaimed:
    """Return what was deleted so far."""
    text = await find_setting(reader, _RECLAIMED)
    return msgspec.json.decode(text, type=Reclaimed) if text else Reclaimed()


async def add_reclaimed(transaction: Transaction, *, blobs: int, size: int) -> None:
    """Count what was deleted."""
    known = await find_reclaimed(transaction)
    added = Reclaimed(known.blobs + blobs, known.size + size)
    await replace_setting(transaction, _RECLAIMED, value=msgspec.json.encode(added).decode())
