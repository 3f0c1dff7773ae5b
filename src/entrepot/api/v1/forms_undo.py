"""What `/api/v1/trash` and the history of tags take and give."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct, field

from entrepot.api.v1.forms import Form, Many, Text, moment
from entrepot.core.decision import parse_namespace
from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError, RequestInvalidError, TagInvalidError
from entrepot.core.names import RepositoryName, Tag
from entrepot.core.undo import Move, Trashed
from entrepot.services.tag_history import RolledBack, Target
from entrepot.services.trash import Emptied, Restored, Selection

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Steps = Annotated[int, Meta(ge=1, le=1000)]


class TrashSelect(Form, frozen=True):
    """What of the trash: some ids, what one deletion (`operation`) threw away, or all of a
    repository or of a namespace and those below it (`/` is the root). Exactly one of them.
    """

    ids: Annotated[list[Id], Many] = field(default_factory=list)
    operation: Text = ""
    repository: Text = ""
    namespace: Text = ""

    def parsed(self) -> Selection:
        """Return what is selected. Raises RequestInvalidError."""
        if sum(map(bool, (self.ids, self.operation, self.repository, self.namespace))) != 1:
            reason = "say what: some ids, an operation, a repository or a namespace"
            raise RequestInvalidError({"in": "body", "reason": reason})
        return parse_selection(self.ids, self.operation, self.repository, self.namespace)


class TrashRestore(TrashSelect, frozen=True):
    """What comes back. With `force` tags that point at something else by now are moved back."""

    force: bool = False


class TrashView(Struct, frozen=True):
    """A tag in the trash, or, if it has no `tag`, a manifest; from `until` on it may go."""

    id: int
    repository: str
    tag: str
    digest: str
    operation: str
    deleted_at: datetime
    deleted_by: str | None
    until: datetime

    @classmethod
    def of(cls, row: Trashed) -> "TrashView":
        """Return what is shown of it."""
        return cls(
            id=row.id,
            repository=str(row.repository),
            tag=str(row.tag),
            digest=str(row.digest),
            operation=row.operation,
            deleted_at=moment(row.deleted_at),
            deleted_by=row.deleted_by,
            until=moment(row.expires_at),
        )


class RestoredView(Struct, frozen=True):
    """How much came back; the tags in `left` did not, because they are there again."""

    manifests: int
    tags: int
    left: list[str]

    @classmethod
    def of(cls, done: Restored) -> "RestoredView":
        """Return what is shown of it."""
        return cls(done.manifests, done.tags, list(done.left))


class EmptiedView(Struct, frozen=True):
    """How much went for good, and how much a hold keeps."""

    gone: int
    held: int

    @classmethod
    def of(cls, done: Emptied) -> "EmptiedView":
        """Return what is shown of it."""
        return cls(done.gone, done.held)


class MoveView(Struct, frozen=True):
    """A tag moved from `previous` to `digest`; null is nowhere."""

    id: int
    tag: str
    digest: str | None
    previous: str | None
    changed_at: datetime
    changed_by: str | None

    @classmethod
    def of(cls, move: Move) -> "MoveView":
        """Return what is shown of it."""
        return cls(
            id=move.id,
            tag=move.tag,
            digest=None if move.digest is None else str(move.digest),
            previous=None if move.previous is None else str(move.previous),
            changed_at=moment(move.changed_at),
            changed_by=move.changed_by,
        )


class Rollback(Form, frozen=True):
    """Where a tag shall point: to the digest `to`, to where it did `at` a time (RFC 3339), or to
    where it did before its last `steps` moves.
    """

    tag: Text
    to: Text = ""
    at: datetime | None = None
    steps: Steps | None = None

    def parsed(self) -> tuple[Tag, Target]:
        """Return the tag and where it shall point. Raises ProtocolError."""
        if sum((bool(self.to), self.at is not None, self.steps is not None)) > 1:
            reason = "say one of `to`, `at` and `steps`"
            raise RequestInvalidError({"in": "body", "reason": reason})
        if self.at is not None and self.at.tzinfo is None:
            raise RequestInvalidError({"at": "$.at", "reason": "a time with its zone is expected"})
        when = None if self.at is None else int(self.at.timestamp() * 1_000_000)
        try:
            digest = Digest.parse(self.to) if self.to else None
            return Tag.parse(self.tag), Target(digest, when, self.steps or 1)
        except (DigestInvalidError, TagInvalidError) as error:
            what = f"{self.to!r} is no digest" if self.to else f"{self.tag!r} is no tag"
            raise RequestInvalidError({"in": "body", "reason": what}) from error


class RolledBackView(Struct, frozen=True):
    """Where a tag points now, and did before; both are the same if nothing changed."""

    tag: str
    digest: str
    previous: str | None

    @classmethod
    def of(cls, tag: str, done: RolledBack) -> "RolledBackView":
        """Return what is shown of it."""
        return cls(tag, str(done.digest), None if done.previous is None else str(done.previous))


def parse_selection(ids: list[int], operation: str, repository: str, namespace: str) -> Selection:
    """Return what is selected in the trash. Raises NameInvalidError, AccessError."""
    name = str(RepositoryName.parse(repository)) if repository else ""
    return Selection(ids, operation, name, parse_namespace(namespace))
