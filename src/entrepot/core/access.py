"""Who asks, and what for. Every route names one action; without one there is no route."""

from enum import Enum
from typing import Literal

from msgspec import Struct


class Action(Enum):
    """What the caller must be allowed to do, in `registry:2`'s words where it has one."""

    PROBE = "probe"
    """Ask whether the server lives; nothing of the registry shows."""

    LOGIN = "login"
    """Ask for a token, or for the keys that tokens are verified by: whoever asks is told apart
    by the handler."""

    CONNECT = "connect"
    """Use the registry at all."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"

    LIST = "catalog"
    """See that a repository exists, in the catalog and in searches."""

    TAG = "tag"
    """Move, protect and restore tags."""

    RETENTION = "retention"
    """Say what is kept, and for how long."""

    ROBOTS = "robots"
    """Make and end robots, and renew their secrets."""

    MEMBERS = "members"
    """Grant roles and take them back."""

    SETTINGS = "settings"
    """Change a namespace: visibility, description, namespaces below it."""

    OBSERVE = "metrics"

    AUDIT = "audit"
    """Read what was done, and by whom."""

    ADMINISTER = "administer"
    """Everything about accounts and the registry as a whole."""

    __hash__ = object.__hash__
    """There is one object of each, and Enum's own hash is a call in Python for every decision."""


class Origin(Struct, frozen=True):
    """Where a request comes from, as far as that can be trusted."""

    address: str = ""
    """The client's IP address; empty if it has none, as on a Unix socket."""
    certificate: str = ""
    """The client's certificate in PEM, which the server or a trusted proxy has verified."""


class Scope(Struct, frozen=True, cache_hash=True):
    """Actions that a credential may be used for, in the repositories that a pattern names."""

    repositories: str
    """A pattern (`entrepot.core.patterns`) for whole names; empty is the registry itself."""
    actions: frozenset[Action]


class Identity(Struct, frozen=True, cache_hash=True):
    """Somebody who may be named in logs, and to whom rights are given."""

    name: str
    """Empty for somebody unknown; never holds control characters."""
    method: str
    """How we know: `anonymous`, `htpasswd`, `local`, `token`, `ldap`, `oidc`, ..."""
    kind: Literal["anonymous", "user", "robot"] = "user"
    groups: tuple[str, ...] = ()
    administrator: bool = False
    """May do everything, everywhere."""
    credential: str = ""
    """The id of the credential, for the audit log; never the credential."""
    scopes: tuple[Scope, ...] | None = None
    """What the credential is limited to, whatever the identity may do; None is no limit."""
