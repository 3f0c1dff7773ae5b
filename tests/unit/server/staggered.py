"""`python -m tests.unit.server.staggered CONFIG FOLDER`: a server whose second worker waits.

The second worker that is built waits for the lock on FOLDER/lock and can't serve then, as if the
database had gone away meanwhile. Those that are built later can.
"""

from __future__ import annotations

import dataclasses
import fcntl
import itertools
import os
import sys
from contextlib import suppress
from pathlib import Path

from entrepot.config import load
from entrepot.core.errors import UnreachableError
from entrepot.server.lifespan import Application
from entrepot.server.plan import Plan, make_plan
from entrepot.server.supervisor import Supervisor


class Staggered(Plan):
    """A plan whose second worker can't serve."""

    def build(self) -> Application:
        folder = Path(sys.argv[2])
        for number in itertools.count():
            with suppress(FileExistsError):
                (folder / f"built-{number}").mkdir()
                break
        if number == 1:
            with (folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
            raise UnreachableError("gone")
        return super().build()


plan = make_plan(load(Path(sys.argv[1]), os.environ).config)
values = {each.name: getattr(plan, each.name) for each in dataclasses.fields(plan)}
sys.exit(Supervisor(Staggered(**values)).run())
