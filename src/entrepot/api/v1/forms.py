"""What `/api/v1` takes and gives, as JSON. Fields that it doesn't know are refused.

Times are in UTC, to the second. Scopes are written `PATTERN:ACTION,ACTION`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from entrepot.core.access import Action, Scope
from entrepot.core.accounts import AccountError, Credential, Robot, User
from entrepot.core.decision import Effect, Grant, SubjectKind, Visibility
from entrepot.core.guarding import Failures
from entrepot.core.patterns import PatternInvalidError, parse_pattern
from entrepot.core.pulls import TagUse
from entrepot.services.namespaces import Known

T = TypeVar("T")

_NO_CONTROLS = r"^[^\u0000-\u001f\u007f]*$"
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=_NO_CONTROLS)]
Text = Annotated[str, Meta(max_length=1024, pattern=_NO_CONTROLS)]
Password = Annotated[str, Meta(min_length=1, max_length=1024)]
Seconds = Annotated[float, Meta(gt=0, le=3_155_760_000)]
"""A hundred years at most."""
Overlap = Annotated[float, Meta(ge=0, le=3_155_760_000)]
Many = Meta(max_length=100)
Limit = Annotated[int, Meta(ge=1, le=1000, description="How many entries a page has at most.")]
After = Annotated[
    str, Meta(max_length=512, description="Go on after the entry that `next` of a page names.")
]
PAGE = 100
"""Entries of a page for which no limit is given."""


class Form(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that is sent."""


