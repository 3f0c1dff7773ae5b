"""How often and when manifests were pulled."""

from collections.abc import Iterable

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName
from entrepot.core.pulls import Pulled, TagUse
from entrepot.db.engine import Reader, Transaction, up_to_nul

# What has been deleted meanwhile isn't found, and is not counted any more.
_ADD = """
    INSERT INTO pull_statistics (manifest_id, tag, pulls, pulled_at)
    SELECT manifests.id, CAST(:tag AS TEXT), CAST(:pulls AS BIGINT), CAST(:now AS BIGINT)
    FROM repositories
    JOIN manifests ON manifests.repository_id = repositories.id AND manifests.digest = :digest
    WHERE repositories.name = :name
    ON CONFLICT (manifest_id, tag) DO UPDATE SET
        pulls = pull_statistics.pulls + excluded.pulls,
        pulled_at = CASE WHEN excluded.pulled_at > pull_statistics.pulled_at
            THEN excluded.pulled_at ELSE pull_statistics.pulled_at END
"""
# A tag is in use if it is asked for, or the manifest that it points at: whoever has found out the
# digest of a tag asks for that.
_LIST_TAGS = """
    SELECT tags.name, manifests.digest, manifests.media_type, tags.updated_at,
        (SELECT MAX(pulled_at) FROM pull_statistics
         WHERE manifest_id = tags.manifest_id AND tag IN ('', tags.name)),
        (SELECT CAST(COALESCE(SUM(pulls), 0) AS BIGINT) FROM pull_statistics
         WHERE manifest_id = tags.manifest_id AND tag IN ('', tags.name)),
        manifests.size + (
            SELECT CAST(COALESCE(SUM(children.size), 0) AS BIGINT) FROM manifest_children
            JOIN manifests AS children ON children.id = manifest_children.child_id
            WHERE manifest_children.parent_id = tags.manifest_id
        ) + (
            SELECT CAST(COALESCE(SUM(blobs.size), 0) AS BIGINT) FROM (
                SELECT digest FROM manifest_blobs WHERE manifest_id = tags.manifest_id
                UNION
                SELECT digest FROM manifest_children
                JOIN manifest_blobs ON manifest_blobs.manifest_id = manifest_children.child_id
                WHERE manifest_children.parent_id = tags.manifest_id
            ) AS needed
            JOIN blobs ON blobs.digest = needed.digest
        )
    FROM repositories
    JOIN tags ON tags.repository_id = repositories.id
    JOIN manifests ON manifests.id = tags.manifest_id
    WHERE repositories.name = :name AND tags.name > :last ORDER BY tags.name LIMIT :limit
"""


async def list_tag_uses(
    reader: Reader, name: RepositoryName, *, last: str, limit: int
) -> list[TagUse]:
    """Return at most `limit` tags of a repository after `last`, in the order of bytes."""
    values = {"name": name, "last": up_to_nul(last), "limit": limit}
    rows = await reader.fetch_all(_LIST_TAGS, values)
    return [TagUse(row[0], Digest.unpack(row[1]), *row[2:]) for row in rows]


async def add_pulls(
    transaction: Transaction, counts: Iterable[tuple[Pulled, int]], *, now: int
) -> None:
    """Add to the pulls of manifests; all were asked for now, those with 0 as well."""
    await transaction.execute_many(
        _ADD,
        [
            {
                "name": pulled.name,
                "digest": pulled.digest.packed,
                "tag": pulled.tag,
                "pulls": count,
                "now": now,
            }
            for pulled, count in counts
        ],
    )
