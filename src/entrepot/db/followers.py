"""What belongs to a manifest and goes with it, and what keeps that from going."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.manifest import companion_tags
from entrepot.core.names import Tag
from entrepot.db.engine import Reader

_LIST_REFERRERS = """
    SELECT id, digest FROM manifests WHERE repository_id = :repository AND subject = :digest
    ORDER BY digest
"""
_LIST_COMPANIONS = """
    SELECT tags.name, manifests.id, manifests.digest FROM tags
    JOIN manifests ON manifests.id = tags.manifest_id
    WHERE tags.repository_id = :repository
        AND tags.name IN (:tag_a, :tag_b, :tag_c, :tag_d)
    ORDER BY tags.name
"""
# A list of referrers under a fallback tag tells of its entries, it does not consist of them.
_LIST_PARENTS = """
    SELECT manifests.id, manifests.digest FROM manifest_children
    JOIN manifests ON manifests.id = manifest_children.parent_id
    WHERE manifest_children.child_id = :manifest AND NOT EXISTS (
        SELECT 1 FROM tags WHERE tags.manifest_id = manifests.id
        AND (tags.name >= 'sha256-' AND tags.name < 'sha256.'
             OR tags.name >= 'sha512-' AND tags.name < 'sha512.')
    )
"""
_FIND_SUBJECT = """
    SELECT subject FROM manifests WHERE repository_id = :repository AND digest = :digest
"""
_LIST_TAGS = "SELECT name FROM tags WHERE manifest_id = :manifest ORDER BY name"


class Stored(NamedTuple):
    """A manifest of a repository: the id of its row, and its digest."""

    id: int
    digest: Digest


class Closure(NamedTuple):
    """What is deleted with a manifest, which is the first of `manifests`: others, and tags, not all
    of which need point at one of them.
    """

    manifests: Sequence[Stored]
    tags: Sequence[Tag]


async def list_parents(reader: Reader, manifest: int) -> list[Stored]:
    """Return the indexes that consist of the manifest and others."""
    rows = await reader.fetch_all(_LIST_PARENTS, {"manifest": manifest})
    return [Stored(row[0], Digest.unpack(row[1])) for row in rows]


async def list_subjects(
    reader: Reader, repository: int, manifests: Iterable[Digest]
) -> list[Digest]:
    """Return the subjects of those manifests of a repository that have one."""
    values = [{"repository": repository, "digest": digest.packed} for digest in manifests]
    rows = [await reader.fetch_one(_FIND_SUBJECT, each) for each in values]
    return [Digest.unpack(row[0]) for row in rows if row is not None and row[0] is not None]


async def find_closure(reader: Reader, repository: int, first: Stored) -> Closure:
    """Return what is deleted with a manifest of a repository.

    That is whatever refers to it, or to something else that is deleted: by its subject, or by a tag
    that is made of the subject's digest. But what has another tag, or is in an index that stays,
    stays as well.
    """
    going: dict[int, Stored] = {first.id: first}
    tags = dict.fromkeys(await _list_tags(reader, first.id))
    candidates: dict[int, Stored] = {}
    ahead = [first]
    while ahead:
        subject = ahead.pop()
        for tag, companion in await _list_companions(reader, repository, subject.digest):
            tags[tag] = None
            candidates[companion.id] = companion
        for referrer in await _list_referrers(reader, repository, subject.digest):
            candidates[referrer.id] = referrer
        for candidate in list(candidates.values()):
            if candidate.id in going or await _goes(reader, candidate, going, tags):
                del candidates[candidate.id]
                if candidate.id not in going:
                    going[candidate.id] = candidate
                    ahead.append(candidate)
    return Closure([*going.values()], [*tags])


async def find_left_behind(reader: Reader, repository: int, going: Closure) -> list[Stored]:
    """Return what belongs to manifests that are deleted and stays all the same, because it has a
    tag of its own or is in an index that stays.
    """
    gone = {stored.id for stored in going.manifests}
    left: dict[int, Stored] = {}
    for subject in going.manifests:
        belonging = await _list_referrers(reader, repository, subject.digest)
        companions = await _list_companions(reader, repository, subject.digest)
        for stored in (*belonging, *(companion for _, companion in companions)):
            if stored.id not in gone:
                left[stored.id] = stored
    return list(left.values())


async def _goes(
    reader: Reader, candidate: Stored, going: Iterable[int], tags: Iterable[Tag]
) -> bool:
    """Tell whether nothing keeps a manifest besides what goes."""
    if not set(await _list_tags(reader, candidate.id)) <= set(tags):
        return False
    return {parent.id for parent in await list_parents(reader, candidate.id)} <= set(going)


async def _list_tags(reader: Reader, manifest: int) -> list[Tag]:
    rows = await reader.fetch_all(_LIST_TAGS, {"manifest": manifest})
    return [Tag(row[0]) for row in rows]


async def _list_referrers(reader: Reader, repository: int, digest: Digest) -> list[Stored]:
    values = {"repository": repository, "digest": digest.packed}
    rows = await reader.fetch_all(_LIST_REFERRERS, values)
    return [Stored(row[0], Digest.unpack(row[1])) for row in rows]


async def _list_companions(
    reader: Reader, repository: int, subject: Digest
) -> list[tuple[Tag, Stored]]:
    names = {f"tag_{a}": tag for a, tag in zip("abcd", companion_tags(subject), strict=True)}
    rows = await reader.fetch_all(_LIST_COMPANIONS, names | {"repository": repository})
    return [(Tag(row[0]), Stored(row[1], Digest.unpack(row[2]))) for row in rows]
