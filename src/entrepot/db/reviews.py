"""What may have lost its last user, and when it is looked at again.

A review is only a reason to look: whether anything still needs the content is asked when it is due,
in one place (`entrepot.services.collecting`). Every review is written in the transaction that may
have taken a user away. One that is there already is put off, never brought forward.
"""

from collections.abc import Sequence
from typing import Literal

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.engine import Transaction

Event = Literal[
    "tag.moved",
    "tag.deleted",
    "manifest.pushed",
    "manifest.deleted",
    "index.deleted",
    "subject.deleted",
    "blob.unlinked",
    "blob.unused",
    "trash.expired",
    "trash.restored",
    "hold.ended",
    "circle.found",
    "asked",
]
"""Why something is to be looked at; `asked` is by somebody who wants what is untagged to go."""

OR_LATER_LINK = """
    ON CONFLICT (repository_id, digest) DO UPDATE SET event = excluded.event, review_after =
        CASE WHEN excluded.review_after > link_reviews.review_after
        THEN excluded.review_after ELSE link_reviews.review_after END
"""
_REVIEW_LINK = f"""
    INSERT INTO link_reviews (repository_id, digest, review_after, event)
    SELECT repository_id, digest, CAST(:after AS BIGINT), CAST(:event AS TEXT)
    FROM repository_blobs WHERE repository_id = :repository AND digest = :digest
    {OR_LATER_LINK}
"""  # noqa: S608 - constants alone
_REVIEW_LINKS_OF = f"""
    INSERT INTO link_reviews (repository_id, digest, review_after, event)
    SELECT repository_blobs.repository_id, repository_blobs.digest,
           CAST(:after AS BIGINT), CAST(:event AS TEXT)
    FROM manifests
    JOIN manifest_blobs ON manifest_blobs.manifest_id = manifests.id
    JOIN repository_blobs ON repository_blobs.repository_id = manifests.repository_id
        AND repository_blobs.digest = manifest_blobs.digest
    WHERE manifests.id = :manifest
    {OR_LATER_LINK}
"""  # noqa: S608 - constants alone
OR_LATER_MANIFEST = """
    ON CONFLICT (manifest_id) DO UPDATE SET event = excluded.event, review_after =
        CASE WHEN excluded.review_after > manifest_reviews.review_after
        THEN excluded.review_after ELSE manifest_reviews.review_after END
"""
_REVIEW_MANIFEST = f"""
    INSERT INTO manifest_reviews (manifest_id, review_after, event)
    VALUES (:manifest, :after, :event) {OR_LATER_MANIFEST}
"""  # noqa: S608 - constants alone
_REVIEW_TAGGED = f"""
    INSERT INTO manifest_reviews (manifest_id, review_after, event)
    SELECT manifest_id, CAST(:after AS BIGINT), 'tag.deleted'
    FROM tags WHERE repository_id = :repository AND name = :tag {OR_LATER_MANIFEST}
"""  # noqa: S608 - constants alone
_REVIEW_CHILDREN = f"""
    INSERT INTO manifest_reviews (manifest_id, review_after, event)
    SELECT child_id, CAST(:after AS BIGINT), 'index.deleted'
    FROM manifest_children WHERE parent_id = :manifest {OR_LATER_MANIFEST}
"""  # noqa: S608 - constants alone
_REVIEW_REFERRERS = f"""
    INSERT INTO manifest_reviews (manifest_id, review_after, event)
    SELECT referrers.id, CAST(:after AS BIGINT), 'subject.deleted'
    FROM manifests
    JOIN manifests AS referrers ON referrers.repository_id = manifests.repository_id
        AND referrers.subject = manifests.digest
    WHERE manifests.id = :manifest {OR_LATER_MANIFEST}
"""  # noqa: S608 - constants alone
_PUT_LINK_OFF = """
    UPDATE link_reviews SET review_after = :after
    WHERE repository_id = (SELECT id FROM repositories WHERE name = :name)
      AND digest = :digest AND review_after < :after
"""
_PUT_MANIFEST_OFF = """
    UPDATE manifest_reviews SET review_after = :after
    WHERE manifest_id = (
        SELECT manifests.id FROM repositories
        JOIN manifests ON manifests.repository_id = repositories.id AND manifests.digest = :digest
        WHERE repositories.name = :name
    ) AND review_after < :after
"""


async def review_link(
    transaction: Transaction, repository: int, digest: Digest, *, after: int, event: Event
) -> None:
    """Look after a time whether the repository still needs a blob that it links; nothing happens if
    it links none.
    """
    values = {"repository": repository, "digest": digest.packed, "after": after, "event": event}
    await transaction.execute(_REVIEW_LINK, values)


async def review_links_of(
    transaction: Transaction, manifest: int, *, after: int, event: Event
) -> None:
    """Look after a time whether its repository still needs the blobs of a manifest, which must not
    have been deleted yet.
    """
    values = {"manifest": manifest, "after": after, "event": event}
    await transaction.execute(_REVIEW_LINKS_OF, values)


async def review_dependents(
    transaction: Transaction, manifests: Sequence[int], *, after: int
) -> None:
    """Look after a time whether anything still needs what manifests need and list, and what they
    are the subjects of. They must not have been deleted yet.
    """
    values = [{"manifest": each, "after": after, "event": "manifest.deleted"} for each in manifests]
    for statement in (_REVIEW_LINKS_OF, _REVIEW_CHILDREN, _REVIEW_REFERRERS):
        await transaction.execute_many(statement, values)


async def review_tagged(
    transaction: Transaction, repository: int, tags: Sequence[Tag], *, after: int
) -> None:
    """Look after a time whether anything still needs what tags point at, which are about to go."""
    values = [{"repository": repository, "tag": tag, "after": after} for tag in tags]
    await transaction.execute_many(_REVIEW_TAGGED, values)


async def review_manifest(
    transaction: Transaction, manifest: int, *, after: int, event: Event
) -> None:
    """Look after a time whether anything still needs a manifest."""
    values = {"manifest": manifest, "after": after, "event": event}
    await transaction.execute(_REVIEW_MANIFEST, values)


async def put_link_off(
    transaction: Transaction, name: RepositoryName, digest: Digest, *, after: int
) -> None:
    """Put off the look at a repository's link to a blob, if one waits."""
    values = {"name": name, "digest": digest.packed, "after": after}
    await transaction.execute(_PUT_LINK_OFF, values)


async def put_manifest_off(
    transaction: Transaction, name: RepositoryName, digest: Digest, *, after: int
) -> None:
    """Put off the look at a manifest, if one waits."""
    values = {"name": name, "digest": digest.packed, "after": after}
    await transaction.execute(_PUT_MANIFEST_OFF, values)
