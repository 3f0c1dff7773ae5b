"""Children of indexes that were pushed before 0008 and need not have been complete then: those that
have come since belong to them, the others are awaited.
"""

import json

import sqlalchemy as sa
from alembic import op

from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError

revision = "0009"
down_revision = "0008"

_INDEXES = sa.text(
    "SELECT id, repository_id, payload FROM manifests WHERE id > :last AND media_type IN ("
    "'application/vnd.oci.image.index.v1+json', "
    "'application/vnd.docker.distribution.manifest.list.v2+json') ORDER BY id LIMIT 200"
)
_CHILD = sa.text("SELECT id FROM manifests WHERE repository_id = :repository AND digest = :digest")
_ADD = sa.text(
    "INSERT INTO manifest_children (parent_id, child_id) VALUES (:parent, :child) "
    "ON CONFLICT (parent_id, child_id) DO NOTHING"
)
_AWAIT = sa.text(
    "INSERT INTO absent_children (parent_id, digest, repository_id) "
    "VALUES (:parent, :digest, :repository) ON CONFLICT (parent_id, digest) DO NOTHING"
)


def upgrade() -> None:
    connection, last = op.get_bind(), 0
    while rows := connection.execute(_INDEXES, {"last": last}).all():
        for parent, repository, payload in rows:
            for digest in _listed(bytes(payload)):
                place = {"repository": repository, "digest": digest}
                child = connection.execute(_CHILD, place).scalar()
                if child is None:
                    connection.execute(_AWAIT, place | {"parent": parent})
                else:
                    connection.execute(_ADD, {"parent": parent, "child": child})
            last = parent


def _listed(payload: bytes) -> set[bytes]:
    """Return the packed digests of what an index lists; nothing of what can't be read."""
    try:
        return {Digest.parse(each["digest"]).packed for each in json.loads(payload)["manifests"]}
    except (ValueError, KeyError, TypeError, DigestInvalidError):
        return set()
