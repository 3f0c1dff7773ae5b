"""Which blobs there are, and which repository may serve them.

A row of `blobs` exists only after the blob's bytes lie complete and hashed in the store. Until they
are known to be durable `synced` is false; see docs/storage-format.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

from entrepot.core.areas import Area
from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName
from entrepot.db.counting import Home, count_links, uncount_blob, uncount_link
from entrepot.db.engine import Reader, Transaction

_FIND_SIZE = """
    SELECT blobs.size FROM repositories
    JOIN repository_blobs ON repository_blobs.repository_id = repositories.id
    JOIN blobs ON blobs.digest = repository_blobs.digest
    WHERE repositories.name = :name AND repository_blobs.digest = :digest
        AND blobs.quarantined_at IS NULL
"""
_FIND = """
    SELECT blobs.size, link_reviews.review_after, blobs.quarantined_at IS NOT NULL,
        (SELECT value FROM settings WHERE key = 'access.revision')
    FROM repositories
    JOIN repository_blobs ON repository_blobs.repository_id = repositories.id
    JOIN blobs ON blobs.digest = repository_blobs.digest
    LEFT JOIN link_reviews ON link_reviews.repository_id = repository_blobs.repository_id
        AND link_reviews.digest = repository_blobs.digest
    WHERE repositories.name = :name AND repository_blobs.digest = :digest
"""
_FIND_LINKED = """
    SELECT blobs.size, blobs.synced OR EXISTS (
        SELECT 1 FROM blob_bytes WHERE blob_bytes.digest = blobs.digest
    ) FROM repository_blobs
    JOIN blobs ON blobs.digest = repository_blobs.digest
    WHERE repository_blobs.repository_id = :repository AND repository_blobs.digest = :digest
        AND blobs.quarantined_at IS NULL
"""
_FIND_ANYWHERE = """
    SELECT 1 FROM repository_blobs JOIN blobs ON blobs.digest = repository_blobs.digest
    WHERE repository_blobs.digest = :digest AND blobs.quarantined_at IS NULL LIMIT 1
"""
# CROSS JOIN keeps SQLite from beginning with all that link the blob.
_LIST_LINKING = """
    SELECT seen.name FROM (
        SELECT id, name FROM repositories WHERE name >= :first AND name <= :end
        ORDER BY name LIMIT :most
    ) AS seen
    CROSS JOIN repository_blobs
    WHERE repository_blobs.repository_id = seen.id AND repository_blobs.digest = :digest
"""
_ADD = """
    INSERT INTO blobs (digest, size, synced, created_at) VALUES (:digest, :size, :synced, :now)
    ON CONFLICT (digest) DO UPDATE SET size = excluded.size, synced = excluded.synced,
        quarantined_at = NULL
"""
_ADD_NEW = """
    INSERT INTO blobs (digest, size, synced, created_at)
    SELECT :digest, CAST(:size AS BIGINT), CAST(:synced AS BOOLEAN), CAST(:now AS BIGINT)
    WHERE NOT EXISTS (SELECT 1 FROM doomed_blobs WHERE digest = :digest)
    ON CONFLICT (digest) DO NOTHING
"""
_LINK = """
    INSERT INTO repository_blobs (repository_id, digest, linked_at)
    SELECT CAST(:repository AS BIGINT), digest, CAST(:now AS BIGINT)
    FROM blobs WHERE digest = :digest
    ON CONFLICT (repository_id, digest) DO UPDATE SET linked_at = excluded.linked_at
"""
_UNLINK = "DELETE FROM repository_blobs WHERE repository_id = :repository AND digest = :digest"
_FIND_USER = """
    SELECT manifests.digest FROM manifest_blobs
    JOIN manifests ON manifests.id = manifest_blobs.manifest_id
    WHERE manifest_blobs.digest = :digest AND manifest_blobs.repository_id = :repository LIMIT 1
"""
_KEEP = """
    INSERT INTO blob_bytes (digest, data) VALUES (:digest, :data) ON CONFLICT (digest) DO NOTHING
"""
_FIND_KEPT = "SELECT data FROM blob_bytes WHERE digest = :digest"
_GIVE_UP = "DELETE FROM blob_bytes WHERE digest = :digest"
_MARK_SYNCED = "UPDATE blobs SET synced = :synced WHERE digest = :digest"
_LIST_UNSYNCED = """
    SELECT digest FROM blobs WHERE NOT synced AND (
        created_at < :before
        OR created_at < :soon AND EXISTS (
            SELECT 1 FROM blob_bytes WHERE blob_bytes.digest = blobs.digest
        )
    )
    ORDER BY digest LIMIT :limit
