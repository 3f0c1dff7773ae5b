"""What is due to be looked at, what the index knows of it, and what becomes of it."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from entrepot.core.collected import Waiting, show_time
from entrepot.core.collecting import LinkFacts, ManifestFacts
from entrepot.core.digest import Digest
from entrepot.core.manifest import companion_tags
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.engine import Reader, Row, Transaction

# `:now` is when holds and trash are over; `FOREVER` of core.collecting stands for a hold without an
# end.
_HELD: Final = """
    COALESCE((SELECT MAX(COALESCE(holds.expires_at, 4611686018427387904)) FROM holds
              WHERE holds.repository_id = {repository} AND {which}), 0)
"""
_MANIFEST_FACTS: Final = f"""
    EXISTS (SELECT 1 FROM tags WHERE tags.manifest_id = manifests.id),
    EXISTS (SELECT 1 FROM manifest_children WHERE manifest_children.child_id = manifests.id),
    EXISTS (SELECT 1 FROM manifests AS subjects
            WHERE subjects.repository_id = manifests.repository_id
              AND subjects.digest = manifests.subject),
    {
    _HELD.format(
        repository="manifests.repository_id",
        which="(holds.digest IS NULL OR holds.digest = manifests.digest)",
    )
},
    COALESCE((SELECT MAX(trash.expires_at) FROM trash
              WHERE trash.repository_id = manifests.repository_id
                AND trash.digest = manifests.digest), 0),
    COALESCE((SELECT MAX(trash.expires_at) FROM trash_references
              JOIN trash ON trash.id = trash_references.trash_id
              WHERE trash_references.digest = manifests.digest
                AND trash.repository_id = manifests.repository_id), 0),
    COALESCE((SELECT MAX(tag_history.changed_at) FROM tag_history
              WHERE tag_history.repository_id = manifests.repository_id
                AND tag_history.previous = manifests.digest), 0)
"""  # noqa: S608 - constants alone
_DUE_MANIFESTS: Final = f"""
    SELECT manifests.id, repositories.id, repositories.name, manifests.digest, manifests.size,
           manifest_reviews.event,
           EXISTS (SELECT 1 FROM tags AS others WHERE others.repository_id = repositories.id
                   AND others.name >= 'sha256-' AND others.name < 'sha513'),
           {_MANIFEST_FACTS}
    FROM manifest_reviews
    JOIN manifests ON manifests.id = manifest_reviews.manifest_id
    JOIN repositories ON repositories.id = manifests.repository_id
    WHERE manifest_reviews.review_after <= :now
"""  # noqa: S608 - constants alone
_LIST_DUE_MANIFESTS = f"{_DUE_MANIFESTS} ORDER BY manifest_reviews.review_after LIMIT :limit"
_PAGE_DUE_MANIFESTS = f"""
    {_DUE_MANIFESTS} AND manifest_reviews.manifest_id > :after
    ORDER BY manifest_reviews.manifest_id LIMIT :limit
"""
_FIND_DUE_MANIFEST = f"{_DUE_MANIFESTS} AND manifest_reviews.manifest_id = :manifest"
_FIND_REVIEW = "SELECT review_after FROM manifest_reviews WHERE manifest_id = :manifest"
_LIST_KEEPERS = """
    SELECT parent_id FROM manifest_children WHERE child_id = :manifest
    UNION
    SELECT subjects.id FROM manifests
    JOIN manifests AS subjects ON subjects.repository_id = manifests.repository_id
        AND subjects.digest = manifests.subject
    WHERE manifests.id = :manifest
"""
_FIND_MANIFEST = f"""
    SELECT {_MANIFEST_FACTS} FROM manifests WHERE manifests.id = :manifest
"""  # noqa: S608 - constants alone
_LINK_FACTS: Final = f"""
    EXISTS (SELECT 1 FROM manifest_blobs WHERE manifest_blobs.digest = {{digest}}
            AND manifest_blobs.repository_id = {{repository}}),
    {_HELD.format(repository="{repository}", which="holds.digest IS NULL")},
    COALESCE((SELECT MAX(trash.expires_at) FROM trash_references
              JOIN trash ON trash.id = trash_references.trash_id
              WHERE trash_references.digest = {{digest}}
                AND trash.repository_id = {{repository}}), 0)
