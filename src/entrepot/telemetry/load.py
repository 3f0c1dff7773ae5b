"""How busy a server is, by what its workers count."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from entrepot.telemetry.families import IN_FLIGHT, REQUEST_SECONDS
from entrepot.telemetry.series import read

_EVERY: Final = 0.25
"""Seconds between two looks at what the workers count, each of which takes a millisecond."""


class Load:
    """Asked again and again, says from 0 to 1 how busy the workers whose metrics are in a directory
    are: 1 is a request in each of them all the time. Half of it is what was said before. It counts
    the time that requests took which were answered between two looks, or, if these are more, those
    that go on: at a moment there may be none of many short ones. `clock` gives seconds.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._looked_at = float("-inf")
        self._busy = 0.0
        self._spent = 0.0
        """Seconds that all requests took that were answered until the last look."""

    def __call__(self) -> float:
        """Return how busy they are."""
        now = self._clock()
        if now - self._looked_at >= _EVERY:
            passed, self._looked_at = now - self._looked_at, now
            self._busy = (self._busy + self._look(passed)) / 2
        return self._busy

    def _look(self, passed: float) -> float:
        workers = requests = spent = 0.0
        for snapshot in read(self._directory):
            if snapshot.alive and snapshot.role == "worker":
                workers += 1
                for key, values in snapshot.values.items():
                    if key[0] == IN_FLIGHT.name:
                        requests += values[0]
                    elif key[0] == REQUEST_SECONDS.name:
                        spent += values[0]
        requests = max(requests, (spent - self._spent) / passed)
        self._spent = spent
        return min(1.0, requests / workers) if workers else 0.0
