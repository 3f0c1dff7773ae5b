"""What the command line says about a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """`seconds` of load per read workload; the others' counts follow it. `round` is from 1."""

    round: int = 1
    seconds: float = 5.0

    def times(self, at_five_seconds: int) -> int:
        """How often to do something that is done so often in a run with 5 seconds per workload."""
        return max(1, round(at_five_seconds * self.seconds / 5.0))
