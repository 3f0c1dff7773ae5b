"""What is done in the background, and how."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING, Final

from entrepot.app.clocks import open_clock
from entrepot.app.collection import open_passes
from entrepot.app.stores import index_address, opened
from entrepot.config import Config, ConfigError, Problem
from entrepot.config.schema_lifecycle import Peer
from entrepot.core.collected import COLLECT
from entrepot.core.retention import RETENTION
from entrepot.core.work import CHECK, FORMS, RECOUNT, Document, Run, WorkError
from entrepot.db.opening import migrate_index
from entrepot.services.comparing import Comparer
from entrepot.services.ownership import find_owned_since
from entrepot.services.recounting import Recounter
from entrepot.services.repairing import Repairs
from entrepot.services.retaining import Retainer
from entrepot.services.runs import Runs
from entrepot.services.scrubbing import Scrubber
from entrepot.services.stores import Stores
from entrepot.services.sweeping import FindOwnedSince
from entrepot.services.uploads import Uploads
from entrepot.services.work import Does, Runner
from entrepot.telemetry import Metrics

if TYPE_CHECKING:
    from entrepot.upstream.client import Upstream

_LOOK_EVERY: Final = 0.5
"""Seconds between two looks at what is waited for."""


def open_runner(
    config: Config,
    stores: Stores,
    *,
    find_owned_since: FindOwnedSince,
    metrics: Metrics | None = None,
    busyness: Callable[[], float] = lambda: 0.0,
) -> Runner:
    """Return what does background work in this process. `find_owned_since` says since when the
    store has been the index's own, `busyness` from 0 to 1 how busy the server is.
    """
    clock = open_clock(stores.index, stores.keeping)

    async def tell_time() -> int:
        clock.forget()  # others tell the time as well
        return await clock.tell_time()

    retainer = Retainer(stores, tell_time=tell_time, metrics=metrics)

    def open_scrubber() -> Scrubber:
        return Scrubber(
            stores,
            rate=config.lifecycle.scrub.rate,
            repairs=_repairs(config, stores),
            observe=(lambda _condition, _read: None) if metrics is None else metrics.scrubbed,
        )

    passes = open_passes(
        config, stores, find_owned_since=find_owned_since, metrics=metrics, busyness=busyness
    )
    comparer = Comparer(
        stores,
        scrubber=open_scrubber(),
        collect=passes.collect,
        read_time=clock.read_time,
        find_owned_since=find_owned_since,
    )
    kinds: Mapping[str, Does] = {
        CHECK: comparer.run,
        COLLECT: passes.run,
        RECOUNT: Recounter(stores).run,
        RETENTION: retainer.run,
        "scrub": open_scrubber().run,
    }
    return Runner(
        stores.index,
        now=stores.now,
        trail=stores.trail,
        kinds=kinds,
        node=socket.gethostname(),
        counted=(lambda _kind, _outcome, _now: None) if metrics is None else metrics.run_ended,
    )


def _repairs(config: Config, stores: Stores) -> Repairs:
    def connect() -> "Sequence[Upstream]":
        return [_peer(config, peer) for peer in config.lifecycle.scrub.peers]

    return Repairs(stores, Uploads(stores, key=token_bytes(32)), connect=connect)


def _peer(config: Config, peer: Peer) -> "Upstream":
    from entrepot.upstream import Credentials, TlsOptions, UpstreamAddress, UpstreamOptions
    from entrepot.upstream.client import Upstream

    credentials = Credentials(peer.username, _password(peer)) if peer.username else None
    options = UpstreamOptions(
        credentials=credentials,
        tls=TlsOptions(ca=Path(peer.ca) if peer.ca else None, insecure=peer.insecure),
        attempts=3,
        manifest_size=config.http.limits.manifestsize,
    )
    return Upstream(UpstreamAddress.parse(peer.url), options)


def _password(peer: Peer) -> str:
    if not peer.passwordfile:
        return peer.password
    try:
        with Path(peer.passwordfile).open(encoding="utf-8") as file:
            return file.readline(4096).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            [Problem(f"lifecycle.scrub.peers: {peer.url}: passwordfile: {error}")]
        ) from error


# Beside the servers -----------------------------------------------------------------------------


async def carry_out(
    config: Config, kind: str, settings: Document, *, by: str, tell: Callable[[Run], None]
) -> Run:
    """Have something done, and return what came of it: by a server if one shows that it does such
    work, else here. `tell` is given the run now and then.

    Raises:
        EntrepotError: it can't be asked for, or the index can't be used.
    """
    if config.storage.driver == "inmemory":
        raise WorkError("with storage in memory the server alone can do this: use --url")
    await asyncio.to_thread(migrate_index, index_address(config))
    async with opened(config) as (stores, tree):
        runs = Runs(stores.index, now=stores.now, trail=stores.trail, kinds=FORMS)
        owned = partial(find_owned_since, stores.index, tree)
        runner = open_runner(config, stores, find_owned_since=owned)
        run = await runs.request(kind, settings, by=by)
        try:
            while run.finished_at is None:
                if await runs.attendant() is None:
                    await runner.take(kind)
                await asyncio.sleep(_LOOK_EVERY)
                run = await runs.find(run.id)
                tell(run)
        finally:
            await runner.stop()
        return run
