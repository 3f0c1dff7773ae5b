"""Looking at every stored object, and setting damaged ones apart."""

from typing import NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName
from entrepot.db.engine import Reader, Transaction, required

_LIST = """
    SELECT digest, size, quarantined_at FROM blobs WHERE digest > :after
    ORDER BY digest LIMIT :limit
"""
_COUNT = "SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM blobs WHERE digest > :after"
_QUARANTINE = """
    UPDATE blobs SET quarantined_at = :now WHERE digest = :digest AND quarantined_at IS NULL
"""
_RELEASE = """
    UPDATE blobs SET quarantined_at = NULL WHERE digest = :digest AND quarantined_at IS NOT NULL
"""
_LIST_HOLDERS = """
    SELECT repositories.name FROM repository_blobs
    JOIN repositories ON repositories.id = repository_blobs.repository_id
    WHERE repository_blobs.digest = :digest ORDER BY repositories.name LIMIT :limit
"""
_LIST_MANIFESTS = """
    SELECT manifests.id, repositories.name, manifests.digest, manifests.payload
    FROM manifests JOIN repositories ON repositories.id = manifests.repository_id
    WHERE manifests.id > :after ORDER BY manifests.id LIMIT :limit
"""
_REPLACE = "UPDATE manifests SET payload = :payload WHERE id = :manifest"


class StoredBlob(NamedTuple):
    """A blob as the index knows it, its bytes, and since when it is known to be damaged, if it is
    (microseconds since 1970).
    """

    digest: Digest
    size: int
    quarantined_at: int | None


class StoredPayload(NamedTuple):
    """A manifest's bytes as the index has them."""

    id: int
    name: RepositoryName
    digest: Digest
    payload: bytes


async def list_stored_blobs(reader: Reader, *, after: bytes, limit: int) -> list[StoredBlob]:
    """Return blobs after a packed digest."""
    rows = await reader.fetch_all(_LIST, {"after": after, "limit": limit})
    return [StoredBlob(Digest.unpack(row[0]), row[1], row[2]) for row in rows]


async def measure_blobs(reader: Reader, *, after: bytes) -> tuple[int, int]:
    """Return how many blobs there are after a packed digest, and their bytes."""
    row = required(await reader.fetch_one(_COUNT, {"after": after}))
    return int(row[0]), int(row[1])


async def quarantine_blob(transaction: Transaction, digest: Digest, *, now: int) -> bool:
    """Record that a blob's bytes are damaged; return False if it is gone, or that was known."""
    return await transaction.execute(_QUARANTINE, {"digest": digest.packed, "now": now}) == 1


async def release_blob(transaction: Transaction, digest: Digest) -> bool:
    """Record that a blob's bytes are right; return False if nobody said otherwise."""
    return await transaction.execute(_RELEASE, {"digest": digest.packed}) == 1


async def list_holders(reader: Reader, digest: Digest, *, limit: int) -> list[RepositoryName]:
    """Return repositories that link a blob, by name."""
    rows = await reader.fetch_all(_LIST_HOLDERS, {"digest": digest.packed, "limit": limit})
    return [RepositoryName(row[0]) for row in rows]


async def list_stored_payloads(reader: Reader, *, after: int, limit: int) -> list[StoredPayload]:
    """Return manifests after an id, with their bytes."""
    rows = await reader.fetch_all(_LIST_MANIFESTS, {"after": after, "limit": limit})
    return [
        StoredPayload(row[0], RepositoryName(row[1]), Digest.unpack(row[2]), bytes(row[3]))
        for row in rows
    ]


async def replace_payload(transaction: Transaction, manifest: int, payload: bytes) -> bool:
    """Write a manifest's bytes anew, of which the caller knows that they have its digest; return
    False if it is gone.
    """
    return await transaction.execute(_REPLACE, {"manifest": manifest, "payload": payload}) == 1