"""  # noqa: S608 - constants alone
_DUE = {"digest": "link_reviews.digest", "repository": "link_reviews.repository_id"}
_DUE_LINKS: Final = f"""
    SELECT link_reviews.repository_id, link_reviews.digest,
           {_LINK_FACTS.format(**_DUE)}, repository_blobs.linked_at
    FROM link_reviews
    LEFT JOIN repository_blobs ON repository_blobs.repository_id = link_reviews.repository_id
        AND repository_blobs.digest = link_reviews.digest
    WHERE link_reviews.review_after <= :now
"""  # noqa: S608 - constants alone
_LIST_DUE_LINKS = f"{_DUE_LINKS} ORDER BY link_reviews.review_after LIMIT :limit"
_PAGE_DUE_LINKS = f"""
    {_DUE_LINKS} AND (link_reviews.repository_id, link_reviews.digest) > (:repository, :digest)
    ORDER BY link_reviews.repository_id, link_reviews.digest LIMIT :limit
"""
_FIND_DUE_LINK = f"""
    {_DUE_LINKS} AND link_reviews.repository_id = :repository AND link_reviews.digest = :digest
"""
_LIST_LINKING = """
    SELECT repository_id FROM repository_blobs
    WHERE digest = :digest AND repository_id > :after ORDER BY repository_id LIMIT :limit
"""
_OF_LINK = {"digest": "repository_blobs.digest", "repository": "repository_blobs.repository_id"}
_FIND_LINK = f"""
    SELECT {_LINK_FACTS.format(**_OF_LINK)}, repository_blobs.linked_at FROM repository_blobs
    WHERE repository_blobs.repository_id = :repository AND repository_blobs.digest = :digest
"""  # noqa: S608 - constants alone
_DROP_MANIFEST_REVIEW = "DELETE FROM manifest_reviews WHERE manifest_id = :manifest"
_POSTPONE_MANIFEST = """
    UPDATE manifest_reviews SET review_after = :after, reviews = reviews + 1
    WHERE manifest_id = :manifest
"""
_DROP_LINK_REVIEW = """
    DELETE FROM link_reviews WHERE repository_id = :repository AND digest = :digest
"""
_POSTPONE_LINK = """
    UPDATE link_reviews SET review_after = :after, reviews = reviews + 1
    WHERE repository_id = :repository AND digest = :digest
"""
_LIST_COMPANIONS = """
    SELECT name FROM tags
    WHERE repository_id = :repository AND name IN (:tag_a, :tag_b, :tag_c, :tag_d)
"""
_IS_DUE = """
    SELECT 1 FROM manifest_reviews WHERE review_after <= :now
    UNION ALL SELECT 1 FROM link_reviews WHERE review_after <= :now LIMIT 1
"""
_IS_IMPORTING = "SELECT 1 FROM imports WHERE finished_at IS NULL LIMIT 1"
_MEASURE = """
    SELECT (SELECT COUNT(*) FROM manifest_reviews) + (SELECT COUNT(*) FROM link_reviews),
           (SELECT COUNT(*) FROM manifest_reviews WHERE review_after <= :overdue)
         + (SELECT COUNT(*) FROM link_reviews WHERE review_after <= :overdue),
           (SELECT MIN(review_after) FROM manifest_reviews),
           (SELECT MIN(review_after) FROM link_reviews),
           (SELECT COUNT(*) FROM doomed_blobs WHERE deleted_at IS NULL)
"""
_LIST_WAITING = """
    SELECT 'manifest', event, COUNT(*), MIN(review_after), MAX(review_after)
    FROM manifest_reviews GROUP BY event
    UNION ALL
    SELECT 'link', event, COUNT(*), MIN(review_after), MAX(review_after)
    FROM link_reviews GROUP BY event
    ORDER BY 4, 1, 2
