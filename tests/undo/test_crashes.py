"""A deletion, or a restoration, that is killed: everything is there or in the trash, no tag without
its image, and whoever asks for the same again gets the rest.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from entrepot.core.digest import Digest
from entrepot.services.trash import Selection, list_trash
from tests.servers import wait_until
from tests.undo.steps import OPERATION, main
from tests.unit.services.test_trash import Content, content, site_in
from tests.wire import images

IMAGES = 60


def killed(what: str, directory: Path, *, below: int, above: int) -> None:
    """Let another process begin, and kill it when the trash holds neither much nor little; or find
    that it was faster.
    """
    words = [sys.executable, "-m", "tests.undo.steps", what, str(directory)]
    with subprocess.Popen(words) as process:

        def amid() -> bool:
            if process.poll() is not None:
                return True
            return above < asyncio.run(in_trash(directory)) < below

        wait_until(amid, seconds=60, what="some steps")
        process.kill()


async def in_trash(directory: Path) -> int:
    site = site_in(directory)
    try:
        rows = await site.stores.index.fetch_all("SELECT COUNT(*) FROM trash", {})
        return int(rows[0][0])
    finally:
        await site.stores.index.close()


async def fill(directory: Path) -> Content:
    """Push images with two tags and a signature each."""
    site = site_in(directory)
    try:
        for number in range(IMAGES):
            made = images.image(f"crash {number}", layer_count=1)
            await site.push("a", f"v{number}", made)
            await site.put("a", f"w{number}", made)
            signature = images.artifact(f"crash {number}", subject=made.manifest)
            await site.push("a", signature.digest, signature)
        return await content(site)
    finally:
        await site.stores.index.close()


async def check(directory: Path) -> Content:
    """Make sure that everything is in one place, and tags nowhere without their images."""
    site = site_in(directory)
    try:
        found = await content(site)
        rows = await list_trash(site.stores.index, Selection(operation=OPERATION), limit=10**6)
    finally:
        await site.stores.index.close()
    thrown = [row.tag or row.digest for row in rows]
    there = [Digest.unpack(row[0]) for row in found["manifests"]]
    tags = [row[0] for row in found["tags"]]
    everything = sorted(map(str, [*thrown, *there, *tags]))
    assert len(everything) == len(set(everything)) == IMAGES * 4
    for number in range(IMAGES):
        gone = images.image(f"crash {number}", layer_count=1).digest in thrown
        assert not gone or {f"v{number}", f"w{number}"} <= set(thrown), number
    return found


@pytest.mark.timeout(300)
def test_kill_in_the_middle(tmp_path: Path) -> None:
    before = asyncio.run(fill(tmp_path))
    total = IMAGES * 4
    killed("delete", tmp_path, above=0, below=total)
    asyncio.run(check(tmp_path))
    asyncio.run(main("delete", tmp_path))
    assert asyncio.run(in_trash(tmp_path)) == total
    assert asyncio.run(check(tmp_path))["tags"] == []
    killed("restore", tmp_path, above=0, below=total)
    asyncio.run(check(tmp_path))
    if asyncio.run(in_trash(tmp_path)):
        asyncio.run(main("restore", tmp_path))
    assert asyncio.run(check(tmp_path)) == before
    assert asyncio.run(in_trash(tmp_path)) == 0
