"""What `/api/v1/protections` and `/api/v1/holds` take and give."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from entrepot.api.v1.forms import Form, Name, Seconds, Text, ending, moment
from entrepot.core.protections import Hold, Protection

Patterned = Annotated[str, Meta(min_length=1, max_length=512)]


class ProtectionMake(Form, frozen=True):
    """Tags that can't be moved or deleted, by pattern, in the repositories of a namespace and those
    below it (`/` is the root), of which `repositories` is a pattern as seen from there. As an
    `exception` they can, though another rule says that they can't.
    """

    tags: Patterned
    namespace: Text = "/"
    repositories: Patterned = "**"
    exception: bool = False


class ProtectionView(Struct, frozen=True):
    """A rule that protects tags, or excepts some."""

    id: int
    namespace: str
    repositories: str
    tags: str
    exception: bool
    created_at: datetime
    created_by: str | None

    @classmethod
    def of(cls, rule: Protection) -> "ProtectionView":
        """Return what is shown of a rule."""
        return cls(
            id=rule.id,
            namespace=rule.namespace or "/",
            repositories=str(rule.repositories),
            tags=str(rule.tags),
            exception=rule.exception,
            created_at=moment(rule.created_at),
            created_by=rule.created_by,
        )


class HoldMake(Form, frozen=True):
    """What is to be kept: a repository, or the image that a `reference` (a tag or a digest) means
    now; why, for whom (`owner`, without one the caller), and for how long, if not for good.
    """

    repository: Name
    reason: Annotated[Text, Meta(min_length=1)]
    reference: Text = ""
    owner: Text = ""
    expires_in: Seconds | None = None


class HoldView(Struct, frozen=True):
    """A hold on a repository, or, with a digest, on an image and what belongs to it."""

    id: int
    repository: str
    digest: str | None
    reason: str
    owner: str
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None

    @classmethod
    def of(cls, hold: Hold) -> "HoldView":
        """Return what is shown of a hold."""
        return cls(
            id=hold.id,
            repository=hold.repository,
            digest=None if hold.digest is None else str(hold.digest),
            reason=hold.reason,
            owner=hold.owner,
            created_at=moment(hold.created_at),
            created_by=hold.created_by,
            expires_at=ending(hold.expires_at),
        )
