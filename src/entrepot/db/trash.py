"""What was deleted and can be brought back: tags and manifests, and what the latter still need.

A row is there until it is restored, emptied or expired; until then the collector leaves alone what
it needs. `expires_at` says from when on it may go, not when it goes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from entrepot.core.names import Tag
from entrepot.db.engine import Reader, Transaction, required

_OF_REMOVAL = """
    CAST(:now AS BIGINT), CAST(:actor AS TEXT), CAST(:operation AS TEXT),
    CAST(:expires AS BIGINT)
"""
_COLUMNS = """
    (repository_id, kind, tag, digest, media_type, subject, payload, created_at, created_by,
     deleted_at, deleted_by, operation, expires_at)
"""
_THROW_MANIFEST = f"""
    INSERT INTO trash {_COLUMNS}
    SELECT repository_id, 'manifest', '', digest, media_type, subject, payload, created_at,
           created_by, {_OF_REMOVAL}
    FROM manifests WHERE id = :manifest
"""  # noqa: S608 - nothing from outside
_THROW_BLOBS = """
    INSERT INTO trash_references (trash_id, digest)
    SELECT trash.id, manifest_blobs.digest FROM manifests
    JOIN trash ON trash.repository_id = manifests.repository_id
        AND trash.digest = manifests.digest AND trash.kind = 'manifest'
        AND trash.operation = :operation
    JOIN manifest_blobs ON manifest_blobs.manifest_id = manifests.id
    WHERE manifests.id = :manifest
    ON CONFLICT (trash_id, digest) DO NOTHING
"""
_THROW_CHILDREN = """
    INSERT INTO trash_references (trash_id, digest)
    SELECT trash.id, children.digest FROM manifests
    JOIN trash ON trash.repository_id = manifests.repository_id
        AND trash.digest = manifests.digest AND trash.kind = 'manifest'
        AND trash.operation = :operation
    JOIN manifest_children ON manifest_children.parent_id = manifests.id
    JOIN manifests AS children ON children.id = manifest_children.child_id
    WHERE manifests.id = :manifest
    ON CONFLICT (trash_id, digest) DO NOTHING
"""
_THROW_TAG = f"""
    INSERT INTO trash {_COLUMNS}
    SELECT tags.repository_id, 'tag', tags.name, manifests.digest, '', NULL, NULL, tags.created_at,
           NULL, {_OF_REMOVAL}
    FROM tags JOIN manifests ON manifests.id = tags.manifest_id
    WHERE tags.repository_id = :repository AND tags.name = :tag
"""  # noqa: S608 - nothing from outside

_MEASURE = """
    SELECT (SELECT COUNT(*) FROM trash WHERE kind = 'tag'),
           (SELECT COUNT(*) FROM trash WHERE kind = 'manifest'),
           (SELECT CAST(COALESCE(SUM(blobs.size), 0) AS BIGINT)
            FROM (SELECT DISTINCT digest FROM trash_references) AS needed
            JOIN blobs ON blobs.digest = needed.digest
            WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs
                              WHERE manifest_blobs.digest = blobs.digest))
"""


class Amount(NamedTuple):
    """How much is in the trash; `size` are the bytes of blobs that nothing else needs."""

    tags: int
    manifests: int
    size: int


class Removal(NamedTuple):
    """A deletion in one repository: what it is called, whose it is, and from when on what it threw
    away may go.
    """

    repository: int
    operation: str
    actor: str | None
    now: int
    expires: int

    def values(self) -> dict[str, object]:
        """Return what the statements need of it."""
        return self._asdict()


async def measure_trash(reader: Reader) -> Amount:
    """Return how much is in the trash. It goes through all of it: ask now and then."""
    return Amount(*required(await reader.fetch_one(_MEASURE, {})))


async def throw_manifests(
    transaction: Transaction, removal: Removal, manifests: Iterable[int]
) -> None:
    """Put manifests into the trash, with what they need. They must be deleted after that."""
    values = [removal.values() | {"manifest": manifest} for manifest in manifests]
    for statement in (_THROW_MANIFEST, _THROW_BLOBS, _THROW_CHILDREN):
        await transaction.execute_many(statement, values)


async def throw_tags(transaction: Transaction, removal: Removal, tags: Sequence[Tag]) -> None:
    """Put tags into the trash. They must be deleted after that."""
    values = [removal.values() | {"tag": tag} for tag in tags]
    await transaction.execute_many(_THROW_TAG, values)
