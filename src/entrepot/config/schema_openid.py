"""The `auth.oidc` section: people who log in at an OpenID Connect provider."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Struct

from entrepot.config.about import about


class OpenIdProvider(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider of OpenID Connect: single sign-on."""

    name: Annotated[str, about("What the provider is called here, such as `sso`.", needs=True)] = ""
    issuer: Annotated[
        str, about("Its URL, as in its tokens; all else is discovered there.", needs=True)
    ] = ""
    clientid: Annotated[str, about("What this registry is called there.", needs=True)] = ""
    clientsecret: Annotated[
        str, about("The secret that goes with it, if there is one.", masked="all")
    ] = ""
    clientsecretfile: Annotated[
        str, about("A file whose first line is the secret, instead of `clientsecret`.")
    ] = ""
    scopes: Annotated[tuple[str, ...], about("What is asked for besides `openid`.")] = (
        "profile",
        "email",
    )
    username: Annotated[
        str,
        about(
            "The claim that names somebody; it must be unique, and nobody may choose their own. "
            "`a/b` is the claim `b` inside of `a`."
        ),
    ] = "preferred_username"
    prefix: Annotated[
        str,
        about(
            "What is put before the names, such as `sso:`, so that those of several providers "
            "differ."
        ),
    ] = ""
    groups: Annotated[str, about("The claim that lists somebody's groups; empty is none.")] = (
        "groups"
    )
    mapping: Annotated[
        Mapping[str, tuple[str, ...]],
        about("Our groups, each with the provider's that are meant; without it theirs are ours."),
    ] = {}
    domains: Annotated[
        tuple[str, ...],
        about("Domains that somebody's verified e-mail address must be in one of; empty is any."),
    ] = ()
    cafile: Annotated[
        str, about("PEM file with the authorities that are trusted for the provider's server.")
    ] = ""
