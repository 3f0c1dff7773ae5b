"""What is done in the background, and how."""

import socket
from collections.abc import Mapping

from entrepot.services.stores import Stores
from entrepot.services.work import Does, Runner
from entrepot.telemetry import Metrics

KINDS: Mapping[str, Does] = {}
"""How each kind of work is done."""


def open_runner(stores: Stores, *, metrics: Metrics | None = None) -> Runner:
    """Return what does background work in this process."""
    return Runner(
        stores.index,
        now=stores.now,
        trail=stores.trail,
        kinds=KINDS,
        node=socket.gethostname(),
        counted=(lambda _kind, _outcome, _now: None) if metrics is None else metrics.run_ended,
    )