"""
_COUNT_BLOBS = "SELECT COUNT(*) FROM blobs"


class DueManifest(NamedTuple):
    """A manifest that is looked at: its bytes, why, and whether its repository has tags that may be
    about another manifest.
    """

    id: int
    repository: int
    name: RepositoryName
    digest: Digest
    size: int
    event: str
    has_companions: bool
    facts: ManifestFacts


class DueLink(NamedTuple):
    """A link that is looked at; no facts: it is gone."""

    repository: int
    digest: Digest
    facts: LinkFacts | None


class Queue(NamedTuple):
    """How many reviews wait, how many of them should have been done, when the first is due
    (microseconds since 1970, None: there is none), and how many objects are about to be deleted.
    """

    waiting: int
    overdue: int
    first: int | None
    doomed: int


async def is_anything_due(reader: Reader, *, now: int) -> bool:
    """Return whether anything is to be looked at."""
    return bool(await reader.fetch_all(_IS_DUE, {"now": now}))


async def list_due_manifests(reader: Reader, *, now: int, limit: int) -> list[DueManifest]:
    """Return manifests that are to be looked at, those that have waited longest first."""
    rows = await reader.fetch_all(_LIST_DUE_MANIFESTS, {"now": now, "limit": limit})
    return [_due_manifest(row) for row in rows]


async def page_due_manifests(
    reader: Reader, *, now: int, after: int, limit: int
) -> list[DueManifest]:
    """Return manifests that are to be looked at, with ids after one, in the order of these."""
    values = {"now": now, "after": after, "limit": limit}
    return [_due_manifest(row) for row in await reader.fetch_all(_PAGE_DUE_MANIFESTS, values)]


async def find_due_manifest(reader: Reader, manifest: int, *, now: int) -> DueManifest | None:
    """Return a manifest if it is to be looked at."""
    row = await reader.fetch_one(_FIND_DUE_MANIFEST, {"manifest": manifest, "now": now})
    return _due_manifest(row) if row else None


async def find_review_after(reader: Reader, manifest: int) -> int | None:
    """Return when a manifest is looked at, or None."""
    row = await reader.fetch_one(_FIND_REVIEW, {"manifest": manifest})
    return row[0] if row else None


async def list_keepers(reader: Reader, manifest: int) -> list[int]:
    """Return the indexes that list a manifest and its subject, if that exists."""
    return [row[0] for row in await reader.fetch_all(_LIST_KEEPERS, {"manifest": manifest})]


def _due_manifest(row: Row) -> DueManifest:
    return DueManifest(
        id=row[0],
        repository=row[1],
        name=RepositoryName(row[2]),
        digest=Digest.unpack(row[3]),
        size=row[4],
        event=row[5],
        has_companions=bool(row[6]),
        facts=_manifest_facts(row[7:]),
    )


async def find_manifest_facts(reader: Reader, manifest: int) -> ManifestFacts | None:
    """Return what the index knows of a manifest, by its id."""
    row = await reader.fetch_one(_FIND_MANIFEST, {"manifest": manifest})
    return _manifest_facts(row) if row else None


def _manifest_facts(row: Row) -> ManifestFacts:
    tagged, listed, attached, held, trashed, needed_in_trash, left = row
    trashed = max(trashed, needed_in_trash)
    return ManifestFacts(bool(tagged), bool(listed), bool(attached), held, trashed, left)


async def list_due_links(reader: Reader, *, now: int, limit: int) -> list[DueLink]:
    """Return links that are to be looked at, those that have waited longest first."""
    rows = await reader.fetch_all(_LIST_DUE_LINKS, {"now": now, "limit": limit})
    return [_due_link(row) for row in rows]


async def page_due_links(
    reader: Reader, *, now: int, after: tuple[int, bytes], limit: int
) -> list[DueLink]:
    """Return links that are to be looked at, after one given as the repository's id and the packed
    digest, in the order of these.
    """
    repository, digest = after
    values = {"now": now, "repository": repository, "digest": digest, "limit": limit}
    return [_due_link(row) for row in await reader.fetch_all(_PAGE_DUE_LINKS, values)]


async def find_due_link(
    reader: Reader, repository: int, digest: Digest, *, now: int
) -> DueLink | None:
    """Return a link if it is to be looked at."""
    values = {"now": now, "repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_DUE_LINK, values)
    return _due_link(row) if row else None


def _due_link(row: Row) -> DueLink:
    return DueLink(
        repository=row[0],
        digest=Digest.unpack(row[1]),
        facts=None if row[5] is None else LinkFacts(bool(row[2]), *row[3:]),
    )


async def list_linking(reader: Reader, digest: Digest, *, after: int, limit: int) -> list[int]:
    """Return the repositories that link a blob, by their ids."""
    values = {"digest": digest.packed, "after": after, "limit": limit}
    return [row[0] for row in await reader.fetch_all(_LIST_LINKING, values)]


async def find_link_facts(reader: Reader, repository: int, digest: Digest) -> LinkFacts | None:
    """Return what the index knows of a repository's link to a blob, None if there is none."""
    values = {"repository": repository, "digest": digest.packed}
    row = await reader.fetch_one(_FIND_LINK, values)
    return LinkFacts(bool(row[0]), *row[1:]) if row else None


