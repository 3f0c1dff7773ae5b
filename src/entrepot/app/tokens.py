"""Tokens, for one process: the registry's own token server, a server beside it, and other issuers.

Only what is configured is loaded: most registries need no cryptography.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from entrepot.api.challenges import Challenges, own_realm, redirected_realm
from entrepot.api.context import TokenEndpoint
from entrepot.api.links import Links
from entrepot.app.openid import open_devices
from entrepot.config import Config, ConfigError, Problem
from entrepot.config.finding import Finding, ok
from entrepot.config.finding import error as wrong
from entrepot.config.schema_tokens import TokenAuth, Workload
from entrepot.core.access import Action, Identity, Scope
from entrepot.core.tokens import TokenRules
from entrepot.db import Database
from entrepot.db.robots import find_robot
from entrepot.identity import Authenticator, IdentityError
from entrepot.identity.bearer import Bearer, Standing, Unchanging
from entrepot.identity.directory import Directory
from entrepot.services.access import Access
from entrepot.services.stores import Stores
from entrepot.telemetry import Metrics

if TYPE_CHECKING:
    from entrepot.identity.key_sources import KeySource
    from entrepot.identity.openid import Provider
    from entrepot.identity.workloads import Issuer, Workloads

_WORKLOAD_REFRESH: Final = 300.0
"""Seconds after which an issuer is asked for its keys again."""

_DEFAULT_SERVICE: Final = "entrepot"


class Known(Protocol):
    """How callers are known without a token; `entrepot.app.authentication` has it."""

    authenticator: Authenticator
    workloads: Workloads | None
    providers: Sequence[Provider]

    @property
    def directory(self) -> Directory | None:
        """The accounts in the index."""


def challenges_of(config: Config, links: Links) -> Challenges | None:
    """Return what asks for tokens, or None where clients are asked for names and passwords."""
    auth = config.auth
    if auth.silly is not None:
        realm = auth.silly.realm
        return Challenges(lambda _: realm, service=auth.silly.service, single=True)
    if auth.token is not None:
        return Challenges(_realm_of(auth.token), service=auth.token.service)
    if auth.issues_tokens:
        return Challenges(own_realm(links), service=_service(config))
    return None


def open_foreign(config: Config, metrics: Metrics) -> Authenticator | None:
    """Return the authenticator of `auth: silly` and `auth: token`, or None for neither.

    Raises:
        ConfigError: the keys of the token server can't be read.
    """
    if config.auth.silly is not None:
        from entrepot.identity.silly import Silly

        return Silly()
    token = config.auth.token
    if token is None:
        return None
    from entrepot.identity.bearer import NoOthers
    from entrepot.identity.external_tokens import ExternalTokens
    from entrepot.identity.jws import ALGORITHMS

    rules = TokenRules((token.issuer,), (token.service,), token.leeway)
    tokens = ExternalTokens(
        _keys_of(token), rules, algorithms=token.signingalgorithms or ALGORITHMS
    )
    return Bearer(tokens.check, others=NoOthers(), metrics=metrics, standing=Unchanging())


def check_keys(config: Config) -> Iterator[Finding]:
    """Give what is found about the files with keys that are configured."""
    token = config.auth.token
    if token is None:
        return
    for key, open_source in _sources_of(token):
        try:
            open_source()
            yield ok(f"auth.token.{key}", "the keys can be read")
        except IdentityError as error:
            yield wrong(f"auth.token.{key}", str(error))


def open_workloads(config: Config, index: Database, now: Callable[[], int]) -> Workloads | None:
    """Return what lets jobs in by the tokens of other issuers, or None if there are none.

    Raises:
        ConfigError: the keys of an issuer can't be read.
    """
    if not config.auth.workloads:
        return None
    from entrepot.identity.workloads import Workloads

    issuers = []
    for place, workload in enumerate(config.auth.workloads):
        try:
            issuers.append(_issuer(workload, leeway=config.auth.tokens.leeway))
        except IdentityError as error:
            raise ConfigError([Problem(f"auth.workloads[{place}].jwks: {error}")]) from error

    return Workloads(issuers, robots=partial(_robot, index, now))


def open_tokens(
    config: Config,
    stores: Stores,
    known: Known,
    *,
    secret: str,
    access: Access,
    limit: Callable[[Authenticator], Authenticator],
    shared: Path,
    metrics: Metrics,
) -> tuple[TokenEndpoint | None, Authenticator]:
    """Return the token server, if there is one, and what authenticates by its tokens, or else as
    `known` does; whoever asks for a token is let
    through by `limit`. `shared` is a directory of all processes of the server.
    """
    logins, standing, workloads = known.authenticator, known.directory, known.workloads
    if not config.auth.issues_tokens or standing is None:
        return None, logins
    from entrepot.services.signing_keys import Schedule, SigningKeys
    from entrepot.services.tokens import Terms, TokenServer

    tokens = config.auth.tokens
    service = _service(config)
    holders: Standing = standing
    if workloads is not None:
        from entrepot.identity.workloads import JobStanding

        robots = partial(_robot, stores.index, stores.now)
        holders = JobStanding(standing, robots=robots)
    schedule = Schedule(
        rotation=tokens.keyrotation,
        ahead=tokens.keyrotation / 10,
        after=tokens.lifetime + 2 * tokens.leeway,
    )
    terms = Terms(
        issuer=tokens.issuer or service,
        services=(service, *tokens.services),
        lifetime=tokens.lifetime,
        refresh_lifetime=tokens.refreshlifetime,
        leeway=tokens.leeway,
        rotate=tokens.rotaterefresh,
        session_lifetime=tokens.sessionlifetime,
    )
    keys = SigningKeys(stores, secret=secret.encode(), schedule=schedule)
    server = TokenServer(stores, keys, terms, access=access, standing=holders)
    exchange = workloads.exchange if workloads is not None else None
    devices = open_devices(known.providers, secret=secret, now=stores.now, shared=shared)
    endpoint = TokenEndpoint(server, limit(logins), exchange, devices)
    bearer = Bearer(server.check, others=logins, metrics=metrics, standing=holders)
    return endpoint, bearer


def _service(config: Config) -> str:
    host = config.http.host
    named = urlsplit(host if "://" in host else f"//{host}").netloc
    return config.auth.tokens.service or named or _DEFAULT_SERVICE


def _realm_of(token: TokenAuth) -> Callable[..., str]:
    if token.autoredirect:
        return redirected_realm(token.autoredirectpath)
    return lambda _: token.realm


def _keys_of(token: TokenAuth) -> KeySource:
    from entrepot.identity.key_sources import Joined

    found = []
    for key, open_source in _sources_of(token):
        try:
            found.append(open_source())
        except IdentityError as error:
            raise ConfigError([Problem(f"auth.token.{key}: {error}")]) from error
    return Joined(found)


def _sources_of(token: TokenAuth) -> Iterator[tuple[str, Callable[[], KeySource]]]:
    """Give the keys of the configuration that name keys, and what opens them."""
    from entrepot.identity.key_sources import bundle_file

    every = token.jwksrefresh
    if token.rootcertbundle:
        yield "rootcertbundle", partial(bundle_file, Path(token.rootcertbundle), every=every)
    if token.jwks:
        yield "jwks", partial(_key_set, token.jwks, every=every)


def _key_set(place: str, *, every: float, cafile: str = "") -> KeySource:
    if urlsplit(place).scheme in {"http", "https"}:
        from entrepot.identity.remote_keys import key_set_url

        return key_set_url(place, every=every, cafile=cafile)
    from entrepot.identity.key_sources import key_set_file

    return key_set_file(Path(place), every=every)


def _issuer(workload: Workload, *, leeway: float) -> Issuer:
    from entrepot.identity.remote_keys import discovered
    from entrepot.identity.workloads import Issuer, Rule, claim_pattern

    if workload.jwks:
        keys = _key_set(workload.jwks, every=_WORKLOAD_REFRESH, cafile=workload.cafile)
    else:
        keys = discovered(workload.issuer, every=_WORKLOAD_REFRESH, cafile=workload.cafile)
    rules = tuple(
        Rule(
            claims={name: claim_pattern(text) for name, text in rule.claims.items()},
            robot=rule.robot,
            scopes=tuple(
                Scope(scope.repositories, frozenset(map(Action, scope.actions)))
                for scope in rule.scopes
            ),
        )
        for rule in workload.rules
    )
    tokens = TokenRules((workload.issuer,), (workload.audience,), leeway)
    return Issuer(workload.name, rules, tokens, keys)


async def _robot(index: Database, now: Callable[[], int], name: str) -> Identity | None:
    """Return the robot of this whole name; None if there is none, or it has ended."""
    robot = await find_robot(index, name)
    if robot is None or (robot.expires_at is not None and robot.expires_at <= now()):
        return None
    return Identity(robot.name, "robot", kind="robot", scopes=robot.scopes)
