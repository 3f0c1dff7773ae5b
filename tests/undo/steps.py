"""Deletes a repository or restores it, in many small steps; killed by a test in between."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from entrepot.core.audit import NOBODY
from entrepot.core.names import RepositoryName
from entrepot.services import deletion, trash
from tests.unit.services.test_trash import site_in

REPOSITORY = RepositoryName("a")
OPERATION = "0123456789abcdef"


async def main(what: str, directory: Path) -> None:
    """Do it to the end, unless somebody kills the process."""
    for module, size in ((deletion, 2), (trash, 3)):
        setattr(module, "BATCH", size)  # noqa: B010 - steps that a test can kill between
    site = site_in(directory)
    try:
        if what == "delete":
            await deletion.delete_repository(
                site.stores, REPOSITORY, operation=OPERATION, by=NOBODY
            )
        else:
            await trash.restore(site.stores, trash.Selection(operation=OPERATION), by=NOBODY)
    finally:
        await site.stores.index.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
