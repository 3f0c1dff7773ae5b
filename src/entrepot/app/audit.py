"""The audit log of one process."""

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import structlog

from entrepot.config import Config
from entrepot.core.audit import REGISTRY, Record, event
from entrepot.core.audit_forms import ecs_line
from entrepot.db import Database, Transaction
from entrepot.db.checkpoints import find_oldest_audit_event
from entrepot.db.settings import ensure_setting
from entrepot.services.audit import Notes, Trail
from entrepot.services.maintenance import Chore
from entrepot.telemetry import Metrics

if TYPE_CHECKING:
    from entrepot.services.checkpoints import Checkpoints

_SECOND = 1_000_000
_PRUNE_EVERY = 600.0
"""Seconds after which some of what is too old is deleted."""

_log = structlog.get_logger("entrepot.audit")


def open_trail(config: Config, index: Database, *, metrics: Metrics | None = None) -> Trail:
    """Return what records what this process does, and counts it."""
    ship = shipper(config.audit.log)

    def committed(records: Sequence[Record]) -> None:
        ship(records)
        if metrics is not None:
            for record in records:
                metrics.audit_events(record.outcome)

    def dropped(count: int) -> None:
        if metrics is not None:
            metrics.audit_events("dropped", count)

    return Trail(
        index,
        now=_now,
        node=socket.gethostname(),
        ship=committed,
        dropped=dropped,
        pulls=config.audit.pulls,
        blobs=config.audit.blobs,
    )


def open_checkpoints(
    config: Config, index: Database, *, trail: Trail, secret: str
) -> "Checkpoints":
    """Return what signs and verifies checkpoints of the audit log."""
    from entrepot.services.checkpoints import Checkpoints

    keep = int(config.audit.keep * _SECOND) or None
    return Checkpoints(index, trail=trail, secret=secret.encode(), now=_now, keep=keep)


async def verifier(config: Config, index: Database, trail: Trail) -> "Checkpoints":
    """Return what verifies the audit log."""
    secret = config.http.secret or await shared_secret(trail)
    return open_checkpoints(config, index, trail=trail, secret=secret)


async def shared_secret(trail: Trail) -> str:
    """Return the secret of every process on an index where none is configured."""
    new = token_hex(32)

    async def work(transaction: Transaction, notes: Notes) -> str:
        secret = await ensure_setting(transaction, "http.secret", default=new)
        if secret == new:
            notes.add(event("key.create", target="http.secret", purpose="seals the others"))
        return secret

    return await trail.write(work, by=REGISTRY)


def audit_chores(config: Config, index: Database, *, trail: Trail, secret: str) -> list[Chore]:
    """Return what is done for the audit log from time to time. Cryptography is loaded when there is
    something to sign.
    """
    opened: list[Checkpoints] = []

    async def checkpoints() -> "Checkpoints | None":
        if not opened and await find_oldest_audit_event(index) is not None:
            opened.append(open_checkpoints(config, index, trail=trail, secret=secret))
        return opened[0] if opened else None

    async def sign() -> None:
        found = await checkpoints()
        if found is not None:
            await found.sign()

    async def prune() -> None:
        found = await checkpoints()
        if found is not None:
            await found.prune()

    return [Chore(config.audit.checkpoints, sign), Chore(_PRUNE_EVERY, prune)]


def shipper(place: str) -> Callable[[Sequence[Record]], None]:
    """Return what writes records to a file or standard output as well. The file is opened each
    time, so that it may be renamed; what can't be written there is in the index all the same.
    """
    if not place:
        return lambda _records: None

    def ship(records: Sequence[Record]) -> None:
        lines = b"".join(map(ecs_line, records))
        try:
            if place == "stdout":
                os.write(sys.stdout.fileno(), lines)
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            file = os.open(Path(place), flags, 0o640)
            try:
                os.write(file, lines)
            finally:
                os.close(file)
        except OSError as error:
            _log.error("audit events can't be written beside the index", path=place, error=error)

    return ship


def _now() -> int:
    return time.time_ns() // 1000
