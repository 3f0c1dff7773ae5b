"""A configuration becomes an application for one process."""

import asyncio
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from entrepot.api.asgi import Application
from entrepot.api.context import Context, Limits
from entrepot.api.http import Headers, Request
from entrepot.api.links import Links
from entrepot.api.logins import Logins
from entrepot.api.origins import Origins
from entrepot.api.routes import TABLE, Router
from entrepot.app.accounts import administration, ensure_administrator
from entrepot.app.audit import open_trail
from entrepot.app.authentication import Authentication, limiter
from entrepot.app.browsers import open_browser, page_routes
from entrepot.app.preparing import upload_secret
from entrepot.app.rights import access_rules
from entrepot.app.stores import (
    THREADS,
    OpenStores,
    keeping_of,
    now,
    open_stores,
    tree_of,
)
from entrepot.app.tokens import challenges_of, open_tokens
from entrepot.app.upkeep import upkeep_of
from entrepot.config import Config
from entrepot.core.access import Action
from entrepot.db.address import IndexAddress
from entrepot.db.opening import migrate_index, open_index
from entrepot.health import HealthBoard
from entrepot.services.access import Access as Rights
from entrepot.services.imports import find_past, take_part
from entrepot.services.layout import Layout
from entrepot.services.push import ManifestRules
from entrepot.services.stores import Stores
from entrepot.services.uploads import Uploads
from entrepot.storage.memory import MemoryStore
from entrepot.telemetry import Access, AccessLog, Load, Metrics


def build(config: Config, *, health: HealthBoard, metrics: Path) -> Application:
    """Return the registry that `config` describes, as an ASGI application for one process.

    `health` is shared by all processes of the server, and so is the directory `metrics`.
    """
    runtime = _Runtime(config, health, shared=metrics)
    return Application(
        router=Router((*TABLE, *page_routes(config)), prefix=config.http.path_prefix),
        metrics=runtime.metrics,
        refused=_refused(config),
        headers=_headers(config),
        access_log=runtime.log_access if runtime.access else None,
        startup=runtime.start,
        shutdown=runtime.stop,
    )


