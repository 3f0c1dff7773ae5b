"""Who may do what: the one decision about access, with its reason. Pure: facts in, verdict out.

A name of a namespace is a path prefix of repositories' names, empty for the root. A repository
belongs to every namespace whose name is its own or goes before a slash in it. Times are
microseconds since 1970-01-01 UTC.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from msgspec import Struct

from entrepot.core.access import Action, Identity, Scope
from entrepot.core.errors import EntrepotError, NameInvalidError
from entrepot.core.names import RepositoryName
from entrepot.core.patterns import (
    Pattern,
    PatternInvalidError,
    TagPattern,
    parse_pattern,
    parse_tag_pattern,
)
from entrepot.core.roles import BUILT_IN, CONTENT, SYSTEM

Visibility = Literal["private", "internal", "public"]
"""Who may pull and list without a grant: nobody; whoever is known; anybody."""

SubjectKind = Literal["user", "group", "robot"]
Effect = Literal["allow", "deny"]

EVERY_REPOSITORY: Final = parse_pattern("**")
EVERY_TAG: Final = parse_tag_pattern("*")

_SEEN: Final = frozenset({Action.PULL, Action.LIST})
"""What visibility gives."""

_WITHOUT_TAG: Final = frozenset({Action.PULL, Action.PUSH, Action.LIST})
"""What a grant for some tags gives of a repository where no tag is named: without reading and
sending content nobody can use a tag. Deleting content would take every tag of it."""


class AccessError(EntrepotError):
    """A right, role or namespace can't be as it was asked for; the text says why."""


class AccessConflictError(AccessError):
    """What there is stands against it: the name is taken, or something is still in use."""


class AccessUnknownError(AccessError):
    """There is no such namespace, grant or role."""