"""
_FORGET_LINKS = "DELETE FROM repository_blobs WHERE digest = :digest"
_FORGET = "DELETE FROM blobs WHERE digest = :digest"


class BlobRow(NamedTuple):
    """What is recorded of a blob: its bytes, whether they are known to be durable, and since when
    they are there.
    """

    size: int
    synced: bool
    now: int


class LinkedBlob(NamedTuple):
    """A blob that a repository links; `size` in bytes; `durable`: once a later transaction is
    durable so is the blob.
    """

    size: int
    durable: bool


class FoundBlob(NamedTuple):
    """A blob that is asked for: its bytes, when it is looked at whether its repository still needs
    it, if a look is due, whether its bytes are known to be damaged, and the revision
    (`find_revision`) of who may do what, as of when it was read.
    """

    size: int
    review_after: int | None
    damaged: bool
    revision: int


async def find_blob_size(reader: Reader, name: RepositoryName, digest: Digest) -> int | None:
    """Return the bytes of a blob if the repository links it and it is not damaged, else None."""
    row = await reader.fetch_one(_FIND_SIZE, {"name": name, "digest": digest.packed})
    return row[0] if row else None


async def find_blob(reader: Reader, name: RepositoryName, digest: Digest) -> FoundBlob | None:
    """Return a blob if the repository links it, else None."""
    row = await reader.fetch_one(_FIND, {"name": name, "digest": digest.packed})
    return FoundBlob(row[0], row[1], bool(row[2]), int(row[3] or 0)) if row else None


async def find_linked_blob(reader: Reader, repository: int, digest: Digest) -> LinkedBlob | None:
    """Return what is known of a blob if the repository links it and it isn't damaged, else None."""
    values = {"repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_LINKED, values)
    return LinkedBlob(row[0], bool(row[1])) if row else None


async def is_linked_anywhere(reader: Reader, digest: Digest) -> bool:
    """Return whether any repository links the blob, and it is not damaged."""
    return await reader.fetch_one(_FIND_ANYWHERE, {"digest": digest.packed}) is not None


async def list_linking(reader: Reader, digest: Digest, *, area: Area, most: int) -> list[str]:
    """Return which of the first `most` repositories in an area link the blob."""
    values = {"digest": digest.packed, "first": area.first, "end": area.end, "most": most}
    return [row[0] for row in await reader.fetch_all(_LIST_LINKING, values)]


async def add_blob(transaction: Transaction, digest: Digest, row: BlobRow) -> None:
    """Record a blob whose bytes were put into the store just now, complete.
    `entrepot.services.storing.add_stored` says whether that may be done.
    """
    await transaction.execute(_ADD, {"digest": digest.packed, **row._asdict()})


async def add_new_blob(transaction: Transaction, digest: Digest, row: BlobRow) -> bool:
    """Do that for a blob that has no row and whose object nobody deletes or has deleted lately;
    return whether it is one.
    """
    values = {"digest": digest.packed, **row._asdict()}
    return await transaction.execute(_ADD_NEW, values) == 1


async def link_blob(transaction: Transaction, home: Home, digest: Digest, *, now: int) -> bool:
    """Let the repository serve a blob, and keep the blob for the grace period; return whether the
    blob exists.
    """
    values = {"repository": home.id, "digest": digest.packed, "now": now}
    if await transaction.execute(_LINK, values) != 1:
        return False
    await count_links(transaction, home.counted, [digest])
    return True


async def unlink_blob(transaction: Transaction, repository: int, digest: Digest) -> bool:
    """Stop the repository from serving a blob; return whether it did serve it."""
    values = {"repository": repository, "digest": digest.packed}
    if await transaction.execute(_UNLINK, values) != 1:
        return False
    await uncount_link(transaction, repository, digest)
    return True


async def find_manifest_using(reader: Reader, repository: int, digest: Digest) -> Digest | None:
    """Return a manifest of the repository that needs the blob, or None."""
    values = {"repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_USER, values)
    return Digest.unpack(row[0]) if row else None


async def keep_bytes(transaction: Transaction, digest: Digest, data: bytes) -> None:
    """Keep the bytes of a small blob, which is recorded already, until its file is synced."""
    await transaction.execute(_KEEP, {"digest": digest.packed, "data": data})


async def find_kept_bytes(reader: Reader, digest: Digest) -> bytes | None:
    """Return the bytes of a blob if they are kept."""
    row = await reader.fetch_one(_FIND_KEPT, {"digest": digest.packed})
    return bytes(row[0]) if row else None


async def mark_synced(transaction: Transaction, digests: Sequence[Digest]) -> None:
    """Record that the blobs' bytes are durable; those that were kept are given up."""
    packed = [digest.packed for digest in digests]
    values = ({"digest": digest, "synced": True} for digest in packed)
    await transaction.execute_many(_MARK_SYNCED, values)
    await transaction.execute_many(_GIVE_UP, ({"digest": digest} for digest in packed))


async def list_unsynced(reader: Reader, *, before: int, soon: int, limit: int) -> list[Digest]:
    """Return blobs that are not known to be durable: recorded before a time, or before `soon` if
    their bytes are kept.
    """
    values = {"before": before, "soon": soon, "limit": limit}
    rows = await reader.fetch_all(_LIST_UNSYNCED, values)
    return [Digest.unpack(row[0]) for row in rows]


async def forget_blob(transaction: Transaction, digest: Digest) -> None:
    """Remove a blob whose bytes are lost, and every link to it."""
    await uncount_blob(transaction, digest)
    await transaction.execute(_FORGET_LINKS, {"digest": digest.packed})
    await transaction.execute(_FORGET, {"digest": digest.packed})