class _Runtime:
    """What lives as long as a worker."""

    def __init__(self, config: Config, health: HealthBoard, *, shared: Path) -> None:
        self._config = config
        self._health = health
        self._shared = shared
        self.metrics = Metrics(shared)
        self.access = None if config.log.accesslog.disabled else AccessLog(config.log)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")
        self._temporary: Path | None = None
        self._opened: OpenStores | None = None
        self._authentication: Authentication | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._takeover: asyncio.Task[None] | None = None
        self._noting: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None

    async def start(self) -> Context:
        """Open the stores in the running event loop."""
        config = self._config
        stores = await self._with_past(self._stores())
        self._noting = asyncio.create_task(stores.trail.run())
        self._counting = asyncio.create_task(stores.pulls.run(stores.index, stores.now))
        self._authentication = await self._authenticate(stores)
        secret = config.http.secret or await upload_secret(stores)
        uploads = Uploads(stores, key=secret.encode())
        if self._temporary is not None and not config.storage.maintenance.readonly.enabled:
            self._keep_up(stores, secret, self._temporary)
        links = Links(
            host=config.http.host,
            prefix=config.http.path_prefix,
            relative=config.http.relativeurls,
        )
        access = _rights(config, stores, self._authentication)
        limit = limiter(config, self._shared)
        endpoint, authenticator = open_tokens(
            config,
            stores,
            self._authentication,
            secret=secret,
            access=access,
            limit=limit,
            shared=self._shared,
            metrics=self.metrics,
        )
        return Context(
            authenticator=limit(authenticator),
            access=access,
            accounts=administration(
                config,
                stores.index,
                access=access,
                trail=stores.trail,
                limited=stores.limits.changed,
            ),
            origins=_origins(config),
            stores=stores,
            uploads=uploads,
            links=links,
            limits=_limits(config),
            rules=manifest_rules(config),
            accelerate=config.http.accelprefix if config.http.accel else None,
            health=self._health,
            metrics=self.metrics,
            logins=Logins(stores.trail),
            challenges=challenges_of(config, links),
            tokens=endpoint,
            browser=open_browser(
                config,
                stores,
                self._authentication,
                secret=secret,
                shared=self._shared,
                limit=limit,
            ),
        )

    async def stop(self) -> None:
        """Finish what was begun, and close the stores."""
        for task in (self._takeover, self._upkeep, self._counting, self._noting):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        if self._authentication is not None:
            await self._authentication.stop()
        if self._opened is not None:
            await self._opened.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
        self._threads.shutdown()
        if self.access is not None:
            self.access.close()
        self.metrics.close()

    async def _authenticate(self, stores: Stores) -> Authentication:
        if self._config.storage.driver == "inmemory":
            await ensure_administrator(self._config, stores.index)
        return Authentication(self._config, stores, self.metrics)

    def log_access(self, request: Request, status: int, seconds: float, sent: int) -> None:
        """Write a line of the access log, if there is one."""
        if self.access is None:
            return
        self.access.access(
            Access(
                client=request.address or request.client,
                method=request.method,
                path=request.path,
                query=request.scope["query_string"].decode("latin-1"),
                protocol=request.scope["http_version"],
                status=status,
                request_bytes=request.received,
                response_bytes=sent,
                seconds=seconds,
                request_id=request.id,
                user=request.actor or "",
                user_agent=request.header(b"user-agent") or "",
                referer=request.header(b"referer") or "",
            )
        )

    def _stores(self) -> Stores:
        if self._config.storage.driver == "inmemory":
            return self._in_memory()
        self._opened = open_stores(self._config, self._threads, self.metrics)
        return self._opened.stores

    def _in_memory(self) -> Stores:
        self._temporary = Path(tempfile.mkdtemp(prefix="entrepot-index-"))
        address = IndexAddress(f"sqlite://{self._temporary / 'index.sqlite3'}")
        migrate_index(address)
        memory = MemoryStore()
        index = open_index(address, durable=False, committed=self.metrics.index_commit)
        trail = open_trail(self._config, index, metrics=self.metrics)
        stores = Stores(index, memory, memory, now, trail, keeping=keeping_of(self._config))
        self._opened = OpenStores(stores, None)
        return stores

    async def _with_past(self, stores: Stores) -> Stores:
        """Take part in a takeover of what `registry:2` left here, if one is under way."""
        if self._opened is None or self._temporary is not None:
            return stores
        tree = tree_of(self._config, self._opened.objects, self._threads)
        past = await find_past(stores, Layout(tree))
        if past is not None:
            stores = replace(stores, past=past)
            self._takeover = asyncio.create_task(take_part(stores, past, self.metrics))
        return stores

    def _keep_up(self, stores: Stores, secret: str, place: Path) -> None:
        """Do here what is done in the background: nobody else has what is in memory."""

        async def always() -> int:
            return 0

        upkeep = upkeep_of(
            self._config,
            stores,
            secret=secret,
            lock=place / "upkeep.lock",
            metrics=self.metrics,
            find_owned_since=always,
            busyness=Load(self._shared),
        )
        self._upkeep = asyncio.create_task(upkeep.run())


def _limits(config: Config) -> Limits:
    limits = config.http.limits
    return Limits(
        manifest=limits.manifestsize,
        headers=limits.headersize,
        idle=limits.idletimeout,
        requests=limits.concurrency,
        catalog_page=config.catalog.maxentries,
        tags_page=config.tags.maxtags,
    )


def _rights(config: Config, stores: Stores, authentication: Authentication) -> Rights:
    """Rights, and with them what is known of accounts."""
    directory = authentication.directory
    return Rights(
        stores.index,
        now=stores.now,
        rules=access_rules(config),
        changed_elsewhere=directory.look if directory else None,
    )


def _origins(config: Config) -> Origins:
    certificate = config.auth.certificate
    if certificate is None:
        return Origins(config.http.trustedproxies)
    headers = (certificate.header, certificate.verifiedheader)
    return Origins(config.http.trustedproxies, certificate=headers)


def _refused(config: Config) -> dict[Action, str]:
    """Return the actions that the configuration rules out, with the reason."""
    if config.storage.maintenance.readonly.enabled:
        reason = "the registry is read-only for maintenance"
        return {Action.PUSH: reason, Action.DELETE: reason}
    if not config.storage.delete.enabled:
        return {Action.DELETE: "deleting is disabled by storage.delete.enabled"}
    return {}


def _headers(config: Config) -> Headers:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, values in config.http.headers.items()
        for value in values
    ]


def manifest_rules(config: Config) -> ManifestRules:
    """Return what manifests must fulfil."""
    if config.validation.disabled:
        return ManifestRules()
    urls, indexes = config.validation.manifests.urls, config.validation.manifests.indexes
    platforms = None
    if indexes.platforms != "all":
        listed = indexes.platformlist if indexes.platforms == "list" else ()
        platforms = frozenset((entry.os, entry.architecture) for entry in listed)
    return ManifestRules(
        allow=tuple(re.compile(pattern) for pattern in urls.allow),
        deny=tuple(re.compile(pattern) for pattern in urls.deny),
        platforms=platforms,
    )
