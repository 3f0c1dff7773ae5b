"""What is kept where, and the facts by which it is decided."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import msgspec

from entrepot.core.digest import Digest
from entrepot.core.freeing import Graph
from entrepot.core.names import RepositoryName
from entrepot.core.retention import Tagged, Untagged
from entrepot.db.engine import Reader, Row, Transaction

_POLICIES = """
    SELECT namespaces.name, retention_policies.document, retention_policies.updated_at,
           retention_policies.updated_by
    FROM retention_policies JOIN namespaces ON namespaces.id = retention_policies.namespace_id
    ORDER BY namespaces.name
"""
_SET_POLICY = """
    INSERT INTO retention_policies (namespace_id, document, updated_at, updated_by)
    VALUES (:namespace, :document, :now, :actor)
    ON CONFLICT (namespace_id) DO UPDATE SET document = excluded.document,
        updated_at = excluded.updated_at, updated_by = excluded.updated_by
"""
_REMOVE_POLICY = "DELETE FROM retention_policies WHERE namespace_id = :namespace"
_REPOSITORIES = """
    SELECT id, name FROM repositories
    WHERE name > :last AND (name = :own OR (name >= :first AND name < :end))
    ORDER BY name LIMIT :limit
"""
# A tag is in use if it is asked for, or its manifest by the digest (`entrepot.services.pulls`).
_TAGS = """
    SELECT tags.name, manifests.digest, tags.updated_at,
        (SELECT MAX(pulled_at) FROM pull_statistics
         WHERE manifest_id = tags.manifest_id AND tag IN ('', tags.name)),
        manifests.annotations, tags.manifest_id, manifests.subject
    FROM tags JOIN manifests ON manifests.id = tags.manifest_id
    WHERE tags.repository_id = :repository AND tags.name > :last
    ORDER BY tags.name LIMIT :limit
"""
# Of no use since: pushed, pulled, or left by a tag.
_UNTAGGED = """
    SELECT manifests.digest, manifests.created_at,
        (SELECT MAX(pulled_at) FROM pull_statistics WHERE manifest_id = manifests.id),
        (SELECT MAX(changed_at) FROM tag_history
         WHERE tag_history.repository_id = manifests.repository_id
             AND tag_history.previous = manifests.digest)
    FROM manifests
    WHERE manifests.repository_id = :repository AND manifests.digest > :last
        AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.manifest_id = manifests.id)
        AND NOT EXISTS (SELECT 1 FROM manifest_children
                        WHERE manifest_children.child_id = manifests.id)
        AND (manifests.subject IS NULL OR NOT EXISTS (
            SELECT 1 FROM manifests AS subjects
            WHERE subjects.repository_id = manifests.repository_id
                AND subjects.digest = manifests.subject))
    ORDER BY manifests.digest LIMIT :limit
"""
_MANIFESTS = """
    SELECT id, digest, subject FROM manifests
    WHERE repository_id = :repository AND digest > :last ORDER BY digest LIMIT :limit
"""
_BLOBS = """
    SELECT page.id, manifest_blobs.digest FROM (
        SELECT id FROM manifests
        WHERE repository_id = :repository AND digest > :last ORDER BY digest LIMIT :limit
    ) AS page
    JOIN manifest_blobs ON manifest_blobs.manifest_id = page.id
"""
_CHILDREN = """
    SELECT page.id, manifest_children.child_id FROM (
        SELECT id FROM manifests
        WHERE repository_id = :repository AND digest > :last ORDER BY digest LIMIT :limit
    ) AS page
    JOIN manifest_children ON manifest_children.parent_id = page.id
"""
_SIZES = """
    SELECT repository_blobs.digest, blobs.size, EXISTS (
        SELECT 1 FROM repository_blobs AS others
        WHERE others.digest = repository_blobs.digest
            AND others.repository_id <> repository_blobs.repository_id
    )
    FROM repository_blobs JOIN blobs ON blobs.digest = repository_blobs.digest
    WHERE repository_blobs.repository_id = :repository AND repository_blobs.digest > :last
    ORDER BY repository_blobs.digest LIMIT :limit
"""
_PAGE: Final = 2000
"""Rows of one read, which nothing else can run beside in SQLite."""

_LAST: Final = "~"
"""Comes after every letter that a repository's name may have."""

_AFTER_SLASH: Final = chr(ord("/") + 1)