class Grant(Struct, frozen=True, kw_only=True):
    """A role in a namespace, or the denial of one.

    `repositories` is relative to the namespace.
    """

    id: int
    """0 if it stands in the configuration."""
    namespace: str
    subject_kind: SubjectKind
    subject: str
    role: str
    effect: Effect = "allow"
    repositories: Pattern = EVERY_REPOSITORY
    tags: TagPattern = EVERY_TAG
    created_at: int = 0
    expires_at: int | None = None

    def __str__(self) -> str:
        """Say in plain words what it does."""
        name = f"grant {self.id}" if self.id else "the configuration"
        does = "gives" if self.effect == "allow" else "denies"
        text = f"{name} {does} {self.subject_kind} {self.subject} the role {self.role}"
        text += f" in {describe_namespace(self.namespace)}"
        if not self.repositories.unlimited:
            text += f" for repositories {self.repositories}"
        if not self.tags.unlimited:
            text += f" for tags {self.tags}"
        if self.expires_at is not None:
            until = datetime.fromtimestamp(self.expires_at // 1_000_000, UTC)
            text += f" until {until:%Y-%m-%d %H:%M:%S}Z"
        return text

    def is_for(self, identity: Identity) -> bool:
        """Whether somebody is the subject, or one of the group that is."""
        if self.subject_kind == "group":
            return self.subject in identity.groups
        return self.subject_kind == identity.kind and self.subject == identity.name

    def is_live(self, now: int) -> bool:
        """Whether it has not ended."""
        return self.expires_at is None or now < self.expires_at


class Namespace(Struct, frozen=True):
    """A namespace; without a visibility of its own it has that of the one above."""

    id: int
    name: str
    visibility: Visibility | None = None
    description: str = ""
    created_at: int = 0


class Policy(Struct, frozen=True):
    """Which namespaces there are, and which custom roles."""

    namespaces: Mapping[str, Namespace]
    roles: Mapping[str, frozenset[Action]] = {}

    def actions(self, role: str) -> frozenset[Action]:
        """Return what a role gives: nothing if there is none of this name."""
        return BUILT_IN.get(role) or self.roles.get(role) or frozenset()

    def visibility(self, name: str) -> tuple[Visibility, str]:
        """Return who may see a repository or namespace, and the namespace that says so."""
        for prefix in prefixes(name):
            found = self.namespaces.get(prefix)
            if found is not None and found.visibility is not None:
                return found.visibility, prefix
        return "private", ""

    def namespace_of(self, name: str) -> str:
        """Return the nearest namespace of a repository."""
        return next((prefix for prefix in prefixes(name) if prefix in self.namespaces), "")


class Target(Struct, frozen=True):
    """What an action is on: a repository, a tag of it, a namespace, or the registry."""

    name: str = ""
    """Of the repository or the namespace; empty for the root and the registry."""
    is_repository: bool = False
    tag: str | None = None

    def __str__(self) -> str:
        if self.is_repository:
            return self.name if self.tag is None else f"{self.name}:{self.tag}"
        return describe_namespace(self.name)


class Decision(Struct, frozen=True):
    """Whether, and why. `limited` means that the identity may, but the credential is not for it."""

    allowed: bool
    reason: str
    grant: Grant | None = None
    limited: bool = False


def decide(
    identity: Identity,
    action: Action,
    target: Target,
    *,
    policy: Policy,
    grants: Iterable[Grant],
    now: int,
) -> Decision:
    """Decide whether `identity` may do `action` on `target`, by the grants that there are.

    1. What a credential's scopes leave out is refused, whoever brings it.
    2. An administrator may do everything.
    3. A grant that denies beats all that allow, and visibility.
    4. Visibility lets people pull and list.
    5. A grant that allows, allows.
    6. Everything else is refused.

    `grants` may hold any others, too: those that are for somebody or something else, or have ended,
    don't count.
    """
    decision = _by_rights(identity, action, target, policy, grants, now)
    if not decision.allowed or in_scope(identity.scopes, action, target):
        return decision
    reason = f"the credential is not for {action.value} in {target}"
    return Decision(allowed=False, reason=reason, limited=True)


def _by_rights(
    identity: Identity,
    action: Action,
    target: Target,
    policy: Policy,
    grants: Iterable[Grant],
    now: int,
) -> Decision:
    if action is Action.PROBE:
        return Decision(allowed=True, reason="anybody may ask")
    if identity.administrator:
        return Decision(allowed=True, reason=f"{_who(identity)} administers the registry")
    if action is Action.CONNECT:
        known = identity.kind != "anonymous" or identity.method == "token"
        return Decision(
            allowed=known, reason=f"{_who(identity)} {'is' if known else 'is not'} known"
        )
    matching = [
        grant
        for grant in grants
        if grant.is_for(identity)
        and grant.is_live(now)
        and action in policy.actions(grant.role)
        and applies(grant, action, target)
    ]
    for effect in ("deny", "allow"):
        if effect == "allow":
            seen = _by_visibility(identity, action, target, policy)
            if seen is not None:
                return seen
        found = [grant for grant in matching if grant.effect == effect]
        if found:
            nearest = max(found, key=lambda grant: (len(grant.namespace), -grant.id))
            return Decision(allowed=effect == "allow", reason=str(nearest), grant=nearest)
    return Decision(
        allowed=False, reason=f"no grant lets {_who(identity)} do {action.value} in {target}"
    )


def _by_visibility(
    identity: Identity, action: Action, target: Target, policy: Policy
) -> Decision | None:
    if action is Action.LIST and not target.is_repository:
        # What is listed is decided repository by repository; there must be something to ask for.
        public = any(entry.visibility == "public" for entry in policy.namespaces.values())
        if identity.kind != "anonymous" or identity.method == "token" or public:
            return Decision(allowed=True, reason="everybody may list what they may see")
        return None
    if action not in _SEEN or not target.is_repository:
        return None
    visibility, namespace = policy.visibility(target.name)
    if visibility == "public" or (visibility == "internal" and identity.kind != "anonymous"):
        whom = "anybody" if visibility == "public" else "everybody who is known"
        reason = f"{describe_namespace(namespace)} is {visibility}: {whom} may {action.value}"
        return Decision(allowed=True, reason=reason)
    return None


def applies(grant: Grant, action: Action, target: Target) -> bool:
    """Tell whether a grant, by its place and its patterns, concerns an action on a target.

    A grant for some repositories or tags concerns no namespace. One that allows something for some
    tags gives, where no tag is named, what no tag can be used without, and no deletion; one that
    denies something for some tags denies deletion there, because it would take those tags, too.
    """
    relative = relative_name(target.name, grant.namespace)
    if relative is None or (action in SYSTEM and grant.namespace):
        return False
    if action not in CONTENT or not target.is_repository:
        return grant.repositories.unlimited and grant.tags.unlimited
    if not grant.repositories.matches(relative):
        return False
    if grant.tags.unlimited:
        return True
    if target.tag is not None:
        return grant.tags.matches(target.tag)
    return (action in _WITHOUT_TAG) == (grant.effect == "allow")


def in_scope(scopes: tuple[Scope, ...] | None, action: Action, target: Target) -> bool:
    """Tell whether a credential with these scopes may be used for an action on a target."""
    if scopes is None or action in {Action.CONNECT, Action.PROBE}:
        return True
    for scope in scopes:
        if action not in scope.actions:
            continue
        if action is Action.LIST and (not scope.repositories or not target.is_repository):
            return True
        if scope.repositories == target.name and not target.is_repository:
            return True
        if scope.repositories and _scope_pattern_matches(scope.repositories, target.name):
            return True
    return False


def _scope_pattern_matches(text: str, name: str) -> bool:
    try:
        return parse_pattern(text).matches(name)
    except PatternInvalidError:
        return False


def parse_namespace(text: str) -> str:
    """Return the name of a namespace, where `/` stands for the root, too.

    Raises:
        AccessError: no repository could lie in a namespace of this name.
    """
    if text in {"", "/"}:
        return ""
    try:
        return str(RepositoryName.parse(text))
    except NameInvalidError:
        raise AccessError(
            f"{text[:256]!r} can't be a namespace: it has lower-case letters and digits with "
            ". _ - between them, and slashes between its parts"
        ) from None


def prefixes(name: str) -> Iterator[str]:
    """Give every name that a namespace of `name` may have, the nearest first, the root last."""
    while name:
        yield name
        name = name.rpartition("/")[0]
    yield ""


def relative_name(name: str, namespace: str) -> str | None:
    """Return a name as seen from a namespace, empty for its own; None if it is not in there."""
    if not namespace:
        return name
    if name == namespace:
        return ""
    inside = f"{namespace}/"
    return name[len(inside) :] if name.startswith(inside) else None


def no_namespace(name: str) -> str:
    """Return what people are told of a namespace that there is not, or not for them."""
    if not name:
        return "there is no namespace /"
    return f"there is no namespace {name}; entrepot namespace create {name} makes it"


def describe_namespace(name: str) -> str:
    """Return how people are told of a namespace."""
    return f"namespace {name}" if name else "the root namespace"


def _who(identity: Identity) -> str:
    if identity.kind == "anonymous" or not identity.name:
        return "somebody unknown"
    return f"{identity.kind} {identity.name}"
