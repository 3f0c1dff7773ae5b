"""Tokens: what they say, who may say it, and what is asked for.

The scope grammar is that of the Docker registry's "Token Scope Documentation", the claims are those
of its "Token Authentication Implementation" (RFC 7519 with `access`).
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from entrepot.core.access import Action, Identity, Scope
from entrepot.core.errors import EntrepotError, NameInvalidError
from entrepot.core.names import RepositoryName

MOST_SCOPES: Final = 100
"""The most resources in one request for a token; a push with many mounts asks for some."""

LONGEST_SCOPE: Final = 512
LONGEST_TOKEN: Final = 32_768
"""Characters; a token must fit into a header."""

METHOD: Final = "token"
"""What `Identity.method` is of whoever brings a token."""

REPOSITORY: Final = "repository"
REGISTRY: Final = "registry"
CATALOG: Final = "catalog"
ANYTHING: Final = "*"
"""The action in a token that stands for all of them."""

ACTIONS: Final = {"pull": Action.PULL, "push": Action.PUSH, "delete": Action.DELETE}
"""What may be asked for of a repository, in the words of the grammar."""

_HOST_PART: Final = r"[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*"
_HOST: Final = rf"{_HOST_PART}(?:\.{_HOST_PART})*(?::[0-9]{{1,5}})?"
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_SCOPE: Final = re.compile(
    r"(?P<type>[a-z0-9]+)(?:\((?P<kind>[a-z0-9]+)\))?"
    rf":(?P<name>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r":(?P<actions>(?:[a-z]+|\*)(?:,(?:[a-z]+|\*))*|)"
)
_FINGERPRINT_BYTES: Final = 30  # 240 bits, which are 48 characters of base32


class ScopeInvalidError(EntrepotError):
    """What was asked for is not written as the grammar wants it; the text says what is wrong."""


class TokenRefusedError(EntrepotError):
    """A token doesn't count; the text says why, for the log, and never holds the token."""


# What is asked for -------------------------------------------------------------------------------


class ResourceScope(Struct, frozen=True):
    """One resource and what is to be done with it: `repository(plugin):a/b:pull,push`."""

    type: str
    name: str
    actions: tuple[str, ...]
    kind: str = ""
    """The class of the resource, which is in brackets behind its type."""

    def __str__(self) -> str:
        kind = f"({self.kind})" if self.kind else ""
        return f"{self.type}{kind}:{self.name}:{','.join(self.actions)}"


def parse_scopes(values: Iterable[str]) -> tuple[ResourceScope, ...]:
    """Return what the `scope` parameters of a request name, each with one or several scopes parted
    by spaces; a resource that is named twice is one, with all its actions.

    Raises:
        ScopeInvalidError: one of them is malformed, or there are more than `MOST_SCOPES`.
    """
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    texts = [text for value in values for text in value.split(" ") if text]
    if len(texts) > MOST_SCOPES:
        raise ScopeInvalidError(f"more than {MOST_SCOPES} scopes")
    for text in texts:
        scope = _parse_scope(text)
        actions = found.setdefault((scope.type, scope.kind, scope.name), {})
        actions.update(dict.fromkeys(scope.actions))
    return tuple(
        ResourceScope(kind, name, tuple(actions), resource_class)
        for (kind, resource_class, name), actions in found.items()
    )


def _parse_scope(text: str) -> ResourceScope:
    match = _SCOPE.fullmatch(text) if len(text) <= LONGEST_SCOPE else None
    if match is None:
        raise ScopeInvalidError(
            "a scope is not of the form repository:NAME:pull,push or registry:catalog:*"
        )
    actions = tuple(dict.fromkeys(action for action in match["actions"].split(",") if action))
    return ResourceScope(match["type"], match["name"], actions, match["kind"] or "")


def wanted_actions(scope: ResourceScope) -> tuple[RepositoryName | None, frozenset[Action]]:
    """Return the repository, None for the registry itself, and what is to be done with it.

    There are no actions if no rights are given for such a resource here: other types, and names
    that no repository of this registry can have.
    """
    if scope.type == REPOSITORY:
        try:
            name = RepositoryName.parse(scope.name)
        except NameInvalidError:
            return None, frozenset()
        if ANYTHING in scope.actions:
            return name, frozenset(ACTIONS.values())
        return name, frozenset(ACTIONS[word] for word in scope.actions if word in ACTIONS)
    if scope.type == REGISTRY and scope.name == CATALOG and ANYTHING in scope.actions:
        return None, frozenset({Action.LIST})
    return None, frozenset()


def needed_scope(action: Action, repository: str | None) -> str:
    """Return the scope that a challenge asks for, empty if a good token is enough.

    `repository` is as the request has it; what is no name is not repeated.
    """
    if action is Action.LIST:
        return f"{REGISTRY}:{CATALOG}:{ANYTHING}"
    if repository is None or action not in ACTIONS.values():
        return ""
    try:
        name = RepositoryName.parse(repository)
    except NameInvalidError:
        return ""
    return f"{REPOSITORY}:{name}:{'pull,push' if action is Action.PUSH else action.value}"


