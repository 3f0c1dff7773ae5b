"""The directory service of `auth.ldap`, for one process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from entrepot.config import Config, ConfigError, Problem
from entrepot.config.finding import Finding, ok
from entrepot.config.finding import error as wrong
from entrepot.config.schema_ldap import Ldap as Settings
from entrepot.core.access import Identity
from entrepot.core.errors import EntrepotError

if TYPE_CHECKING:
    from entrepot.identity.ldap import Adopt, Ldap
    from entrepot.identity.ldap_wire import Server

_PORTS: Final = {"ldap": 389, "ldaps": 636}


def open_ldap(settings: Settings, adopt: Adopt) -> Ldap:
    """Return the source for people in a directory.

    Raises:
        ConfigError: a file can't be read, or a name or filter is malformed.
    """
    from entrepot.identity.errors import IdentityError
    from entrepot.identity.ldap import Ldap, LdapRules
    from entrepot.identity.ldap_groups import GroupRules

    groups = settings.groups
    rules = LdapRules(
        binddn=settings.binddn,
        bindpassword=_password(settings),
        directbind=settings.directbind,
        base=settings.base,
        filter=settings.filter,
        attribute=settings.attribute,
        domains=frozenset(domain.casefold() for domain in settings.domains),
        groups=GroupRules(
            memberof=groups.memberof,
            base=groups.base,
            filter=groups.filter,
            attribute=groups.attribute,
            nested=groups.nested,
            mapping=groups.mapping,
        ),
        size=settings.poolsize,
        connect=settings.connecttimeout,
        timeout=settings.timeout,
        life=settings.cachelife,
    )
    try:
        return Ldap(_servers(settings), rules, adopt=adopt)
    except IdentityError as error:
        raise ConfigError([Problem(f"auth.ldap: {error}")]) from error


def check_ldap(config: Config) -> Iterator[Finding]:
    """Give what is found about the directory that is configured: whether it can be searched."""
    settings = config.auth.ldap
    if settings is None:
        return
    try:
        for url in settings.urls:
            asyncio.run(_try(settings, url))
            yield ok("auth.ldap.urls", f"{url} can be asked")
    except EntrepotError as error:
        yield wrong("auth.ldap", str(error))


async def _try(settings: Settings, url: str) -> None:
    import msgspec

    async def adopt(identity: Identity) -> Identity:
        return identity

    directory = open_ldap(msgspec.structs.replace(settings, urls=(url,)), adopt)
    try:
        await directory.try_search()
    finally:
        directory.close()


def _servers(settings: Settings) -> list[Server]:
    from entrepot.identity.ldap_wire import Server

    tls = (
        _context(settings.cafile) if any(_has_tls(settings, url) for url in settings.urls) else None
    )
    found = []
    for url in settings.urls:
        parts = urlsplit(url)
        found.append(
            Server(
                url=url,
                host=parts.hostname or "",
                port=parts.port or _PORTS[parts.scheme],
                tls=tls if _has_tls(settings, url) else None,
                starttls=settings.starttls,
            )
        )
    return found


def _has_tls(settings: Settings, url: str) -> bool:
    return settings.starttls or url.startswith("ldaps:")


def _context(cafile: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError([Problem(f"auth.ldap.cafile: {cafile}: {error}")]) from error


def _password(settings: Settings) -> str:
    if not settings.bindpasswordfile:
        return settings.bindpassword
    path = Path(settings.bindpasswordfile)
    try:
        with path.open(encoding="utf-8") as file:
            password = file.readline(4096).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(f"auth.ldap.bindpasswordfile: {path}: {error}")]) from error
    if not password:
        raise ConfigError([Problem(f"auth.ldap.bindpasswordfile: {path}: its first line is empty")])
    return password