async def look_at_manifests_again(
    transaction: Transaction, looks: Iterable[tuple[DueManifest, int]]
) -> None:
    """Put reviews off until a time each."""
    values = ({"manifest": due.id, "after": after} for due, after in looks)
    await transaction.execute_many(_POSTPONE_MANIFEST, values)


async def end_manifest_reviews(transaction: Transaction, ended: Iterable[DueManifest]) -> None:
    """Forget reviews of manifests that are kept until something happens."""
    await transaction.execute_many(_DROP_MANIFEST_REVIEW, ({"manifest": due.id} for due in ended))


async def look_at_links_again(
    transaction: Transaction, looks: Iterable[tuple[DueLink, int]]
) -> None:
    """Put reviews off until a time each."""
    values = ({**_key(due), "after": after} for due, after in looks)
    await transaction.execute_many(_POSTPONE_LINK, values)


async def end_link_reviews(transaction: Transaction, ended: Iterable[DueLink]) -> None:
    """Forget reviews of links that are gone, or are kept until something happens."""
    await transaction.execute_many(_DROP_LINK_REVIEW, map(_key, ended))


def _key(due: DueLink) -> dict[str, object]:
    return {"repository": due.repository, "digest": due.digest.packed}


async def list_companion_tags(reader: Reader, repository: int, subject: Digest) -> list[Tag]:
    """Return the tags of a repository that say that something belongs to a manifest."""
    names = {f"tag_{a}": tag for a, tag in zip("abcd", companion_tags(subject), strict=True)}
    rows = await reader.fetch_all(_LIST_COMPANIONS, names | {"repository": repository})
    return [Tag(row[0]) for row in rows]


async def is_importing(reader: Reader) -> bool:
    """Return whether anything is still being taken over or imported from `registry:2`."""
    return await reader.fetch_one(_IS_IMPORTING, {}) is not None


async def measure_queue(reader: Reader, *, overdue: int) -> Queue:
    """Return how much waits; what was due before `overdue` should have been done."""
    row = await reader.fetch_one(_MEASURE, {"overdue": overdue})
    if row is None:
        return Queue(0, 0, None, 0)
    first = [moment for moment in row[2:4] if moment is not None]
    return Queue(row[0], row[1], min(first, default=None), row[4])


async def list_waiting(reader: Reader) -> list[Waiting]:
    """Return what waits to be looked at, by why it does, what is due first before."""
    rows = await reader.fetch_all(_LIST_WAITING, {})
    return [
        Waiting(kind, event, count, show_time(first), show_time(last))
        for kind, event, count, first, last in rows
    ]


async def count_blobs(reader: Reader) -> int:
    """Return how many blobs there are."""
    row = await reader.fetch_one(_COUNT_BLOBS, {})
    return int(row[0]) if row else 0
