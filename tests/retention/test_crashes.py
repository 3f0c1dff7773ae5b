"""A run that is killed: whoever finds its lease ended goes on with it, and nothing else is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from entrepot.core.retention import RETENTION
from entrepot.core.work import LEASE
from tests.retention.conftest import Scene, ended
from tests.wire.images import image

pytestmark = pytest.mark.anyio

TAGS = 700
KEPT = 50


async def fill(scene: Scene, name: str) -> None:
    """Make a repository with many tags of one image, the oldest first."""
    await scene.site.push(name, "first", image(name))
    select = """
        SELECT tags.repository_id, tags.manifest_id FROM tags
        JOIN repositories ON repositories.id = tags.repository_id WHERE repositories.name = :name
    """
    row = await scene.stores.index.fetch_one(select, {"name": name})
    assert row is not None

    async def add(transaction: Any) -> None:
        values = {"repository": row[0], "manifest": row[1]}
        await transaction.execute_many(
            "INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at) "
            "VALUES (:repository, :name, :manifest, :at, :at)",
            [{**values, "name": f"t{n:03}", "at": scene.clock.now + n} for n in range(TAGS)],
        )

    await scene.stores.index.write(add)


def killed(index: Path, *, now: int, after: int) -> None:
    """Let another process begin the run, and kill it when it has noted so often how far it is."""
    words = [sys.executable, "-m", "tests.retention.deleting", str(index), str(now)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(after):
            assert process.stdout.readline()
        process.kill()


@pytest.mark.parametrize("after", [1, 3, 9])
async def test_kill_in_the_middle(scene: Scene, tmp_path: Path, after: int) -> None:
    for name in ("a", "b"):
        await fill(scene, name)
    await scene.keep("/", {"tags": "t*", "keep": [{"newest": KEPT}]}, brake=100)
    asked = await scene.runs.request(RETENTION, {}, by="test")
    killed(tmp_path / "index.sqlite3", now=scene.clock.now, after=after)
    count = {name: len(await scene.tags(name)) for name in ("a", "b")}
    assert sum(count.values()) > 2 * (KEPT + 1), "it was killed before its end"
    await ended(scene.runner())
    assert {name: len(await scene.tags(name)) for name in ("a", "b")} == count, "it has a lease"
    scene.clock.now += LEASE + 1
    await ended(scene.runner())
    run = await scene.runs.find(asked.id)
    assert (run.outcome, run.report["stopped"], run.report["ended"]) == ("success", {}, "")
    newest = ["first", *(f"t{n:03}" for n in range(TAGS - KEPT, TAGS))]
    assert (await scene.tags("a"), await scene.tags("b")) == (newest, newest)
