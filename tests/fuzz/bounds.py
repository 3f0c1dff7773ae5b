"""How much is tried: the same cases every time unless the environment asks for others.

`ENTREPOT_FUZZ_SEED` (a number) chooses other cases of the fuzz run, `ENTREPOT_FUZZ_ROUNDS` how many
batches it has, `ENTREPOT_FUZZ_EXAMPLES` how many examples each property is tried with.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

SEED: Final = int(os.environ.get("ENTREPOT_FUZZ_SEED", "20240101"))
ROUNDS: Final = int(os.environ.get("ENTREPOT_FUZZ_ROUNDS", "12"))
BATCH: Final = 200
"""Requests after which the server must show that it is alive."""

BOUNDED: Final = settings(
    derandomize="ENTREPOT_FUZZ_SEED" not in os.environ,
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("ENTREPOT_FUZZ_EXAMPLES", "60")),
)