class Wish(Struct, frozen=True):
    """What somebody asks for; `offline` is for a refresh token, too."""

    service: str
    client: str
    scopes: tuple[ResourceScope, ...]
    offline: bool = False


class Issued(Struct, frozen=True):
    """What they get: a token for `scope`, for `expires_in` seconds from `issued_at` (RFC 3339)."""

    token: str
    scope: str
    expires_in: int
    issued_at: str
    refresh_token: str | None = None


# What a token says -------------------------------------------------------------------------------


class AccessEntry(Struct, frozen=True, omit_defaults=True):
    """One entry of the claim `access`."""

    type: str
    name: str
    actions: tuple[str, ...] | None = None
    kind: str = msgspec.field(default="", name="class")


class Holder(Struct, frozen=True, omit_defaults=True):
    """What our own tokens say of their holder besides the name, so that no index is asked, and
    the revision of all accounts when that was so; `issued` is in microseconds since 1970.
    """

    revision: int = 0
    issued: int = 0
    kind: Literal["anonymous", "user", "robot"] = "user"
    method: str = ""
    groups: tuple[str, ...] = ()
    administrator: bool = False
    credential: str = ""


class Claims(Struct, frozen=True, omit_defaults=True):
    """The claims that count here. Times are seconds since 1970."""

    iss: str
    aud: str | tuple[str, ...]
    exp: float
    sub: str = ""
    nbf: float = 0
    iat: float = 0
    jti: str = ""
    access: tuple[AccessEntry, ...] | None = None
    holder: Holder | None = msgspec.field(default=None, name="entrepot")


class TokenRules(Struct, frozen=True):
    """Which tokens count: of these issuers, for this service, with `leeway` seconds for clocks that
    differ.
    """

    issuers: tuple[str, ...]
    audiences: tuple[str, ...]
    leeway: float = 60.0


_claims: Final = msgspec.json.Decoder(Claims)


def read_claims(payload: bytes) -> Claims:
    """Return the claims of a token whose signature is good, or raise `TokenRefusedError`."""
    try:
        return _claims.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TokenRefusedError(f"malformed claims: {error}") from error


def check_claims(claims: Claims, rules: TokenRules, *, now: float) -> None:
    """Raise `TokenRefusedError` unless the claims are for us and for `now` (seconds since 1970).

    1. The issuer is one that is trusted (RFC 7519, 4.1.1).
    2. The audience holds this service (4.1.3), so that a token for another one is of no use here.
    3. It has not expired (4.1.4), and its time has come (4.1.5), give or take the leeway.
    """
    if claims.iss not in rules.issuers:
        raise TokenRefusedError("the issuer is not trusted")
    audience = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    if not set(audience) & set(rules.audiences):
        raise TokenRefusedError("the token is for another service")
    if now > claims.exp + rules.leeway:
        raise TokenRefusedError("the token has expired")
    if now < claims.nbf - rules.leeway:
        raise TokenRefusedError("the token is not valid yet")


def find_claim(said: Any, name: str) -> Any:
    """Return a claim by its name, or by a path of names parted by slashes."""
    if not isinstance(said, dict):
        return None
    if name in said:
        return said[name]
    for end in (place for place, letter in enumerate(name) if letter == "/"):
        if name[:end] in said:
            return find_claim(said[name[:end]], name[end + 1 :])
    return None


def limits_of(access: Sequence[AccessEntry]) -> tuple[Scope, ...]:
    """Return what a token may be used for."""
    limits = []
    for entry in access:
        scope = ResourceScope(entry.type, entry.name, entry.actions or ())
        name, actions = wanted_actions(scope)
        if actions:
            limits.append(Scope(name or "", actions))
    return tuple(limits)


def holder_of(name: str, holder: Holder) -> Identity:
    """Return who one of our own tokens was issued to, as they were then."""
    return Identity(
        name=name,
        method=holder.method,
        kind=holder.kind,
        groups=holder.groups,
        administrator=holder.administrator,
        credential=holder.credential,
    )


def bearer_of(holder: Identity, limits: tuple[Scope, ...]) -> Identity:
    """Return who brings a token: its holder, limited to what the token is for."""
    return msgspec.structs.replace(holder, method=METHOD, scopes=limits)


def external_holder(claims: Claims) -> Identity:
    """Return who an external token server says that somebody is. It alone decides about rights:
    within the limits of the token everything is allowed.
    """
    return Identity(claims.sub if claims.sub.isprintable() else "", METHOD, administrator=True)


def libtrust_fingerprint(public_key: bytes) -> str:
    """Return the id that `registry:2` has for a public key (DER, SubjectPublicKeyInfo)."""
    digest = hashlib.sha256(public_key).digest()[:_FINGERPRINT_BYTES]
    text = base64.b32encode(digest).decode("ascii")
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))
