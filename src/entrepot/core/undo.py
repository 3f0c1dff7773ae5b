"""Undoing deletions and moves of tags: where a tag pointed, and what can be wrong with that."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError
from entrepot.core.names import RepositoryName, Tag


class UndoError(EntrepotError):
    """What was deleted or moved can't be brought back as it was asked for; the text says why."""


class UndoConflictError(UndoError):
    """What there is stands against it: a tag was set again, something is held or protected."""


class UndoUnknownError(UndoError):
    """There is no such thing in the trash or the history."""


class Move(Struct, frozen=True):
    """A tag moved: from a manifest, or nowhere, to another one, or nowhere."""

    id: int
    tag: str
    digest: Digest | None
    previous: Digest | None
    changed_at: int
    changed_by: str | None


class Trashed(NamedTuple):
    """A tag or a manifest in the trash. A tag has no media type and no payload."""

    id: int
    repository_id: int
    repository: RepositoryName
    kind: str
    tag: Tag
    digest: Digest
    media_type: str
    created_at: int
    created_by: str | None
    deleted_at: int
    deleted_by: str | None
    operation: str
    expires_at: int
    subject: Digest | None
    payload: bytes | None


def find_target(moves: Sequence[Move], *, steps: int) -> Digest:
    """Return where a tag pointed before its last `steps` moves, which come last first.

    Raises:
        UndoError: that is not remembered, or it pointed nowhere.
    """
    if len(moves) < steps:
        raise UndoError(f"only {len(moves)} moves of the tag are remembered")
    target = moves[steps - 1].previous
    if target is None:
        raise UndoError("there was no such tag then")
    return target


def find_between(before: Move | None, after: Move | None) -> Digest:
    """Return where a tag pointed between two moves, of which one may not be known.

    Raises:
        UndoError: nowhere, or that is not remembered.
    """
    if before is not None and before.digest is not None:
        return before.digest
    if before is None and after is not None and after.previous is not None:
        return after.previous
    raise UndoError("there was no such tag then, as far as is remembered")
