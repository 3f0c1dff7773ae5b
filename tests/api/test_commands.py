"""The commands against a registry that runs somewhere: the same words, the same output."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import programs
from tests.api.test_description import LOCAL, PASSWORD
from tests.servers import Registry, start_registry, wait_until

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with start_registry(
        tmp_path_factory.mktemp("commands") / "registry", config=LOCAL, workers=1
    ) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the program with a docker configuration of its own."""

    def start(*words: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        known = programs.environment(DOCKER_CONFIG=str(tmp_path / "docker"), **environment)
        return programs.run(*words, env=known, text=text)

    return start


@pytest.fixture
def remote(run: Run, registry: Registry) -> list[str]:
    """The options for a registry in which the administrator is logged in."""
    done = run("login", registry.url, "-u", "admin", "--password-stdin", text=PASSWORD)
    assert done.returncode == 0, done.stderr
    return ["--url", registry.url]


def test_the_same_as_on_the_host(run: Run, registry: Registry, remote: list[str]) -> None:
    """What one way makes the other shows, in the same words."""
    local = ["--config", str(registry.config_path)]
    made = run("namespace", "create", "team", "--visibility", "internal", *remote)
    assert made.stdout == "namespace team is made; it is internal\n", made.stderr
    given = run("access", "grant", "team", "--roles=developer,operator", *remote)
    assert "the roles go to the group team" in given.stdout, given.stderr
    words = ("user", "create", "ada", "--group", "team", "--no-password")
    assert run(*words, *remote).returncode == 0
    for asked in (
        ("namespace", "list"),
        ("namespace", "show", "team"),
        ("access", "list", "team"),
        ("access", "role", "list"),
        ("access", "can", "ada", "push", "team/app"),
        ("access", "can", "", "push", "team/app"),
        ("user", "list"),
        ("user", "show", "ada"),
        ("robot", "list"),
        ("token", "list", "ada"),
        ("user", "locks"),
        ("user", "show", "nobody"),
    ):
        for form in ("text", "json"):
            more = ("-o", form)
            here, there = run(*asked, *local, *more), run(*asked, *remote, *more)
            assert there.stdout == here.stdout, (asked, there.stderr)
            assert there.returncode == here.returncode
            if there.returncode == 1:
                assert there.stderr == here.stderr == "there is no user nobody\n"


def test_the_audit_log_as_on_the_host(run: Run, registry: Registry, remote: list[str]) -> None:
    """Found, exported and verified over the API, with the same output and status."""
    local = ["--config", str(registry.config_path)]
    for name in ("one", "two", "three"):
        assert run("namespace", "create", f"audited-{name}", *remote).returncode == 0
    since = ("--action", "namespace", "--since", "1h")
    for asked in (
        ("audit", "search", *since),
        ("audit", "search", *since, "--limit", "2", "-o", "json"),
        ("audit", "search", "--action", "namespace.create", "--target", "audited-two"),
        ("audit", "search", "--user", "admin", "--action", "user", "--outcome", "denied"),
        ("audit", "search", "--before", "x"),
        ("audit", "export", *since),
        ("audit", "export", *since, "--format", "csv"),
        ("audit", "verify", "--checkpoint", "7"),
    ):
        here, there = run(*asked, *local), run(*asked, *remote)
        assert there.stdout == here.stdout, (asked, there.stderr)
        assert (there.stderr, there.returncode) == (here.stderr, here.returncode)
    page = run("audit", "search", *since, "--limit", "2", *remote)
    mark = page.stderr.split()[-1]
    rest = run("audit", "search", *since, "--before", mark, "-o", "json", *remote)
    assert json.loads(rest.stdout)[0]["target"] == "audited-one"
    verified = run("audit", "verify", "-o", "json", *remote)
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["problems"] == []
    wrong = run("audit", "verify", "--checkpoint", f"99:{'0' * 64}", *remote)
    assert (wrong.returncode, "truncated: checkpoint 99" in wrong.stderr) == (1, True)


def test_an_export_to_a_file(
    run: Run, registry: Registry, remote: list[str], tmp_path: Path
) -> None:
    """It is there when all of it is, and not before."""
    file = tmp_path / "audit.csv"
    wanted = ("audit", "export", "--format", "csv", "--file", str(file))
    assert run(*wanted, *remote).returncode == 0
    kept = file.read_bytes()
    assert kept.startswith(b"writer,sequence,")
    done = run(*wanted, "--url", registry.url, ENTREPOT_TOKEN="entr_pat_none")
    assert (done.returncode, "doesn't know you" in done.stderr) == (1, True)
    assert file.read_bytes() == kept
    assert [path.name for path in tmp_path.glob("audit*")] == ["audit.csv"]


def test_a_robot_from_first_to_last(run: Run, registry: Registry, remote: list[str]) -> None:
    def told(*words: str) -> Any:
        done = run(*words, *remote, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    robot = told("robot", "create", "ci", "--scope", "**:pull", "--expires", "3d")
    assert robot["scopes"] == ["**:pull"]
    rotated = told("robot", "rotate", "robot$ci", "--overlap", "0")
    assert len(told("robot", "show", "robot$ci")["secrets"]) == 2

    def is_known(secret: str) -> bool:
        done = run("namespace", "list", "--url", registry.url, ENTREPOT_TOKEN=secret)
        assert done.returncode == 0 or "the registry doesn't know you" in done.stderr
        return done.returncode == 0

    wait_until(lambda: not is_known(robot["secret"]), what="the end of the old secret")
    assert is_known(rotated["secret"])
    assert run("robot", "revoke", "robot$ci", *remote).returncode == 0
    wait_until(lambda: not is_known(rotated["secret"]), what="the end on every worker")


def test_whoever_is_not_logged_in_is_told(run: Run, registry: Registry) -> None:
    done = run("namespace", "list", "--url", registry.url)
    assert done.returncode == 1
    assert f"nobody is logged in at {registry.host}" in done.stderr


@pytest.mark.parametrize(
    "url, says",
    [("http://127.0.0.1:1", "can't be asked"), ("ftp://x", "is not an address of a registry")],
)
def test_addresses_that_are_none(run: Run, url: str, says: str) -> None:
    done = run("namespace", "list", "--url", url, "--token", "entr_pat_x")
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
