"""What is taken over from storages of `registry:2`, how far that is, and what was broken."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.errors import UnavailableError
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.counting import Home, count, count_links, find_home
from entrepot.db.doomed import find_lately_deleted
from entrepot.db.engine import Reader, Transaction, required

_BEGIN = """
    INSERT INTO imports (source, in_place, verify, phase, position, started_at)
    VALUES (:source, :in_place, :verify, :phase, '', :now)
    ON CONFLICT (source) DO UPDATE SET in_place = excluded.in_place, verify = excluded.verify,
        phase = excluded.phase, position = '', started_at = excluded.started_at, finished_at = NULL,
        lease_owner = NULL, lease_expires_at = NULL
"""
_BEGIN_FIRST = """
    INSERT INTO imports (source, in_place, verify, phase, position, started_at)
    VALUES (:source, :in_place, :verify, :phase, '', :now)
    ON CONFLICT (source) DO NOTHING
"""
_FIND = "SELECT id FROM imports WHERE source = :source"
_COLUMNS = """
    SELECT id, source, in_place, verify, phase, position, started_at, finished_at,
           repositories, manifests, indexed,
           (SELECT count(*) FROM import_findings WHERE import_id = imports.id)
    FROM imports
"""
_FIND_UNFINISHED = _COLUMNS + "WHERE in_place AND finished_at IS NULL ORDER BY id LIMIT 1"
_FIND_IMPORT = _COLUMNS + "WHERE id = :import"
_FIND_LAST_TAKEOVER = "SELECT max(finished_at) FROM imports WHERE in_place"
_LIST = _COLUMNS + "ORDER BY id"
_IS_UNFINISHED = "SELECT 1 FROM imports WHERE id = :import AND finished_at IS NULL"
_IS_ANY_UNFINISHED = "SELECT 1 FROM imports WHERE finished_at IS NULL LIMIT 1"
_HAS_CONTENT = "SELECT 1 FROM repositories LIMIT 1"
_HAS_ANY = "SELECT 1 FROM imports LIMIT 1"
_CLAIM = """
    UPDATE imports SET lease_owner = :owner, lease_expires_at = :until
    WHERE id = :import AND finished_at IS NULL
      AND (lease_owner IS NULL OR lease_owner = :owner OR lease_expires_at < :now)
"""
_RELEASE = """
    UPDATE imports SET lease_owner = NULL, lease_expires_at = NULL
    WHERE id = :import AND lease_owner = :owner
"""
_SET_PHASE = "UPDATE imports SET phase = :phase, position = :position WHERE id = :import"
_FINISH = """
    UPDATE imports SET phase = :phase, finished_at = :now, lease_owner = NULL,
           lease_expires_at = NULL, repositories = :repositories, manifests = :manifests,
           indexed = :indexed
    WHERE id = :import
"""
_ADD_REPOSITORY = """
    INSERT INTO import_repositories (import_id, name, manifests, seen, indexed, done)
    VALUES (:import, :name, :manifests, 0, 0, :done)
    ON CONFLICT (import_id, name) DO UPDATE SET manifests = excluded.manifests
"""
_NEXT_REPOSITORY = """
    SELECT name FROM import_repositories
    WHERE import_id = :import AND name > :last AND NOT done ORDER BY name LIMIT 1
"""
_LIST_WAITING = """
    SELECT name FROM import_repositories
    WHERE import_id = :import AND name > :last AND NOT done AND manifests > 0
    ORDER BY name LIMIT :limit
"""
_NOTE_PROGRESS = """
    UPDATE import_repositories SET seen = :seen, indexed = :indexed, done = :done
    WHERE import_id = :import AND name = :name
