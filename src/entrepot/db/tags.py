"""Where tags point, and where they pointed before."""

from collections.abc import Sequence
from typing import Final

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.counting import Home, count, uncount_tags
from entrepot.db.engine import Reader, Transaction, up_to_nul
from entrepot.db.reviews import review_manifest, review_tagged

_ALL: Final = 2**63 - 1
"""A limit for all of them, which both engines take."""

_FIND = """
    SELECT manifests.id, manifests.digest FROM tags
    JOIN manifests ON manifests.id = tags.manifest_id
    WHERE tags.repository_id = :repository AND tags.name = :tag
"""
_SET = """
    INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at)
    VALUES (:repository, :tag, :manifest, :created, :now)
    ON CONFLICT (repository_id, name)
    DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at
"""
_PUSH_AGAIN = """
    UPDATE tags SET updated_at = :now
    WHERE repository_id = :repository AND name = :tag AND updated_at < :now
"""
_DELETE = "DELETE FROM tags WHERE repository_id = :repository AND name = :tag"
_REMEMBER = """
    INSERT INTO tag_history (repository_id, name, digest, previous, changed_at, changed_by)
    VALUES (:repository, :tag, :digest, :previous, :now, :actor)
"""
_REMEMBER_END = """
    INSERT INTO tag_history (repository_id, name, digest, previous, changed_at, changed_by)
    SELECT tags.repository_id, tags.name, NULL, manifests.digest, CAST(:now AS BIGINT),
           CAST(:actor AS TEXT)
    FROM tags JOIN manifests ON manifests.id = tags.manifest_id
    WHERE tags.repository_id = :repository AND tags.name = :tag
"""
_LIST = """
    SELECT tags.name FROM repositories JOIN tags ON tags.repository_id = repositories.id
    WHERE repositories.name = :name AND tags.name > :last ORDER BY tags.name LIMIT :limit
"""


async def set_tag(
    transaction: Transaction,
    home: Home,
    tag: Tag,
    *,
    manifest: tuple[int, Digest],
    actor: str | None,
    now: int,
    review_after: int,
    created_at: int | None = None,
) -> Digest | None:
    """Point a tag at a manifest, given as id and digest, remember where it pointed before, and
    return that, None if that was nowhere or there. What it pointed at is looked at again
    `review_after`. A tag that was there before may have a time at which it was made.
    """
    new_id, digest = manifest
    values = {"repository": home.id, "tag": tag}
    row = await transaction.fetch_one(_FIND, values)
    if row is not None and row[0] == new_id:
        await transaction.execute(_PUSH_AGAIN, values | {"now": now})
        return None
    await transaction.execute(
        _SET, values | {"manifest": new_id, "created": created_at or now, "now": now}
    )
    change = {"digest": digest.packed, "previous": row[1] if row else None}
    await transaction.execute(_REMEMBER, values | change | {"now": now, "actor": actor})
    if row is None:
        await count(transaction, home.counted, {"tags": 1})
        return None
    await review_manifest(transaction, row[0], after=review_after, event="tag.moved")
    return Digest.unpack(row[1])


async def find_tag(reader: Reader, repository: int, tag: Tag) -> tuple[int, Digest] | None:
    """Return the id and the digest of the manifest that a tag points at, or None."""
    row = await reader.fetch_one(_FIND, {"repository": repository, "tag": tag})
    return None if row is None else (row[0], Digest.unpack(row[1]))


async def delete_tags(
    transaction: Transaction,
    repository: int,
    tags: Sequence[Tag],
    *,
    actor: str | None,
    now: int,
    review_after: int,
) -> None:
    """Remove tags, which exist, and remember where they pointed. That is looked at again
    `review_after`.
    """
    change = {"repository": repository, "actor": actor, "now": now}
    values = [change | {"tag": tag} for tag in tags]
    await transaction.execute_many(_REMEMBER_END, values)
    await review_tagged(transaction, repository, tags, after=review_after)
    await transaction.execute_many(_DELETE, values)
    await uncount_tags(transaction, repository, len(tags))


async def list_tags(reader: Reader, name: RepositoryName, *, last: str, limit: int) -> list[str]:
    """Return at most `limit` tags of a repository after `last`, in the order of bytes; a negative
    `limit` returns all.
    """
    values = {"name": name, "last": up_to_nul(last), "limit": _ALL if limit < 0 else limit}
    rows = await reader.fetch_all(_LIST, values)
    return [row[0] for row in rows]