class StoredPolicy(NamedTuple):
    """A policy of a namespace as JSON, and who set it when."""

    namespace: str
    document: bytes
    updated_at: int
    updated_by: str


class FoundTag(NamedTuple):
    """A tag, and the manifest that it points at: the id of its row, and its subject."""

    tagged: Tagged
    manifest: int
    subject: Digest | None


class FoundRepository(NamedTuple):
    """A repository."""

    id: int
    name: RepositoryName


async def list_policies(reader: Reader) -> list[StoredPolicy]:
    """Return every policy, by the name of its namespace."""
    rows = await reader.fetch_all(_POLICIES, {})
    return [StoredPolicy(row[0], row[1], row[2], row[3] or "") for row in rows]


async def set_policy(
    transaction: Transaction, namespace: int, document: bytes, *, actor: str, now: int
) -> None:
    """Give a namespace a policy, in place of the one that it has."""
    values = {"namespace": namespace, "document": document, "actor": actor, "now": now}
    await transaction.execute(_SET_POLICY, values)


async def remove_policy(transaction: Transaction, namespace: int) -> bool:
    """Remove the policy of a namespace; return whether there was one."""
    return await transaction.execute(_REMOVE_POLICY, {"namespace": namespace}) == 1


async def list_repositories_in(
    reader: Reader, namespace: str, *, last: str, limit: int
) -> list[FoundRepository]:
    """Return at most `limit` repositories of a namespace, those of the namespaces below it as
    well, whose names come after `last`.
    """
    values = {
        "own": namespace,
        "first": f"{namespace}/" if namespace else "",
        "end": f"{namespace}{_AFTER_SLASH}" if namespace else _LAST,
        "last": last,
        "limit": limit,
    }
    rows = await reader.fetch_all(_REPOSITORIES, values)
    return [FoundRepository(row[0], RepositoryName(row[1])) for row in rows]


async def list_tagged(reader: Reader, repository: int) -> list[FoundTag]:
    """Return the tags of a repository with what is known of them, without labels."""
    return [_tagged(row) async for row in _paged(reader, _TAGS, repository, first="")]


async def list_untagged(reader: Reader, repository: int) -> list[Untagged]:
    """Return the manifests of a repository that no tag, no index and no subject names."""
    return [
        Untagged(digest=Digest.unpack(row[0]), since=max(at for at in row[1:] if at is not None))
        async for row in _paged(reader, _UNTAGGED, repository, first=b"")
    ]


async def read_graph(reader: Reader, repository: int) -> Graph:
    """Return who needs what in a repository, by the ids of its manifests."""
    graph = Graph()
    values: dict[str, object] = {"repository": repository, "limit": _PAGE, "last": b""}
    while rows := await reader.fetch_all(_MANIFESTS, values):
        for manifest, digest, subject in rows:
            graph.digests[manifest] = digest
            if subject is not None:
                graph.referrers[subject].append(manifest)
        for manifest, blob in await reader.fetch_all(_BLOBS, values):
            graph.blobs[manifest].append(blob)
        for parent, child in await reader.fetch_all(_CHILDREN, values):
            graph.children[parent].append(child)
        values["last"] = rows[-1][1]
    return graph


async def measure_blobs(reader: Reader, repository: int) -> dict[bytes, int]:
    """Return the sizes of the blobs that no other repository links, by their packed digests."""
    return {
        row[0]: row[1] async for row in _paged(reader, _SIZES, repository, first=b"") if not row[2]
    }


async def _paged(
    reader: Reader, sql: str, repository: int, *, first: str | bytes
) -> AsyncIterator[Row]:
    """Give the rows of a repository, whose first column is what they are ordered by."""
    values: dict[str, object] = {"repository": repository, "limit": _PAGE, "last": first}
    while True:
        rows = await reader.fetch_all(sql, values)
        for row in rows:
            yield row
        if len(rows) < _PAGE:
            return
        values["last"] = rows[-1][0]


def _tagged(row: Row) -> FoundTag:
    tagged = Tagged(
        tag=row[0],
        digest=Digest.unpack(row[1]),
        pushed_at=row[2],
        pulled_at=row[3],
        annotations=_strings(row[4]),
    )
    return FoundTag(tagged, row[5], None if row[6] is None else Digest.unpack(row[6]))


def _strings(encoded: bytes | None) -> dict[str, str]:
    return msgspec.json.decode(encoded, type=dict[str, str]) if encoded else {}
