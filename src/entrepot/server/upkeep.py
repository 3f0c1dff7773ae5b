"""The process beside the workers that does what is done in the background.

It has nothing to do with requests, so it may be slow, and lets everything else go first. What is
done there, and by which of several nodes, is said in `entrepot.app.upkeep`.
"""

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

import structlog

from entrepot import app
from entrepot.config import Config
from entrepot.core.errors import EntrepotError
from entrepot.telemetry import configure_logging

_log = structlog.get_logger("entrepot.server")


@dataclass(frozen=True, slots=True)
class Keep:
    """What the upkeep is to do, and with what."""

    config: Config
    metrics: Path


def upkeep(given: Keep) -> int:
    """Go on until SIGTERM; return the exit status. Must run in a process of its own."""
    configure_logging(given.config.log)
    try:
        asyncio.run(_run(given))
    except EntrepotError as error:
        _log.error("the upkeep can't go on", reason=str(error))
        return 1
    return 0


async def _run(given: Keep) -> None:
    """Work until SIGTERM, and then end what was begun."""
    work = asyncio.ensure_future(app.keep_up(given.config, metrics=given.metrics))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    await asyncio.wait({work})
    if not work.cancelled():
        work.result()
