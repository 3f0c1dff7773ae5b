"""Which repositories there are."""

from typing import Final

from entrepot.core.names import RepositoryName
from entrepot.db.engine import Reader, Transaction, required, up_to_nul

ROOT_NAMESPACE: Final = 1

_FIND = "SELECT id FROM repositories WHERE name = :name"
_ADD = """
    INSERT INTO repositories (namespace_id, name, created_at) VALUES (:namespace, :name, :now)
    ON CONFLICT (name) DO NOTHING
"""
# A repository that only ever received blobs, or lost its last manifest, is not listed.
_LIST = """
    SELECT name FROM repositories
    WHERE name > :last
      AND EXISTS (SELECT 1 FROM manifests WHERE manifests.repository_id = repositories.id)
    ORDER BY name LIMIT :limit
"""


async def find_repository(reader: Reader, name: RepositoryName) -> int | None:
    """Return the id of a repository, or None if nothing was ever pushed to it."""
    row = await reader.fetch_one(_FIND, {"name": name})
    return row[0] if row else None


async def ensure_repository(transaction: Transaction, name: RepositoryName, *, now: int) -> int:
    """Return the id of a repository, which is created if it does not exist."""
    found = await find_repository(transaction, name)
    if found is not None:
        return found
    await transaction.execute(_ADD, {"namespace": ROOT_NAMESPACE, "name": name, "now": now})
    return int(required(await transaction.fetch_one(_FIND, {"name": name}))[0])


async def list_repositories(reader: Reader, *, last: str, limit: int) -> list[str]:
    """Return the names of at most `limit` repositories after `last`, in the order of bytes."""
    rows = await reader.fetch_all(_LIST, {"last": up_to_nul(last), "limit": limit})
    return [row[0] for row in rows]
