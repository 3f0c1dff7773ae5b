"""Schedules and runs as people and scripts ask for them: on the host, and over the API."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.api.test_description import LOCAL, PASSWORD
from tests.servers import Registry, start_registry, wait_until
from tests.work.conftest import Run, told


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    root = tmp_path_factory.mktemp("work") / "registry"
    with start_registry(root, config=LOCAL, workers=1) as running:
        yield running


@pytest.fixture
def place(run: Run, registry: Registry) -> list[str]:
    """The options for a registry in which the administrator is logged in."""
    done = run("login", registry.url, "-u", "admin", "--password-stdin", text=PASSWORD)
    assert done.returncode == 0, done.stderr
    return ["--url", registry.url]


def test_a_schedule_from_first_to_last(run: Run, registry: Registry, place: list[str]) -> None:
    words = ("--kind", "scrub", "--cron", "30 3 * * sun", "--timezone", "Europe/Berlin")
    more = ("--jitter", "10m", "--setting", "rate=1000", *place, "-o", "json")
    made = told(run("schedule", "set", "weekly", *words, *more))
    assert (made["cron"], made["timezone"]) == ("30 3 * * sun", "Europe/Berlin")
    assert (made["jitter"], made["settings"]) == (600, {"rate": 1000})
    assert made["next_at"] is not None
    listed = run("schedule", "list", *place)
    assert "weekly" in listed.stdout
    assert "rate: 1000" in listed.stdout
    assert run("schedule", "list", "--config", registry.config_path).stdout == listed.stdout
    assert told(run("schedule", "disable", "weekly", *place, "-o", "json"))["next_at"] is None
    assert told(run("schedule", "enable", "weekly", *place, "-o", "json"))["enabled"]
    assert run("schedule", "remove", "weekly", *place).returncode == 0
    assert told(run("schedule", "list", *place, "-o", "json")) == []
    again = run("schedule", "remove", "weekly", *place)
    assert (again.returncode, again.stderr) == (1, "there is no schedule weekly\n")


@pytest.mark.parametrize(
    "words, says",
    [
        (("--cron", "0 24 * * *"), "column 3: '24' is no hour"),
        (("--cron", "@daily", "--jitter", "x"), "'x' is not a time"),
        (("--cron", "@daily", "--setting", "rate"), "write KEY=VALUE"),
        (("--cron", "@daily", "--setting", "rate=fast"), "$.rate"),
    ],
)
def test_what_is_wrong_is_said(
    run: Run, registry: Registry, words: tuple[str, ...], says: str
) -> None:
    config = ("--config", registry.config_path)
    done = run("schedule", "set", "odd", "--kind", "scrub", *words, *config)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_what_was_asked_for_is_done_and_remembered(run: Run, place: list[str]) -> None:
    asked = told(run("scrub", "--rate", "1G", "--no-wait", *place, "-o", "json"))
    assert asked["outcome"] in {"waiting", "running", "success"}
    done = told(run("scrub", "--rate", "1G", *place, "-o", "json"))
    assert (done["outcome"], done["kind"]) == ("success", "scrub")
    assert done["id"] >= asked["id"]


def test_pages_of_runs_and_what_is_not_there(registry: Registry, run: Run) -> None:
    with httpx.Client(base_url=f"{registry.url}/api/v1", auth=("admin", PASSWORD)) as http:
        for number in range(3):
            made = http.post("/runs", json={"kind": "scrub", "settings": {"rate": 9 + number}})
            assert made.status_code == 201, made.text
        first = http.get("/runs", params={"kind": "scrub", "limit": 2}).json()
        following = http.get(registry.url + first["next"]).json()
        seen = [item["id"] for page in (first, following) for item in page["items"]]
        assert seen == sorted(seen, reverse=True)
        assert len(seen) == len(set(seen)) >= 3
        assert http.get("/runs", params={"after": "x"}).status_code == 400
        assert http.get("/runs/999999").status_code == 404
        assert http.get("/schedules/none").status_code == 404
        assert http.post("/runs", json={"kind": "nap"}).status_code == 400
    done = run("scrub", "--rate", "much", "--config", registry.config_path)
    assert "'much' is no number of bytes" in done.stderr


def test_a_schedule_that_was_missed_runs_after_the_start(tmp_path: Path, run: Run) -> None:
    """A server that was down when it was due begins it once, as soon as it runs."""
    with start_registry(tmp_path / "registry", workers=2) as registry:
        place = ("--config", registry.config_path)
        words = ("--kind", "scrub", "--cron", "@yearly", *place)
        assert run("schedule", "set", "yearly", *words).returncode == 0
        registry.stop()
        with closing(sqlite3.connect(registry.root / "entrepot/index.sqlite3")) as index:
            index.execute("UPDATE schedules SET next_at = 1")
            index.commit()
        registry.start()
        done = run("scrub", *place, "-o", "json")
        assert told(done)["outcome"] == "success"

        def causes() -> list[tuple[str, str]]:
            with closing(sqlite3.connect(registry.root / "entrepot/index.sqlite3")) as index:
                return index.execute("SELECT cause, outcome FROM runs").fetchall()

        wait_until(lambda: ("schedule yearly", "success") in causes(), what="the missed run")
        assert len(causes()) == 2
