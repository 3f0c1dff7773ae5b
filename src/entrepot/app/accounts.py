"""Accounts beside the workers: for the command line, and for the first start."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from entrepot.app.audit import open_trail, verifier
from entrepot.app.clocks import open_clock
from entrepot.app.rights import access_rules
from entrepot.app.stores import index_address, keeping_of, now, opened, own_directory
from entrepot.config import Config, ConfigError, Problem
from entrepot.core.accounts import (
    AccountError,
)
from entrepot.core.passwords import PasswordPolicy
from entrepot.core.work import FORMS
from entrepot.db import Database
from entrepot.db.opening import migrate_index
from entrepot.identity.htpasswd import Roles
from entrepot.services.access import Access
from entrepot.services.accounts import Accounts
from entrepot.services.administration import Administration
from entrepot.services.audit import Trail
from entrepot.services.auditing import AuditLog
from entrepot.services.grants import Grants
from entrepot.services.guarding import Lockouts
from entrepot.services.namespaces import Namespaces
from entrepot.services.quotas import Quotas
from entrepot.services.retention import Policies
from entrepot.services.robots import Lifetimes, Robots, Tokens
from entrepot.services.runs import Runs
from entrepot.services.schedules import Schedules
from entrepot.telemetry import Revealed

if TYPE_CHECKING:
    from entrepot.identity.hashing import Argon2

_log = structlog.get_logger("entrepot.app")


@asynccontextmanager
async def opened_accounts(config: Config) -> AsyncIterator[Administration]:
    """The accounts of a registry, whether or not it runs.

    Raises:
        EntrepotError: its index can't be used.
    """
    if config.storage.driver == "inmemory":
        raise AccountError("with storage in memory the accounts are in the memory of the server")
    address = index_address(config)
    directory = own_directory(config)
    if address.is_file and directory is not None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AccountError(f"{directory} can't be made: {error.strerror}") from error
    await asyncio.to_thread(migrate_index, address)
    async with opened(config) as (stores, _):
        access = Access(stores.index, now=now, rules=access_rules(config))
        services = administration(config, stores.index, access=access, trail=stores.trail)
        yield replace(services, stores=stores)


def administration(
    config: Config,
    index: Database,
    *,
    access: Access,
    trail: Trail,
    limited: Callable[[], None] = lambda: None,
) -> Administration:
    """Return what can be done about the accounts in an index and their rights; `limited` is told
    when quotas change.
    """
    lifetimes = Lifetimes(overlap=config.auth.secrets.overlap, longest=config.auth.secrets.lifetime)
    changed = access.changed
    return Administration(
        users=open_users(config, index, trail=trail),
        robots=Robots(index, now=now, lifetimes=lifetimes, trail=trail),
        tokens=Tokens(index, now=now, lifetimes=lifetimes, trail=trail),
        lockouts=Lockouts(index, now=now, trail=trail),
        namespaces=Namespaces(index, now=now, changed=changed, trail=trail),
        grants=Grants(index, now=now, changed=changed, trail=trail),
        quotas=Quotas(index, now=now, trail=trail, changed=limited),
        access=access,
        schedules=Schedules(index, now=now, trail=trail, kinds=FORMS),
        runs=Runs(index, now=now, trail=trail, kinds=FORMS),
        audit=AuditLog(index),
        checkpoints=partial(verifier, config, index, trail),
        retention=Policies(index, now=now, trail=trail),
        configured=roles_of(config).identity,
        now=now,
        read_time=lambda: open_clock(index, keeping_of(config)).read_time(),
    )


def roles_of(config: Config) -> Roles:
    """Return what the configuration says of the users of its htpasswd file."""
    htpasswd = config.auth.htpasswd
    if htpasswd is None:
        return Roles()
    everybody = ("*",) if htpasswd.administrators is None else ()
    return Roles(htpasswd.administrators or everybody, htpasswd.groups)


def open_users(config: Config, index: Database, *, trail: Trail | None = None) -> Accounts:
    """Return what can be done about users; argon2 is loaded when a password is hashed."""
    local = config.auth.local
    policy = PasswordPolicy() if local is None else PasswordPolicy(local.passwords.minlength)
    return Accounts(
        index,
        now=now,
        policy=policy,
        hash=lambda password: open_argon2(config).hash(password),
        trail=trail or open_trail(config, index),
    )


def open_argon2(config: Config) -> "Argon2":
    """Return what makes and checks the hashes of local users' passwords."""
    from entrepot.identity.hashing import Argon2

    local = config.auth.local
    if local is None:
        return Argon2()
    return Argon2(
        time_cost=local.argon2.timecost,
        memory_cost=local.argon2.memorycost,
        parallelism=local.argon2.parallelism,
    )


async def ensure_administrator(config: Config, index: Database) -> None:
    """Make the first administrator if local users are configured and there is none.

    Raises:
        ConfigError: the configured name or password can't be used.
    """
    local = config.auth.local
    if local is None:
        return
    made = ""

    def password() -> str:
        nonlocal made
        if local.admin.password:
            return local.admin.password
        if local.admin.passwordfile:
            return _read(Path(local.admin.passwordfile))
        made = secrets.token_urlsafe(24)
        return made

    try:
        fresh = await open_users(config, index).ensure_administrator(local.admin.name, password)
    except AccountError as error:
        raise ConfigError([Problem(f"auth.local.admin: {error}")]) from error
    if fresh and made:
        _log.warning(
            "the first administrator was made; the password is shown this once",
            user=local.admin.name,
            password=Revealed(made),
        )
    elif fresh:
        _log.info("the first administrator was made", user=local.admin.name)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(4096).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(f"auth.local.admin.passwordfile: {path}: {error}")]) from error
