"""Collecting what nobody needs: all the time, and at a stretch when somebody asks."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from entrepot.app.clocks import clock_reader, open_clock
from entrepot.app.stores import index_address, opened
from entrepot.config import Config
from entrepot.core.collected import Collected, CollectSettings
from entrepot.core.work import WorkError
from entrepot.db.opening import migrate_index
from entrepot.services.collecting import Collector, Done, Pace
from entrepot.services.ownership import find_owned_since
from entrepot.services.passing import Passes
from entrepot.services.stores import Stores
from entrepot.services.sweeping import FindOwnedSince
from entrepot.telemetry import Metrics


def open_passes(
    config: Config,
    stores: Stores,
    *,
    find_owned_since: FindOwnedSince,
    metrics: Metrics | None = None,
    busyness: Callable[[], float] = lambda: 0.0,
) -> Passes:
    """Return what carries passes of collection out in this process."""
    return Passes(
        stores,
        collect=lambda: open_collector(
            config,
            stores,
            metrics=metrics,
            find_owned_since=find_owned_since,
            busyness=busyness,
        ),
        read_time=lambda: open_clock(stores.index, stores.keeping).read_time(),
        find_owned_since=find_owned_since,
    )


async def foresee(
    config: Config, asked: CollectSettings, show: Callable[[Done], None]
) -> Collected:
    """Say what a pass would do now, beside a server that may run. `show` is given all of it.

    Raises:
        EntrepotError: the index or the storage can't be used.
    """
    if config.storage.driver == "inmemory":
        raise WorkError("with storage in memory the server alone can do this: use --url")
    await asyncio.to_thread(migrate_index, index_address(config))
    async with opened(config) as (stores, tree):
        owned = partial(find_owned_since, stores.index, tree)
        passes = open_passes(config, stores, find_owned_since=owned)
        return await passes.foresee(asked, show)


def open_collector(
    config: Config,
    stores: Stores,
    *,
    metrics: Metrics | None,
    find_owned_since: FindOwnedSince,
    owner: str = "",
    busyness: Callable[[], float] = lambda: 0.0,
) -> Collector:
    """Return a collector for this process. No two that live at the same time are the same `owner`;
    empty is one that never was.
    """
    given = config.lifecycle.collection
    return Collector(
        stores,
        owner=owner or f"{socket.gethostname()} {uuid4().hex}",
        read_clocks=clock_reader(),
        find_owned_since=find_owned_since,
        metrics=metrics,
        pace=Pace(batch=given.batch, rate=given.rate, most=given.maxpause),
        busyness=busyness,
    )