class Page(Struct, Generic[T], frozen=True):
    """Some entries, and where the next ones are; null if there are none."""

    items: list[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """Something that is given in pieces, as it is made; `kind` is its media type."""

    LINES: ClassVar = "application/x-ndjson"
    CSV: ClassVar = "text/csv; charset=utf-8"

    kind: str
    pieces: AsyncIterator[bytes]


# Namespaces -------------------------------------------------------------------------------------


class NamespaceMake(Form, frozen=True):
    """A namespace to be made."""

    name: Name
    visibility: Visibility | None = None
    """Without one it is as in the namespace above."""
    description: Text = ""


class NamespaceChange(Form, frozen=True):
    """What changes of a namespace; what isn't given stays."""

    visibility: Visibility | UnsetType | None = UNSET
    description: Text | UnsetType = UNSET


class NamespaceView(Struct, frozen=True):
    """A namespace; `/` is the root. `visibility_from` is the one whose visibility it has."""

    name: str
    visibility: Visibility
    visibility_from: str
    description: str
    created_at: datetime

    @classmethod
    def of(cls, known: Known) -> "NamespaceView":
        """Return what is shown of a namespace."""
        namespace = known.namespace
        return cls(
            name=namespace.name or "/",
            visibility=known.visibility,
            visibility_from=known.visibility_from or "/",
            description=namespace.description,
            created_at=moment(namespace.created_at),
        )


class NamespaceDetail(NamespaceView, frozen=True):
    """A namespace with the number of repositories that you may see in it, and in none below it."""

    repositories: int


class NamespaceGone(Struct, frozen=True):
    """A namespace was deleted; what was in it is in `moved_to`."""

    name: str
    moved_to: str


class TagView(Struct, frozen=True):
    """A tag, and the use that is made of it.

    `pulls` counts GET by the tag and by the digest; `pulled_at` is the last request for it, HEAD as
    well. Both are written once a minute. `size` are the bytes of all that it needs.
    """

    name: str
    digest: str
    media_type: str
    pushed_at: datetime
    pulled_at: datetime | None
    pulls: int
    size: int

    @classmethod
    def of(cls, use: TagUse) -> "TagView":
        """Return what is shown of a tag."""
        return cls(
            name=use.tag,
            digest=str(use.digest),
            media_type=use.media_type,
            pushed_at=moment(use.pushed_at),
            pulled_at=ending(use.pulled_at),
            pulls=use.pulls,
            size=use.size,
        )


# Grants, roles ----------------------------------------------------------------------------------


class Subject(Form, frozen=True):
    """Somebody who gets a role."""

    kind: SubjectKind
    name: Name


class GrantMake(Form, frozen=True):
    """Roles for somebody in a namespace, one grant for each subject and role.

    Without subjects they go to the group that is called like the namespace.
    """

    namespace: Annotated[str, Meta(max_length=255, pattern=_NO_CONTROLS)]
    roles: Annotated[list[Name], Meta(min_length=1, max_length=100)]
    subjects: Annotated[list[Subject], Many] = []
    effect: Effect = "allow"
    repositories: Name = "**"
    tags: Name = "*"
    expires_in: Seconds | None = None


class GrantView(Struct, frozen=True):
    """A grant; `text` says in plain words what it does."""

    id: int
    namespace: str
    kind: SubjectKind
    subject: str
    role: str
    effect: Effect
    repositories: str
    tags: str
    created_at: datetime
    expires_at: datetime | None
    text: str

    @classmethod
    def of(cls, grant: Grant) -> "GrantView":
        """Return what is shown of a grant."""
        return cls(
            id=grant.id,
            namespace=grant.namespace or "/",
            kind=grant.subject_kind,
            subject=grant.subject,
            role=grant.role,
            effect=grant.effect,
            repositories=str(grant.repositories),
            tags=str(grant.tags),
            created_at=moment(grant.created_at),
            expires_at=ending(grant.expires_at),
            text=str(grant),
        )


class RoleView(Struct, frozen=True):
    """A role with its actions."""

    name: str
    actions: list[str]

    @classmethod
    def of(cls, name: str, actions: frozenset[Action]) -> "RoleView":
        """Return what is shown of a role."""
        return cls(name, sorted(action.value for action in actions))


class RoleMake(Form, frozen=True):
    """A custom role to be made."""

    name: Name
    actions: Annotated[list[Name], Meta(min_length=1, max_length=100)]


class Verdict(Struct, frozen=True):
    """Whether somebody may do something, why, and the grants of theirs that were looked at.

    `decided_by` is the id of the grant that decided, if one did.
    """

    allowed: bool
    who: str
    groups: list[str]
    action: str
    on: str
    reason: str
    decided_by: int | None
    grants: list[GrantView]


class Caller(Struct, frozen=True):
    """Who is asking."""

    name: str
    kind: Literal["anonymous", "user", "robot"]
    method: str
    groups: list[str]
    administrator: bool
    scopes: list[str] | None
    """What the credential is limited to; null is no limit."""


# Accounts ---------------------------------------------------------------------------------------


class UserMake(Form, frozen=True):
    """A user to be made; without a password for somebody whom another source knows."""

    name: Name
    password: Password | None = None
    administrator: bool = False
    groups: Annotated[list[Name], Many] = []
    description: Text = ""


class UserChange(Form, frozen=True):
    """What changes of a user; what isn't given stays."""

    administrator: bool | None = None
    disabled: bool | None = None
    description: Text | None = None
    join: Annotated[list[Name], Many] = []
    leave: Annotated[list[Name], Many] = []


class PasswordMake(Form, frozen=True):
    """Another password; null takes it away."""

    password: Password | None


class UserView(Struct, frozen=True):
    """A user; `password` says whether there is one."""

    name: str
    administrator: bool
    disabled: bool
    groups: list[str]
    password: bool
    description: str
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> "UserView":
        """Return what is shown of a user."""
        return cls(
            name=user.name,
            administrator=user.administrator,
            disabled=user.disabled,
            groups=list(user.groups),
            password=user.password is not None,
            description=user.description,
            created_at=moment(user.created_at),
        )


class RobotMake(Form, frozen=True):
    """A robot to be made in a namespace; `/` is the root."""

    name: Name
    namespace: Annotated[str, Meta(max_length=255, pattern=_NO_CONTROLS)] = "/"
    description: Text = ""
    scopes: Annotated[list[Text], Many] = []
    expires_in: Seconds | None = None


class RobotView(Struct, frozen=True):
    """A robot."""

    name: str
    namespace: str
    description: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, robot: Robot) -> "RobotView":
        """Return what is shown of a robot."""
        return cls(
            name=robot.name,
            namespace=robot.namespace,
            description=robot.description,
            scopes=shown_scopes(robot.scopes),
            created_by=robot.created_by,
            created_at=moment(robot.created_at),
            expires_at=ending(robot.expires_at),
        )


