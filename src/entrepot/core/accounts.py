"""Accounts of people and robots: what they are, and which names they may have."""

import re
from typing import Final

from msgspec import Struct

from entrepot.core.access import Identity, Scope
from entrepot.core.errors import EntrepotError

ROBOT_PREFIX: Final = "robot$"

LOCAL: Final = "local"
ROBOT: Final = "robot"
PERSONAL_TOKEN: Final = "personal-token"  # noqa: S105 - a word, no secret
"""Words of `Identity.method` for those whom the index knows."""

SECRET: Final = "secret"  # noqa: S105
"""What `Identity.credential` begins with for a secret; a colon and its id follow."""

_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
_ROBOT: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_ROBOT_LENGTH: Final = 64


class AccountError(EntrepotError):
    """An account can't be made or changed as asked; the text says why, and what to do."""


class AccountConflictError(AccountError):
    """What there is stands against it: the name is taken, or no administrator would be left."""


class AccountUnknownError(AccountError):
    """There is no such account or credential."""


class User(Struct, frozen=True):
    """A person. Times are microseconds since 1970."""

    id: int
    name: str
    password: str | None
    """Its hash, or None for somebody who is known by another way than a password of ours."""
    administrator: bool
    disabled: bool
    description: str
    created_at: int
    password_changed_at: int
    groups: tuple[str, ...] = ()

    def identity(self, method: str) -> Identity:
        """Return who this is to the rest of the registry, known by `method`."""
        return Identity(self.name, method, groups=self.groups, administrator=self.administrator)


class Robot(Struct, frozen=True):
    """A program's account, in a namespace. Times are microseconds since 1970."""

    id: int
    name: str
    """Its whole name, such as `robot$team-a+ci`."""
    namespace: str
    description: str
    scopes: tuple[Scope, ...] | None
    created_at: int
    created_by: str
    expires_at: int | None


class Credential(Struct, frozen=True):
    """A secret that a robot or a person logs in with, without the secret."""

    id: int
    owner: str
    """The name of the robot or the person."""
    kind: str
    """`robot` or `user`."""
    name: str
    scopes: tuple[Scope, ...] | None
    created_at: int
    expires_at: int | None
    used_at: int | None
    """When it was last used, some minutes late."""


class Holder(Struct, frozen=True):
    """A credential and whoever it stands for, as both are in the index."""

    credential: Credential
    disabled: bool
    administrator: bool
    groups: tuple[str, ...]

    def identity(self) -> Identity:
        """Return who this is to the rest of the registry."""
        return Identity(
            self.credential.owner,
            ROBOT if self.credential.kind == "robot" else PERSONAL_TOKEN,
            kind="robot" if self.credential.kind == "robot" else "user",
            groups=self.groups,
            administrator=self.administrator,
            credential=f"{SECRET}:{self.credential.id}",
            scopes=self.credential.scopes,
        )

    def is_good(self, now: int) -> bool:
        """Tell whether it lets anybody in at `now`."""
        ends = self.credential.expires_at
        return not self.disabled and (ends is None or now < ends)


class BrowserSession(Struct, frozen=True):
    """A session without what its browser knows it by. Times are microseconds since 1970."""

    id: int
    user: str
    holder: str
    """An `Identity` as JSON, as it was at the login."""
    provider: str
    """Who said that it is them; empty for a name and password."""
    address: str
    created_at: int
    seen_at: int
    """When it was last used, half a minute late."""
    expires_at: int


def check_user_name(name: str) -> str:
    """Return `name` if a person may be called so, or raise AccountError."""
    if not _USER.fullmatch(name):
        raise AccountError(
            f"{name!r} can't be a user's name: it begins with a letter or digit and goes on with "
            "letters, digits and . _ @ -, 128 characters at most"
        )
    return name


def check_group_name(name: str) -> str:
    """Return `name` if a group may be called so, or raise AccountError."""
    if not _GROUP.fullmatch(name):
        raise AccountError(
            f"{name!r} can't be a group's name: it begins with a letter or digit and goes on with "
            "letters, digits and . _ / -, 255 characters at most"
        )
    return name


def robot_name(namespace: str, name: str) -> str:
    """Return the whole name of the robot `name` in `namespace` (empty: the root), or raise
    AccountError.
    """
    if not _ROBOT.fullmatch(name) or len(name) > _ROBOT_LENGTH:
        raise AccountError(
            f"{name!r} can't be a robot's name: it has lower-case letters and digits with single "
            f". _ - between them, {_ROBOT_LENGTH} characters at most"
        )
    return f"{ROBOT_PREFIX}{namespace}+{name}" if namespace else f"{ROBOT_PREFIX}{name}"
