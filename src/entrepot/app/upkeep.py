"""What is done in the background: by a process beside the workers, or, with storage in memory, by
the only worker.
"""

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from entrepot.app.audit import audit_chores
from entrepot.app.clocks import boot
from entrepot.app.collection import open_collector
from entrepot.app.preparing import upload_secret
from entrepot.app.quotas import quota_chores
from entrepot.app.stores import open_stores, own_directory, tree_of
from entrepot.app.work import open_runner
from entrepot.config import Config
from entrepot.services.maintenance import Chore, Upkeep
from entrepot.services.ownership import find_owned_since
from entrepot.services.stores import Stores
from entrepot.services.sweeping import FindOwnedSince
from entrepot.services.tag_history import forget_old_history
from entrepot.telemetry import Load, Metrics

_THREADS: Final = 4
"""Threads that wait for the disk."""

_NICE: Final = 19

_FORGET_EVERY: Final = 600.0
"""Seconds after which some of the history of tags that is too old is deleted."""


async def keep_up(config: Config, *, metrics: Path) -> None:
    """Do what is done in the background, until cancelled. `metrics` is shared by all processes of
    the server.

    Raises:
        EntrepotError: the stores can't be opened.
    """
    counting = Metrics(metrics, of="upkeep")
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as threads:
        opened = open_stores(config, threads, counting, aside=True)
        _be_nice()
        try:
            secret = config.http.secret or await upload_secret(opened.stores)
            tree = tree_of(config, opened.objects, threads)
            place = own_directory(config) or metrics
            upkeep = upkeep_of(
                config,
                opened.stores,
                secret=secret,
                lock=place / "upkeep.lock",
                metrics=counting,
                find_owned_since=lambda: find_owned_since(opened.stores.index, tree),
                busyness=Load(metrics),
            )
            await upkeep.run()
        finally:
            await opened.close()
            counting.close()


def _be_nice() -> None:
    """Let everything else go first, but not while a transaction is under way, for whose end others
    wait: Linux counts niceness by thread, and the thread that writes to the index runs already.
    """
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def upkeep_of(
    config: Config,
    stores: Stores,
    *,
    secret: str,
    lock: Path,
    metrics: Metrics,
    find_owned_since: FindOwnedSince,
    busyness: Callable[[], float],
) -> Upkeep:
    """Return everything that is done in the background. `lock` is a file by which the processes of
    one machine agree on one that does what each machine has to do; of a cluster one collects.
    """
    purging = config.storage.maintenance.uploadpurging
    runner = open_runner(
        config, stores, find_owned_since=find_owned_since, metrics=metrics, busyness=busyness
    )
    beside = [runner.run]
    if config.lifecycle.collection.enabled:
        collector = open_collector(
            config,
            stores,
            metrics=metrics,
            find_owned_since=find_owned_since,
            # Whoever has the lock is the only one: after a crash the next need not wait.
            owner=f"{socket.gethostname()} {boot()} {lock.resolve()}",
            busyness=busyness,
        )
        beside.append(collector.run)
    return Upkeep(
        stores=stores,
        lock=lock,
        purge_every=purging.interval if purging.enabled else None,
        purge_age=purging.age,
        purge_dry_run=purging.dryrun,
        metrics=metrics,
        chores=[
            *audit_chores(config, stores.index, trail=stores.trail, secret=secret),
            *quota_chores(stores, metrics=metrics),
            Chore(_FORGET_EVERY, partial(forget_old_history, stores)),
        ],
        beside=beside,
    )