class SecretView(Struct, frozen=True):
    """A secret of a robot, without the secret."""

    id: int
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None

    @classmethod
    def of(cls, secret: Credential) -> "SecretView":
        """Return what is shown of a secret."""
        return cls(
            secret.id, moment(secret.created_at), ending(secret.expires_at), ending(secret.used_at)
        )


class RobotDetail(RobotView, frozen=True):
    """A robot with its secrets: not what they are, but until when, and their last use."""

    secrets: list[SecretView]


class RobotMade(RobotView, frozen=True):
    """A new robot; the secret is shown this once."""

    secret: str


class RobotRotated(Struct, frozen=True):
    """A robot's new secret, which is shown this once."""

    name: str
    secret: str


class Rotate(Form, frozen=True):
    """For how many seconds the old secret goes on; null is as configured."""

    overlap: Overlap | None = None


class TokenMake(Form, frozen=True):
    """A personal access token to be made."""

    name: Text = ""
    scopes: Annotated[list[Text], Many] = []
    expires_in: Seconds | None = None


class TokenView(Struct, frozen=True):
    """A personal access token, without the secret."""

    id: int
    user: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None

    @classmethod
    def of(cls, token: Credential) -> "TokenView":
        """Return what is shown of a token."""
        return cls(
            id=token.id,
            user=token.owner,
            name=token.name,
            scopes=shown_scopes(token.scopes),
            created_at=moment(token.created_at),
            expires_at=ending(token.expires_at),
            used_at=ending(token.used_at),
        )


class TokenMade(TokenView, frozen=True):
    """A new token; the secret is shown this once."""

    secret: str


class LockView(Struct, frozen=True):
    """Failed logins of an account or from an address; null: no longer locked."""

    kind: Literal["account", "address"]
    subject: str
    failures: int
    failed_at: datetime
    locked_until: datetime | None

    @classmethod
    def of(cls, failures: Failures, *, now: int) -> "LockView":
        """Return what is shown of failed logins."""
        locked = failures.seconds_left(now) > 0
        return cls(
            kind=failures.kind,
            subject=failures.subject,
            failures=failures.count,
            failed_at=moment(failures.failed_at),
            locked_until=moment(failures.locked_until) if locked else None,
        )


class Lifted(Struct, frozen=True):
    """Of how many accounts and addresses the failed logins are forgotten."""

    lifted: int


# Times and scopes -------------------------------------------------------------------------------


def moment(microseconds: int) -> datetime:
    """Return a time of the index, to the second."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC)


def ending(microseconds: int | None) -> datetime | None:
    """Return a time of the index, or None for none."""
    return None if microseconds is None else moment(microseconds)


def parse_scopes(texts: Sequence[str]) -> tuple[Scope, ...] | None:
    """Return the scopes that `texts` name, None for no limit, or raise AccountError."""
    known = {action.value: action for action in Action if action is not Action.PROBE}
    found = []
    for text in texts:
        pattern, _, words = text.rpartition(":")
        actions = [word.strip() for word in words.split(",")]
        if not pattern or any(word not in known for word in actions):
            raise AccountError(
                f"{text!r} is no scope: write PATTERN:ACTIONS such as 'team-a/**:pull,push'; "
                f"actions are {', '.join(sorted(known))}"
            )
        try:
            parse_pattern(pattern)
        except PatternInvalidError as error:
            raise AccountError(f"{text!r} is no scope: {error}") from error
        found.append(Scope(pattern, frozenset(known[word] for word in actions)))
    return tuple(found) or None


def shown_scopes(given: Sequence[Scope] | None) -> list[str]:
    """Return scopes as they are written."""
    return [
        f"{scope.repositories}:{','.join(sorted(action.value for action in scope.actions))}"
        for scope in given or ()
    ]