"""
_COUNT = """
    SELECT count(*), CAST(coalesce(sum(CASE WHEN done THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(coalesce(sum(manifests), 0) AS BIGINT), CAST(coalesce(sum(seen), 0) AS BIGINT),
        CAST(coalesce(sum(indexed), 0) AS BIGINT)
    FROM import_repositories WHERE import_id = :import
"""
_FORGET_REPOSITORIES = "DELETE FROM import_repositories WHERE import_id = :import"
_ADD_FINDING = """
    INSERT INTO import_findings (import_id, place, kind, reason)
    VALUES (:import, :place, :kind, :reason)
    ON CONFLICT (import_id, place) DO UPDATE SET kind = excluded.kind, reason = excluded.reason
"""
_LIST_FINDINGS = """
    SELECT place, kind, reason FROM import_findings
    WHERE import_id = :import AND place > :last ORDER BY place LIMIT :limit
"""
_LIST_DAMAGED = """
    SELECT place FROM import_findings WHERE import_id = :import AND place LIKE 'sha%:%'
"""
_FIND_FINDING = "SELECT 1 FROM import_findings WHERE place = :place LIMIT 1"
_FORGET_FINDINGS = "DELETE FROM import_findings WHERE import_id = :import"
_REMEMBER_DELETION = """
    INSERT INTO import_deletions (repository_id, digest) VALUES (:repository, :digest)
    ON CONFLICT (repository_id, digest) DO NOTHING
"""
_LIST_DELETIONS = "SELECT digest FROM import_deletions WHERE repository_id = :repository"
_FORGET_DELETIONS = "DELETE FROM import_deletions"
_ADD_BLOB = """
    INSERT INTO blobs (digest, size, synced, created_at) VALUES (:digest, :size, :synced, :now)
    ON CONFLICT (digest) DO NOTHING
"""
_LINK_BLOB = """
    INSERT INTO repository_blobs (repository_id, digest, linked_at)
    VALUES (:repository, :digest, :now)
    ON CONFLICT (repository_id, digest) DO NOTHING
"""
_KNOWS_TAG = """
    SELECT 1 FROM tag_history WHERE repository_id = :repository AND name = :tag LIMIT 1
"""
_LIST_KNOWN_TAGS = """
    SELECT DISTINCT tag_history.name FROM repositories
    JOIN tag_history ON tag_history.repository_id = repositories.id
    WHERE repositories.name = :name
"""
_ADD_TAG = """
    INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at)
    VALUES (:repository, :tag, :manifest, :created, :updated)
    ON CONFLICT (repository_id, name) DO NOTHING
"""
_ADD_MOVE = """
    INSERT INTO tag_history (repository_id, name, digest, previous, changed_at)
    VALUES (:repository, :tag, :digest, :previous, :changed)
"""

LISTING, VERIFYING, INDEXING, DONE = "listing", "verifying", "indexing", "done"
"""The phases of an import, in their order."""


class Finding(NamedTuple):
    """Something that could not be taken over as it was: where, of which kind, and why."""

    place: str
    kind: str
    reason: str


class Import(NamedTuple):
    """One import. Times are in microseconds since 1970; the numbers are those of the end."""

    id: int
    source: str
    in_place: bool
    verify: bool
    phase: str
    position: str
    started_at: int
    finished_at: int | None
    repositories: int
    manifests: int
    indexed: int
    findings: int


class Progress(NamedTuple):
    """How far an import is: repositories, those done; manifests, those looked at and taken."""

    repositories: int
    done: int
    manifests: int
    seen: int
    indexed: int


# Imports ----------------------------------------------------------------------------------------


async def begin_import(
    transaction: Transaction, source: str, *, in_place: bool, verify: bool, now: int
) -> int:
    """Begin an import, or one that was made before anew; return its id."""
    values = {"source": source, "in_place": in_place, "verify": verify, "phase": LISTING}
    await transaction.execute(_BEGIN, values | {"now": now})
    number = int(required(await transaction.fetch_one(_FIND, {"source": source}))[0])
    await transaction.execute(_FORGET_REPOSITORIES, {"import": number})
    await transaction.execute(_FORGET_FINDINGS, {"import": number})
    return number


async def begin_takeover(transaction: Transaction, source: str, *, now: int) -> bool:
    """Begin to import the registry's own storage, if the index is empty and nothing was ever
    imported; return whether it begins here, and not at another node that starts as well.
    """
    if await transaction.fetch_one(_HAS_ANY, {}) or await transaction.fetch_one(_HAS_CONTENT, {}):
        return False
    values = {"source": source, "in_place": True, "verify": False, "phase": LISTING, "now": now}
    return await transaction.execute(_BEGIN_FIRST, values) == 1


async def find_import(reader: Reader, number: int) -> Import | None:
    """Return an import by its id."""
    row = await reader.fetch_one(_FIND_IMPORT, {"import": number})
    return Import(*row) if row else None


async def find_takeover(reader: Reader) -> Import | None:
    """Return the import of the registry's own storage that is not finished, or None."""
    row = await reader.fetch_one(_FIND_UNFINISHED, {})
    return Import(*row) if row else None


async def find_last_takeover(reader: Reader) -> int | None:
    """Return when the registry's own storage was last taken over, or None."""
    row = await reader.fetch_one(_FIND_LAST_TAKEOVER, {})
    return row[0] if row else None


async def list_imports(reader: Reader) -> list[Import]:
    """Return all imports, in the order in which they were first made."""
    return [Import(*row) for row in await reader.fetch_all(_LIST, {})]


async def is_unfinished(reader: Reader, number: int) -> bool:
    """Return whether an import is still under way."""
    return await reader.fetch_one(_IS_UNFINISHED, {"import": number}) is not None


async def claim_import(
    transaction: Transaction, number: int, *, owner: str, now: int, until: int
) -> bool:
    """Make `owner` the only one who works at an unfinished import until a time; return whether
    nobody else is. Who has it renews it so.
    """
    values = {"import": number, "owner": owner, "now": now, "until": until}
    return await transaction.execute(_CLAIM, values) == 1


async def release_import(transaction: Transaction, number: int, *, owner: str) -> None:
    """Let somebody else go on with an import."""
    await transaction.execute(_RELEASE, {"import": number, "owner": owner})


async def set_import_phase(
    transaction: Transaction, number: int, phase: str, *, position: str = ""
) -> None:
    """Record in which phase an import is, and how far in it."""
    values = {"import": number, "phase": phase, "position": position}
    await transaction.execute(_SET_PHASE, values)


async def finish_import(transaction: Transaction, number: int, *, now: int) -> None:
    """Record that an import is at its end, with its sums; what it needed itself is removed."""
    progress = await count_progress(transaction, number)
    values = {
        "import": number,
        "phase": DONE,
        "now": now,
        "repositories": progress.repositories,
        "manifests": progress.manifests,
        "indexed": progress.indexed,
    }
    await transaction.execute(_FINISH, values)
    await transaction.execute(_FORGET_REPOSITORIES, {"import": number})
    if await transaction.fetch_one(_IS_ANY_UNFINISHED, {}) is None:
        await transaction.execute(_FORGET_DELETIONS, {})


# Progress ---------------------------------------------------------------------------------------


async def add_import_repositories(
    transaction: Transaction, number: int, counted: Iterable[tuple[str, int]]
) -> None:
    """Note repositories that are to be taken over, with how many manifests each seems to have."""
    values = (
        {"import": number, "name": name, "manifests": manifests, "done": False}
        for name, manifests in counted
    )
    await transaction.execute_many(_ADD_REPOSITORY, values)


async def find_next_repository(reader: Reader, number: int, *, last: str) -> str | None:
    """Return the first repository after `last` that is not done, or None."""
    row = await reader.fetch_one(_NEXT_REPOSITORY, {"import": number, "last": last})
    return row[0] if row else None


async def list_waiting_repositories(
    reader: Reader, number: int, *, last: str, limit: int
) -> list[str]:
    """Return at most `limit` repositories with manifests after `last` that are not done."""
    values = {"import": number, "last": last, "limit": limit}
    return [row[0] for row in await reader.fetch_all(_LIST_WAITING, values)]


async def note_progress(
    transaction: Transaction, number: int, name: str, *, seen: int, indexed: int, done: bool
) -> None:
    """Record how many manifests of a repository were looked at and taken, and if it is done."""
    values = {"import": number, "name": name, "seen": seen, "indexed": indexed, "done": done}
    await transaction.execute(_NOTE_PROGRESS, values)


async def count_progress(reader: Reader, number: int) -> Progress:
    """Return how far an import that is under way has come."""
    row = required(await reader.fetch_one(_COUNT, {"import": number}))
    return Progress(*(int(value) for value in row))


# Findings ---------------------------------------------------------------------------------------


async def add_findings(transaction: Transaction, number: int, findings: Iterable[Finding]) -> None:
    """Record what is broken; what was found at the same place before is replaced."""
    values = (
        {"import": number, "place": _text(place), "kind": kind, "reason": _text(reason)}
        for place, kind, reason in findings
    )
    await transaction.execute_many(_ADD_FINDING, values)


def _text(name: str) -> str:
    """Escape what is no text in the name of a file, so that any database takes it."""
    return name.encode("utf-8", "backslashreplace").decode()


async def list_findings(
    reader: Reader, number: int, *, last: str = "", limit: int
) -> list[Finding]:
    """Return at most `limit` findings whose places come after `last`."""
    values = {"import": number, "last": last, "limit": limit}
    return [Finding(*row) for row in await reader.fetch_all(_LIST_FINDINGS, values)]


async def list_damaged_blobs(reader: Reader, number: int) -> set[Digest]:
    """Return the blobs whose bytes were found to have another digest."""
    rows = await reader.fetch_all(_LIST_DAMAGED, {"import": number})
    return {Digest.parse(row[0]) for row in rows}


async def has_finding(reader: Reader, place: str) -> bool:
    """Return whether something was found to be broken there."""
    return await reader.fetch_one(_FIND_FINDING, {"place": place}) is not None


# What is taken over -----------------------------------------------------------------------------


async def remember_deletions(
    transaction: Transaction, repository: int, digests: Iterable[Digest]
) -> None:
    """Note that manifests, or blobs' links, were deleted, so that no import brings them back;
    nothing happens while none is under way.
    """
    if await transaction.fetch_one(_IS_ANY_UNFINISHED, {}) is not None:
        values = ({"repository": repository, "digest": digest.packed} for digest in digests)
        await transaction.execute_many(_REMEMBER_DELETION, values)


async def list_deletions(reader: Reader, repository: int) -> set[Digest]:
    """Return the manifests and blobs' links that were deleted since an import began."""
    rows = await reader.fetch_all(_LIST_DELETIONS, {"repository": repository})
    return {Digest.unpack(row[0]) for row in rows}


async def adopt_blobs(
    transaction: Transaction,
    home: Home,
    blobs: Iterable[tuple[Digest, int]],
    *,
    now: int,
    deleted_since: int,
) -> None:
    """Record blobs, by digest and size, that lay durable in the store before the registry came,
    and link them to the repository. What is known stays as it is. Their sizes were asked for after
    `deleted_since`.

    Raises:
        UnavailableError: the collector deletes one of them, or did since then.
    """
    sizes = dict(blobs)
    leaving = await find_lately_deleted(transaction, sizes, since=deleted_since)
    if leaving is not None:
        reason = "this blob is being removed because nothing needed it; ask again in a moment"
        raise UnavailableError({"digest": leaving, "reason": reason}, retry_after=1)
    values = [
        {"digest": digest.packed, "size": size, "synced": True, "now": now}
        for digest, size in sizes.items()
    ]
    await transaction.execute_many(_ADD_BLOB, values)
    links = [{"repository": home.id, "digest": v["digest"], "now": now} for v in values]
    await transaction.execute_many(_LINK_BLOB, links)
    await count_links(transaction, home.counted, list(sizes))


async def knows_tag(reader: Reader, repository: int, tag: Tag) -> bool:
    """Return whether the index has the tag, or had it and it was deleted."""
    values = {"repository": repository, "tag": tag}
    return await reader.fetch_one(_KNOWS_TAG, values) is not None


async def adopt_tag(
    transaction: Transaction,
    repository: int,
    tag: Tag,
    *,
    manifest: int,
    moves: Sequence[tuple[Digest, int]],
) -> None:
    """Record a tag that the index never knew, with its past (oldest first)."""
    values = {"repository": repository, "tag": tag}
    times = {"manifest": manifest, "created": moves[0][1], "updated": moves[-1][1]}
    if await transaction.execute(_ADD_TAG, values | times) != 1:
        return
    home = await find_home(transaction, repository)
    await count(transaction, home.counted, {"tags": 1})
    previous: bytes | None = None
    for digest, changed in moves:
        move = {"digest": digest.packed, "previous": previous, "changed": changed}
        await transaction.execute(_ADD_MOVE, values | move)
        previous = digest.packed


async def list_unknown_tags(reader: Reader, name: RepositoryName, tags: Iterable[str]) -> list[str]:
    """Return those of `tags` that the index neither has nor had."""
    known = {row[0] for row in await reader.fetch_all(_LIST_KNOWN_TAGS, {"name": name})}
    return [tag for tag in tags if tag not in known]
