"""Tokens in the `auth` section: registry:2's `token` and `silly`, the registry's own, and those of
other issuers."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Struct

from entrepot.config.about import Duration, about


class SillyAuth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """registry:2's authentication for its own tests: any Authorization header is accepted."""

    realm: Annotated[str, about("Realm named in the challenge.", needs=True)] = ""
    service: Annotated[str, about("Service named in the challenge.", needs=True)] = ""


class TokenAuth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bearer tokens of a token server beside the registry, which alone decides who may do what."""

    realm: Annotated[
        str, about("URL of the token server; not needed with autoredirect.", masked="url")
    ] = ""
    service: Annotated[str, about("Name of this registry for it.", needs=True)] = ""
    issuer: Annotated[str, about("Name of the issuer in tokens.", needs=True)] = ""
    rootcertbundle: Annotated[
        str,
        about(
            "PEM file with the certificates whose keys sign tokens, or that have signed the "
            "certificates which tokens bring."
        ),
    ] = ""
    jwks: Annotated[
        str,
        about(
            "Key set (JWKS) with the keys that sign tokens: a file, or a URL, which is asked "
            "again from time to time and when a token names a key that isn't known."
        ),
    ] = ""
    jwksrefresh: Annotated[Duration, about("How often the key set is read again.", minimum=1)] = (
        300.0
    )
    autoredirect: Annotated[
        bool, about("The token server is below this registry's own host name.")
    ] = False
    autoredirectpath: Annotated[str, about("Its path.")] = "/auth/token"
    signingalgorithms: Annotated[
        tuple[str, ...],
        about("Algorithms that are accepted, such as `ES256`; none given is all but `none`."),
    ] = ()
    leeway: Annotated[
        Duration, about("By how much the clocks of the two servers may differ.", minimum=0)
    ] = 60.0


class Tokens(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The registry's own token server, `/auth/token`."""

    enabled: Annotated[
        bool | None,
        about(
            "Issue tokens, and ask clients for them. Without a value: yes where anybody but the "
            "users of an htpasswd file can log in, so that what worked with registry:2 goes on."
        ),
    ] = None
    service: Annotated[
        str,
        about("Name of this registry in tokens; empty is the host in `http.host`, or `entrepot`."),
    ] = ""
    issuer: Annotated[str, about("Name of the issuer in tokens; empty is the service.")] = ""
    services: Annotated[
        tuple[str, ...], about("Other registries that tokens are issued for, by their service.")
    ] = ()
    lifetime: Annotated[Duration, about("How long a token is good; 1m at least.", minimum=60)] = (
        300.0
    )
    refreshlifetime: Annotated[
        Duration, about("How long a refresh token is good, counted from the login.", minimum=60)
    ] = 2592000.0
    sessionlifetime: Annotated[
        Duration,
        about(
            "How long a login by OpenID Connect is good, with the groups that somebody had then.",
            minimum=60,
        ),
    ] = 43200.0
    rotaterefresh: Annotated[
        bool,
        about(
            "Give a new refresh token whenever one is used; the old one is good for ten more "
            "minutes. Docker keeps the first and would have to log in again."
        ),
    ] = False
    keyrotation: Annotated[
        Duration, about("How long a key signs tokens before the next one does.", minimum=3600)
    ] = 2592000.0
    leeway: Annotated[
        Duration, about("By how much the clocks of several nodes may differ.", minimum=0)
    ] = 60.0


class WorkloadScope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a job may do."""

    repositories: Annotated[str, about("A pattern for names, such as `team-a/**`.", needs=True)] = (
        ""
    )
    actions: Annotated[
        tuple[Literal["pull", "push", "delete"], ...], about("What may be done there.")
    ] = ("pull",)


class WorkloadRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs are trusted, and with what: a robot's rights, or some of their own."""

    claims: Annotated[
        Mapping[str, str],
        about(
            "What the token must say: patterns by claim, where `*` stands for any characters. "
            "`a/b` is the claim `b` inside of `a`. All must match; one at least is needed."
        ),
    ] = {}
    robot: Annotated[
        str, about("The whole name of the robot that the job acts as, such as `robot$team-a+ci`.")
    ] = ""
    scopes: Annotated[
        tuple[WorkloadScope, ...], about("What the job may do, instead of `robot`.")
    ] = ()


class Workload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer whose tokens let jobs in that have no secret of their own."""

    name: Annotated[str, about("What the issuer is called here, such as `github`.", needs=True)] = (
        ""
    )
    issuer: Annotated[
        str,
        about(
            "The issuer's URL, as in its tokens. Its keys are found by OpenID Connect discovery.",
            needs=True,
        ),
    ] = ""
    audience: Annotated[
        str, about("What the tokens must be issued for, such as this registry's URL.", needs=True)
    ] = ""
    jwks: Annotated[
        str, about("Key set instead of discovery: a file, or a URL, as for a cluster's own keys.")
    ] = ""
    cafile: Annotated[
        str, about("PEM file with the authorities that are trusted for the issuer's server.")
    ] = ""
    rules: Annotated[tuple[WorkloadRule, ...], about("Tried in order; the first counts.")] = ()
