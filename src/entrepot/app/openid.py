"""The OpenID Connect providers of `auth.oidc`, for one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from entrepot.config import Config, ConfigError, Problem
from entrepot.config.schema_openid import OpenIdProvider
from entrepot.identity.anonymous import Anonymous
from entrepot.identity.rates import RateLimited, Rates
from entrepot.telemetry import Metrics

if TYPE_CHECKING:
    from entrepot.identity.openid import Adopt, Provider
    from entrepot.services.browser_logins import BrowserLogins
    from entrepot.services.devices import Devices

Clock = Callable[[], int]
"""Gives microseconds since 1970."""

_REFRESH: Final = 300.0
"""Seconds after which a provider is asked for its keys again."""

_RATE: Final = 5.0
_BURST: Final = 60.0
"""Requests about logins that an address may send a second, and at once."""


def open_providers(config: Config, *, adopt: Adopt, metrics: Metrics) -> Sequence[Provider]:
    """Return the providers.

    Raises:
        ConfigError: the file with a secret can't be read.
    """
    if not config.auth.oidc:
        return ()
    from entrepot.identity.openid import Provider, ProviderRules
    from entrepot.identity.remote_keys import discovered

    providers = []
    for place, given in enumerate(config.auth.oidc):
        rules = ProviderRules(
            name=given.name,
            issuer=given.issuer,
            clientid=given.clientid,
            clientsecret=_secret(given, place),
            scopes=given.scopes,
            username=given.username,
            prefix=given.prefix,
            groups=given.groups,
            mapping=given.mapping,
            domains=given.domains,
            cafile=given.cafile,
            leeway=config.auth.tokens.leeway,
        )
        keys = discovered(given.issuer, every=_REFRESH, cafile=given.cafile)
        providers.append(Provider(rules, keys, adopt=adopt, metrics=metrics))
    return providers


def open_devices(
    providers: Sequence[Provider], *, secret: str, now: Clock, shared: Path
) -> Devices | None:
    """Return the logins by device, or None if there is no provider. Requests are counted in the
    directory `shared`.
    """
    if not providers:
        return None
    from entrepot.services.devices import Devices

    return Devices(providers, secret=secret.encode(), limit=_limit(shared), now=now)


def open_browser_logins(
    providers: Sequence[Provider], *, secret: str, now: Clock, shared: Path
) -> BrowserLogins | None:
    """Return the logins in a browser, or None if there is no provider. Requests are counted with
    those by device.
    """
    if not providers:
        return None
    from entrepot.services.browser_logins import BrowserLogins

    return BrowserLogins(providers, secret=secret.encode(), limit=_limit(shared), now=now)


def _limit(shared: Path) -> RateLimited:
    return RateLimited(Anonymous(), Rates(shared / "logins.rates", rate=_RATE, burst=_BURST))


def _secret(given: OpenIdProvider, place: int) -> str:
    if not given.clientsecretfile:
        return given.clientsecret
    path, key = Path(given.clientsecretfile), f"auth.oidc[{place}].clientsecretfile"
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.readline(4096).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(f"{key}: {path}: {error}")]) from error
    if not secret:
        raise ConfigError([Problem(f"{key}: {path}: its first line is empty")])
    return secret
