"""The clocks of this machine, and the time by which content goes."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_hex

from entrepot.core.keeping import Keeping
from entrepot.core.timekeeping import Reading
from entrepot.db import Database
from entrepot.services.timekeeping import Clock


def open_clock(index: Database, keeping: Keeping) -> Clock:
    """Return what tells the time by which content goes."""
    return Clock(index, keeping, clock_reader())


def clock_reader() -> Callable[[], Reading]:
    """Return what reads the clock that can be set, and the one that counts since the start of the
    machine, also while it sleeps.
    """
    return partial(_read, boot())


def boot() -> str:
    """Return what names this run of the machine, or something new if nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return token_hex(16)


def _read(machine: str) -> Reading:
    ran = time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    return Reading(time.time_ns() // 1000, ran // 1000, machine)
