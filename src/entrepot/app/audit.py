"""The audit log of one process."""

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from entrepot.config import Config
from entrepot.core.audit import Record
from entrepot.core.audit_forms import ecs_line
from entrepot.db import Database
from entrepot.services.audit import Trail

_log = structlog.get_logger("entrepot.audit")


def open_trail(
    config: Config, index: Database, *, dropped: Callable[[int], None] = lambda _count: None
) -> Trail:
    """Return what records what this process does."""
    return Trail(
        index,
        now=_now,
        node=socket.gethostname(),
        ship=_shipper(config.audit.log),
        dropped=dropped,
        pulls=config.audit.pulls,
        blobs=config.audit.blobs,
    )


def _shipper(place: str) -> Callable[[Sequence[Record]], None]:
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
