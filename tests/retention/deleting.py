"""A process that does a run of retention and says when it has noted how far it is: to be killed.

python -m tests.retention.deleting INDEX NOW
"""

from __future__ import annotations

import asyncio
import sys

from entrepot.core.retention import RETENTION
from entrepot.core.work import Document
from entrepot.db.address import IndexAddress
from entrepot.services.work import Task
from tests.retention.conftest import ended, open_scene


async def main(path: str, now: int) -> None:
    async with open_scene(IndexAddress(f"sqlite://{path}")) as scene:
        scene.clock.now = now
        usual = scene.runner()._kinds[RETENTION]

        async def telling(task: Task) -> Document:
            note = task.note

            async def noted(report: Document, *, cursor: Document | None = None) -> None:
                await note(report, cursor=cursor)
                sys.stdout.write(f"{report['deleted']}\n")
                sys.stdout.flush()

            task.note = noted  # type: ignore[method-assign]
            return await usual(task)

        await ended(scene.runner(telling))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
