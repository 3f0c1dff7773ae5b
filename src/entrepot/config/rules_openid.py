"""What must fit together in `auth.oidc`."""

import re
from collections.abc import Iterator
from typing import Final

from entrepot.config.rules_tokens import is_http_url
from entrepot.config.schema import Config
from entrepot.config.schema_openid import OpenIdProvider

_NAME: Final = re.compile(r"[A-Za-z0-9._-]*")
_PREFIX: Final = re.compile(r"([a-z0-9-]+:)?")


def check_openid(config: Config) -> Iterator[tuple[str, str]]:
    """Give the key and the text of everything that doesn't fit."""
    providers = config.auth.oidc
    if providers and config.auth.tokens.enabled is False:
        yield "auth.oidc", "whoever logs in gets tokens of auth.tokens, which is not enabled"
    for index, provider in enumerate(providers):
        for key, message in _provider(provider):
            yield f"auth.oidc[{index}].{key}", message
    for key in ("name", "prefix"):
        values = [getattr(provider, key) for provider in providers]
        if len(set(values)) < len(values):
            # People of two providers would share a name, and one the rights of the other.
            yield "auth.oidc", f"each provider needs a {key} of its own"


def _provider(provider: OpenIdProvider) -> Iterator[tuple[str, str]]:
    if not is_http_url(provider.issuer):
        yield "issuer", "expected a URL such as https://sso.example.com"
    for key in ("name", "clientid", "username"):
        if not getattr(provider, key):
            yield key, "must not be empty"
    if not _NAME.fullmatch(provider.name):
        yield "name", "expected letters, digits and . _ -, for it is part of a URL"
    if provider.clientsecret and provider.clientsecretfile:
        yield "clientsecret", "clientsecretfile is given, too; remove one of them"
    if not _PREFIX.fullmatch(provider.prefix):
        yield "prefix", "expected lower-case letters, digits and -, with a colon behind"
