"""What is done in the background, and how."""

import socket
from collections.abc import Mapping

from entrepot.core.retention import RETENTION
from entrepot.services.retaining import Retainer
from entrepot.services.stores import Stores
from entrepot.services.work import Does, Runner
from entrepot.telemetry import Metrics


def kinds(stores: Stores, *, metrics: Metrics | None = None) -> Mapping[str, Does]:
    """Return how each kind of work is done."""

    async def tell_time() -> int:
        return stores.now()

    return {RETENTION: Retainer(stores, tell_time=tell_time, metrics=metrics).run}


def open_runner(stores: Stores, *, metrics: Metrics | None = None) -> Runner:
    """Return what does background work in this process."""
    return Runner(
        stores.index,
        now=stores.now,
        trail=stores.trail,
        kinds=kinds(stores, metrics=metrics),
        node=socket.gethostname(),
        counted=(lambda _kind, _outcome, _now: None) if metrics is None else metrics.run_ended,
    )
