"""Who asks, and what for. Every route names one action; without one there is no route."""

from enum import Enum
from typing import Literal

from msgspec import Struct


class Action(Enum):
    """What the caller must be allowed to do, in `registry:2`'s words where it has one."""

    PROBE = "probe"
    """Ask whether the server lives; nothing of the registry shows."""

    CONNECT = "connect"
    """Use the registry at all."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    LIST = "catalog"
    OBSERVE = "metrics"


class Origin(Struct, frozen=True):
    """Where a request comes from, as far as that can be trusted."""

    address: str = ""
    """The client's IP address; empty if it has none, as on a Unix socket."""
    certificate: str = ""
    """The client's certificate, URL-encoded PEM, that a trusted proxy has verified."""


class Scope(Struct, frozen=True):
    """Actions that a credential may be used for, in the repositories that a pattern names."""

    repositories: str
    actions: frozenset[Action]


class Identity(Struct, frozen=True):
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
