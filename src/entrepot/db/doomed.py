"""Blobs whose rows are gone and whose bytes are about to go (docs/collection.md, "A blob goes").

As long as a row here has no `deleted_at`, `blobs` has none for that digest. With `deleted_at` it is
a gravestone: it tells an upload that bytes it had put before may have gone.
"""

from typing import NamedTuple

from entrepot.core.digest import Digest
from entrepot.db.engine import Reader

_FIND_STATE = """
    SELECT (SELECT size FROM blobs WHERE digest = :digest),
           (SELECT COALESCE(deleted_at, 0) FROM doomed_blobs WHERE digest = :digest)
"""


class BlobState(NamedTuple):
    """What the index knows of a digest: its bytes, None if it has no row; and when the object of
    that name was last deleted, 0 if that may happen at any moment, None if it was not.
    """

    size: int | None
    deleted_at: int | None

    @property
    def doomed(self) -> bool:
        """Whether the object of that name may be deleted at any moment."""
        return self.deleted_at == 0


async def find_blob_state(reader: Reader, digest: Digest) -> BlobState:
    """Return whether there is a blob, and whether its object may be deleted or was lately."""
    row = await reader.fetch_one(_FIND_STATE, {"digest": digest.packed})
    return BlobState(*row) if row else BlobState(None, None)
