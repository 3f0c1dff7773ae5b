"""`entrepot database move`: an index with everything in it, into PostgreSQL and back."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conformance.answers import assert_status
from tests.conformance.pushing import push, put_manifest
from tests.postgres import PASSWORD, Postgres
from tests.programs import environment, run
from tests.servers import Registry, start_registry
from tests.wire.images import artifact, image, multi_platform

pytestmark = pytest.mark.chosen_kind("from SQLite to PostgreSQL and back")

IMAGES = 6


def move(registry: Registry, to: str) -> subprocess.CompletedProcess[str]:
    return run("database", "move", "--to", to, str(registry.config_path), timeout=120)


def moves(registry: Registry) -> list[tuple[str, str]]:
    """From where to where the index was moved, as its audit log has it, which is whole."""
    known = environment(REGISTRY_CONFIGURATION_PATH=str(registry.config_path))
    found = run("audit", "search", "--action", "database", "--output", "json", env=known)
    assert found.returncode == 0, found.stderr
    verified = run("audit", "verify", env=known)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    events = json.loads(found.stdout)
    assert all(event["actor"].endswith(" on the host") for event in events)
    details = [json.loads(event["detail"]) for event in events]
    assert all(detail["rows"] > IMAGES for detail in details)
    targets = (event["target"] for event in events)
    return list(zip((detail["source"] for detail in details), targets, strict=True))


def fill(registry: Registry) -> None:
    with httpx.Client(base_url=registry.url, timeout=30) as http:
        for number in range(IMAGES):
            push(http, f"team/app-{number}", image(f"move {number}"), tag="1")
        push(http, "team/all", multi_platform("move"), tag="latest")
        subject = image("move 0")
        push(http, "team/app-0", artifact("move", subject=subject.manifest))
        assert_status(put_manifest(http, "team/app-0", "moved", subject.manifest), 201)
        assert_status(http.delete("/v2/team/app-0/manifests/moved"), 202)


def shown(registry: Registry) -> list[bytes]:
    """What clients see of it."""
    with httpx.Client(base_url=registry.url, timeout=30) as http:
        seen = [http.get("/v2/_catalog").content]
        for name in [*(f"team/app-{number}" for number in range(IMAGES)), "team/all"]:
            for tag in http.get(f"/v2/{name}/tags/list").raise_for_status().json()["tags"]:
                answer = http.get(f"/v2/{name}/manifests/{tag}").raise_for_status()
                seen.append(answer.content)
                digest = answer.headers["Docker-Content-Digest"]
                seen.append(http.get(f"/v2/{name}/referrers/{digest}").raise_for_status().content)
        return seen


def test_to_postgresql_and_back(postgres: Postgres, tmp_path: Path) -> None:
    url, root = postgres.empty_database(), tmp_path / "shared"
    storage = {"filesystem": {"rootdirectory": str(root)}}
    with start_registry(tmp_path / "a", config={"storage": storage}) as registry:
        fill(registry)
        before = shown(registry)
        moved = move(registry, url)  # while it serves
        assert moved.returncode == 0, moved.stderr
        assert "every table is the same" in moved.stdout
        assert shown(registry) == before
    ((kept,),) = postgres.execute("SELECT value FROM settings WHERE key = 'index.id'", url)
    assert kept == (root / "entrepot" / "index-id").read_text().strip()  # it owns the storage
    config = {"storage": storage, "database": {"url": url}}
    there = f"127.0.0.1:{urlsplit(url).port}{urlsplit(url).path}"
    first = (str(root / "entrepot" / "index.sqlite3"), there)
    with start_registry(tmp_path / "b", config=config) as registry:
        assert shown(registry) == before
        assert moves(registry) == [first]
        with httpx.Client(base_url=registry.url, timeout=30) as http:
            push(http, "team/new", image("after the move"), tag="1")
        file = f"sqlite:///{tmp_path / 'back.sqlite3'}"
        back = move(registry, file)
        assert back.returncode == 0, back.stderr
        after = shown(registry)
    config = {"storage": storage, "database": {"url": file}}
    with start_registry(tmp_path / "c", config=config) as registry:
        assert shown(registry) == after
        with httpx.Client(base_url=registry.url, timeout=30) as http:
            push(http, "team/newer", image("and back"), tag="1")
        assert moves(registry) == [(there, str(tmp_path / "back.sqlite3")), first]


def test_a_filled_target_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.empty_database()
    with start_registry(tmp_path / "a") as registry:
        fill(registry)
        assert move(registry, url).returncode == 0
        again = move(registry, url)
    assert again.returncode == 1
    assert "give an empty one" in again.stderr
    assert PASSWORD not in again.stderr
    assert "Traceback" not in again.stderr


def interrupt(registry: Registry, to: str, *, at: str) -> None:
    """Begin to move, and kill the command when it tells of rows of a table."""
    command = [sys.executable, "-m", "entrepot", "database", "move", "--to", to]
    moving = subprocess.Popen(
        [*command, str(registry.config_path)], stderr=subprocess.PIPE, text=True
    )
    assert moving.stderr is not None
    for line in moving.stderr:
        if line.startswith(f"{at}:"):
            moving.send_signal(signal.SIGKILL)
            break
    moving.wait(60)
    moving.stderr.close()


def index_of(registry: Registry) -> str:
    return f"sqlite:///{registry.root}/entrepot/index.sqlite3"


def count_manifests(postgres: Postgres, address: str) -> int:
    """How many are in an index."""
    statement = "SELECT count(*) FROM manifests"
    if address.startswith("postgresql:"):
        return int(postgres.execute(statement, address)[0][0])
    with closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as connection:
        return int(connection.execute(statement).fetchone()[0])


@pytest.mark.parametrize("at", ["repositories", "manifests"])
@pytest.mark.parametrize("back", [False, True], ids=["to PostgreSQL", "to SQLite"])
def test_an_interrupted_move_left_nothing(
    postgres: Postgres, tmp_path: Path, at: str, back: bool
) -> None:
    """Killed at any moment it can be repeated, and the source was never touched."""
    config = {"database": {"url": postgres.empty_database()}} if back else {}
    with start_registry(tmp_path / "a", config=config) as registry:
        fill(registry)
        before = shown(registry)
        every = count_manifests(postgres, config["database"]["url"] if back else index_of(registry))
        moved, tries, to = every, 0, ""
        while moved == every and tries < 20:  # it may be quicker than the signal
            tries += 1
            to = f"sqlite:///{tmp_path}/moved-{tries}" if back else postgres.empty_database()
            interrupt(registry, to, at=at)
            moved = count_manifests(postgres, to)
        assert moved == 0
        assert shown(registry) == before
        again = move(registry, to)
        assert again.returncode == 0, again.stderr
        assert "every table is the same" in again.stdout
    assert count_manifests(postgres, to) >= IMAGES


def test_a_target_that_cannot_be_reached(registry: Registry, tmp_path: Path) -> None:
    missing = move(registry, f"postgresql://registry:{PASSWORD}@127.0.0.1:1/none")
    assert missing.returncode == 1
    assert "127.0.0.1:1" in missing.stderr
    assert PASSWORD not in missing.stderr
    same = move(registry, f"sqlite:///{registry.root}/entrepot/index.sqlite3")
    assert same.returncode == 1
    assert "there already" in same.stderr
    wrong = move(registry, "mysql://127.0.0.1/x")
    assert wrong.returncode == 2
    assert "expected postgresql://" in wrong.stderr
