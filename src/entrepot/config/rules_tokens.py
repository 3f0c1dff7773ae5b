"""What must fit together about tokens in the `auth` section."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from entrepot.config.schema import Config
from entrepot.config.schema_tokens import TokenAuth, Workload
from entrepot.core.patterns import PatternInvalidError, parse_pattern

ALGORITHMS: Final = frozenset(
    {"EdDSA", *(f"{kind}{bits}" for kind in ("ES", "HS", "PS", "RS") for bits in (256, 384, 512))}
)
"""What `signingalgorithms` may hold."""


def check_tokens(config: Config) -> Iterator[tuple[str, str]]:
    """Give the key and the text of everything that doesn't fit."""
    auth = config.auth
    if auth.token is not None:
        yield from _external(auth.token)
    for name in ("none", "silly", "token"):
        if auth.workloads and getattr(auth, name) is not None:
            yield f"auth.{name}", "can't stand beside workloads: remove one of them"
        if auth.tokens.enabled and getattr(auth, name) is not None:
            yield "auth.tokens.enabled", f"no tokens are issued with auth.{name}; remove it"
    if auth.workloads and auth.tokens.enabled is False:
        yield "auth.workloads", "jobs get tokens of auth.tokens, which is not enabled"
    for index, workload in enumerate(auth.workloads):
        for key, message in _workload(workload):
            yield f"auth.workloads[{index}]{key}", message
    names = [workload.name for workload in auth.workloads]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "auth.workloads", f"the name {name} is given twice"


def _external(token: TokenAuth) -> Iterator[tuple[str, str]]:
    if not token.autoredirect and not is_http_url(token.realm):
        yield "auth.token.realm", "expected a URL such as https://auth.example.com/token"
    if not token.autoredirectpath.startswith("/"):
        yield "auth.token.autoredirectpath", "expected a path such as /auth/token"
    if not token.rootcertbundle and not token.jwks:
        yield "auth.token", "needs at least one key: give rootcertbundle or jwks"
    for index, name in enumerate(token.signingalgorithms):
        if name not in ALGORITHMS:
            known = ", ".join(sorted(ALGORITHMS))
            yield f"auth.token.signingalgorithms[{index}]", f"expected one of {known}"


def _workload(workload: Workload) -> Iterator[tuple[str, str]]:
    if not is_http_url(workload.issuer):
        yield ".issuer", "expected a URL such as https://token.actions.githubusercontent.com"
    if not workload.rules:
        yield ".rules", "without a rule nobody is let in"
    for index, rule in enumerate(workload.rules):
        key = f".rules[{index}]"
        if not any(pattern.strip("*") for pattern in rule.claims.values()):
            # An issuer such as GitHub's has the whole world for its users.
            yield f"{key}.claims", "name at least one claim, with more than * for its pattern"
        if bool(rule.robot) == bool(rule.scopes):
            yield key, "give either a robot or scopes"
        for number, scope in enumerate(rule.scopes):
            try:
                parse_pattern(scope.repositories)
            except PatternInvalidError as error:
                yield f"{key}.scopes[{number}].repositories", str(error)


def is_http_url(text: str) -> bool:
    """Tell whether `text` is a URL of http or https with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
