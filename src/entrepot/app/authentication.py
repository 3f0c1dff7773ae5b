"""Who may log in, for one process: the sources that are configured, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from entrepot.app.accounts import open_argon2, open_users, roles_of
from entrepot.app.openid import open_providers
from entrepot.app.stores import now
from entrepot.app.tokens import open_foreign, open_workloads
from entrepot.config import Config
from entrepot.core.errors import EntrepotError
from entrepot.core.guarding import Rule
from entrepot.db.accounts import find_user
from entrepot.db.browser_sessions import note_seen
from entrepot.db.credentials import find_holder, find_holder_by_id
from entrepot.db.revision import find_revision
from entrepot.identity import Authenticator
from entrepot.identity.anonymous import Anonymous
from entrepot.identity.directory import Directory, Rows
from entrepot.identity.guard import Guard, Tally
from entrepot.identity.htpasswd import Htpasswd
from entrepot.identity.passwords import Passwords
from entrepot.identity.rates import RateLimited, Rates
from entrepot.identity.secrets import Secrets
from entrepot.identity.several import Several
from entrepot.identity.sources import Source
from entrepot.services.guarding import Lockouts
from entrepot.services.stores import Stores
from entrepot.services.uses import Uses
from entrepot.telemetry import Metrics

if TYPE_CHECKING:
    from entrepot.identity.openid import Provider

_SEEN_EVERY: Final = 30.0
"""Seconds after which it is written down when sessions were used."""


class Authentication:
    """What tells who is calling, and what it needs in the background.

    `authenticator` knows names, passwords, secrets and certificates, `providers` are those of
    OpenID Connect; `directory` knows the accounts in the index, None where nobody is in there;
    `seen` gathers when sessions were last used.
    """

    def __init__(self, config: Config, stores: Stores, metrics: Metrics) -> None:
        self._config = config
        self._index = index = stores.index
        self._trail = stores.trail
        self._metrics = metrics
        self._uses = Uses(index)
        self.seen = Uses(index, note_seen, every=_SEEN_EVERY, again_after=0.0)
        self.providers: Sequence[Provider] = ()
        self._passwords: Passwords | None = None
        self.directory: Directory | None = None
        self.authenticator: Authenticator = open_foreign(config, metrics) or Anonymous()
        self.workloads = open_workloads(config, index, now)
        self._tasks: list[asyncio.Task[None]] = []
        if config.auth.type not in {"none", "silly", "token"}:
            self.directory = self._open_directory()
            self.authenticator = self._open(self.directory)
            self.providers = open_providers(config, adopt=self.directory.adopt, metrics=metrics)
            self._tasks = [
                asyncio.create_task(self.directory.run()),
                asyncio.create_task(self._uses.run()),
                asyncio.create_task(self.seen.run()),
            ]

    async def stop(self) -> None:
        """End what runs in the background, and write down what it gathered."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for uses in (self._uses, self.seen) if self._tasks else ():
            with suppress(EntrepotError):  # the index says so itself; nothing else waits for this
                await uses.write()
        if self._passwords is not None:
            self._passwords.close()

    def _open_directory(self) -> Directory:
        index = self._index
        rows = Rows(
            user=partial(find_user, index),
            holder=partial(find_holder, index),
            credential=partial(find_holder_by_id, index),
            revision=partial(find_revision, index),
        )
        return Directory(rows, passwords=self._config.auth.local is not None, now=now)

    def _open(self, directory: Directory) -> Authenticator:
        auth = self._config.auth
        self._passwords = Passwords(
            list(self._sources(directory)),
            realm=_realm(self._config),
            metrics=self._metrics,
            guard=self._guard(),
            secrets=Secrets(directory, now=now, used=self._uses.note),
        )
        authenticator: Authenticator = self._passwords
        if auth.certificate is not None:
            from entrepot.identity.certificates import Certificates

            certificates = Certificates(
                field=auth.certificate.field,
                pattern=auth.certificate.pattern,
                adopt=directory.adopt,
                now=now,
                metrics=self._metrics,
            )
            authenticator = Several([self._passwords, certificates])
        return authenticator

    def _sources(self, directory: Directory) -> list[Source]:
        auth = self._config.auth
        found: list[Source] = [] if self.workloads is None else [self.workloads]
        if auth.local is not None:
            from entrepot.identity.local import Local

            rehash = open_users(self._config, self._index, trail=self._trail).rehash
            found.append(Local(directory, open_argon2(self._config), rehash=rehash))
        if auth.htpasswd is not None:
            roles = roles_of(self._config)
            found.append(Htpasswd(Path(auth.htpasswd.path), roles=roles, adopt=directory.adopt))
        if auth.ldap is not None:
            from entrepot.app.ldap import open_ldap

            found.append(open_ldap(auth.ldap, directory.adopt))
        return found

    def _guard(self) -> Guard:
        limits = self._config.auth.limits
        lockouts = Lockouts(self._index, now=now, trail=self._trail)

        def rule(attempts: int) -> Rule:
            return Rule(attempts, limits.delay, limits.maxdelay, limits.memory)

        return Guard(
            Tally(find=lockouts.find, add=lockouts.add, clear=lockouts.clear),
            account=rule(limits.attempts),
            address=rule(limits.addressattempts),
            now=now,
            metrics=self._metrics,
        )


def limiter(config: Config, shared: Path) -> Callable[[Authenticator], Authenticator]:
    """Return what makes an authenticator let only so many requests of one identity through, if that
    is configured. They are counted in the directory `shared`, by all processes of the server.
    """
    limits = config.auth.limits
    if not limits.requests:
        return lambda authenticator: authenticator
    rates = Rates(shared / "requests.rates", rate=limits.requests, burst=limits.burst)
    return lambda authenticator: RateLimited(authenticator, rates)


def _realm(config: Config) -> str:
    if config.auth.local is not None:
        return config.auth.local.realm
    return config.auth.htpasswd.realm if config.auth.htpasswd is not None else "Entrepot"
