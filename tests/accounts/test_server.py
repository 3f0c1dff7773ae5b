"""Accounts of a real server with two workers, from outside and by the command line."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bcrypt
import httpx
import pytest

from tests.certificates import Authority
from tests.programs import environment, run
from tests.servers import Registry, RegistryStartError, start_registry, wait_until

ADMIN = "a phrase for the admin"
GOOD = "correct horse battery"


def config(**auth: Any) -> dict[str, Any]:
    """Cheap hashes, and what a test wants of `auth`."""
    local = {"admin": {"password": ADMIN}, "argon2": {"timecost": 1, "memorycost": 1024}}
    return {"auth": {"local": local, **auth}}


def entrepot(
    registry: Registry, *arguments: str, given: str = "", fails: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command beside the server."""
    known = environment(REGISTRY_CONFIGURATION_PATH=str(registry.config_path))
    done = run(*arguments, env=known, text=given)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done


def as_json(registry: Registry, *arguments: str, given: str = "") -> Any:
    return json.loads(entrepot(registry, *arguments, "--output", "json", given=given).stdout)


def status(
    registry: Registry, user: str, password: str, headers: Mapping[str, str] | None = None
) -> int:
    """What /v2/ answers, on a connection of its own, so that any worker may be asked."""
    answer = httpx.get(
        f"{registry.url}/v2/", auth=httpx.BasicAuth(user, password), headers=headers, timeout=30
    )
    return answer.status_code


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A server whose administrator is `admin`; users have names of their own in each test."""
    limits = {"attempts": 60, "addressattempts": 10_000, "delay": "30s"}
    root = tmp_path_factory.mktemp("accounts") / "registry"
    with start_registry(root, config=config(limits=limits)) as registry:
        yield registry


def make(registry: Registry, name: str, *options: str) -> None:
    made = as_json(registry, "user", "create", name, "--password-stdin", *options, given=GOOD)
    assert made["name"] == name


# The first start --------------------------------------------------------------------------------


def test_the_first_administrator_is_told_once(tmp_path: Path) -> None:
    """A random password is in the log of the first start, and works; the second start has none."""
    root = tmp_path / "registry"
    with start_registry(root, config={"auth": {"local": None}}) as registry:
        (password,) = re.findall(r'"entrepot.password":"([^"]+)"', registry.log())
        assert status(registry, "admin", password) == 200
        assert registry.stop() == 0
        before = registry.log()
        registry.start()
        assert status(registry, "admin", password) == 200
        assert "entrepot.password" not in registry.log()[len(before) :]


def test_its_password_is_set_by_a_variable(tmp_path: Path) -> None:
    """And then isn't logged; nor does another variable change it later."""
    root = tmp_path / "registry"
    env = {"REGISTRY_AUTH_LOCAL_ADMIN_PASSWORD": ADMIN, "REGISTRY_AUTH_LOCAL_ADMIN_NAME": "ada"}
    with start_registry(root, config={"auth": {"local": {}}}, env=env) as registry:
        assert status(registry, "ada", ADMIN) == 200
        assert ADMIN not in registry.log()


def test_its_password_is_set_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{ADMIN}\nmore\n")
    local = {"admin": {"passwordfile": str(tmp_path / "password")}}
    with start_registry(tmp_path / "registry", config={"auth": {"local": local}}) as registry:
        assert status(registry, "admin", ADMIN) == 200


def test_an_easy_password_is_refused(tmp_path: Path) -> None:
    local = {"admin": {"password": "password1234"}}
    with (
        pytest.raises(RegistryStartError, match="tried first") as failed,
        start_registry(tmp_path / "registry", config={"auth": {"local": local}}),
    ):
        pass
    assert "password1234" not in str(failed.value)


def test_storage_in_memory_has_its_administrator_too(tmp_path: Path) -> None:
    told = {**config(), "storage": {"inmemory": None}}
    with start_registry(tmp_path / "registry", config=told) as registry:
        assert status(registry, "admin", ADMIN) == 200
        said = entrepot(registry, "user", "list", fails=True).stderr
        assert "memory" in said


# By the command line ----------------------------------------------------------------------------


def test_users_come_and_go(running: Registry) -> None:
    """What a command changes counts for every worker within five seconds."""
    make(running, "ada", "--group", "team-a")
    assert [status(running, "ada", GOOD) for _ in range(6)] == [200] * 6
    entrepot(running, "user", "disable", "ada")
    wait_until(
        lambda: {status(running, "ada", GOOD) for _ in range(6)} == {401},
        what="the end of a disabled user",
    )
    entrepot(running, "user", "enable", "ada")
    given = "another long phrase\n"
    entrepot(running, "user", "passwd", "ada", "--password-stdin", given=given)
    wait_until(lambda: status(running, "ada", "another long phrase") == 200)
    shown = as_json(running, "user", "set", "ada", "--no-group", "team-a", "--group", "team-b")
    assert shown["groups"] == ["team-b"]
    assert as_json(running, "user", "show", "ada") == shown
    assert shown in as_json(running, "user", "list")
    entrepot(running, "user", "delete", "ada")
    assert "no user ada" in entrepot(running, "user", "show", "ada", fails=True).stderr


def test_bad_passwords_are_refused_with_a_reason(running: Registry) -> None:
    for password, reason in (("", "shorter"), ("password1234", "tried first")):
        given = f"{password}\n"
        refused = entrepot(
            running, "user", "create", "eve", "--password-stdin", given=given, fails=True
        )
        assert reason in refused.stderr
    asked = entrepot(running, "user", "create", "eve", fails=True)
    assert "--password-stdin" in asked.stderr


def test_the_last_administrator_stays(running: Registry) -> None:
    for command in (["disable"], ["delete"], ["set", "--no-administrator"]):
        refused = entrepot(running, "user", command[0], "admin", *command[1:], fails=True)
        assert "last administrator" in refused.stderr
    assert status(running, "admin", ADMIN) == 200


def test_robots_and_tokens(running: Registry) -> None:
    """Made, used with any name, rotated, listed without their secrets, ended."""
    robot = as_json(running, "robot", "create", "ci", "--scope", "**:pull,push", "--expires", "9d")
    assert (robot["name"], robot["scopes"]) == ("robot$ci", ["**:pull,push"])
    assert status(running, "x", robot["secret"]) == 200
    new = as_json(running, "robot", "rotate", "robot$ci", "--overlap", "0")["secret"]
    assert status(running, "robot$ci", new) == 200
    wait_until(lambda: status(running, "x", robot["secret"]) == 401)
    shown = entrepot(running, "robot", "show", "robot$ci", "--output", "json").stdout
    assert len(json.loads(shown)["secrets"]) == 2
    assert new not in shown
    entrepot(running, "robot", "revoke", "robot$ci")
    wait_until(lambda: {status(running, "x", new) for _ in range(6)} == {401})

    make(running, "tom")
    token = as_json(running, "token", "create", "tom", "--name", "laptop")
    assert status(running, "tom", token["secret"]) == 200
    assert [each["name"] for each in as_json(running, "token", "list", "tom")] == ["laptop"]
    entrepot(running, "token", "revoke", "tom", str(token["id"]))
    wait_until(lambda: {status(running, "tom", token["secret"]) for _ in range(6)} == {401})
    assert not any(secret in running.log() for secret in (new, token["secret"]))


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["robot", "create", "ci", "--scope", "pull"], "no scope"),
        (["robot", "create", "ci", "--scope", "**:fly"], "actions are"),
        (["robot", "create", "ci", "--scope", "Team:pull"], "no scope"),
        (["robot", "create", "ci", "--expires", "soon"], "not a time"),
        (["robot", "create", "CI"], "robot's name"),
        (["robot", "create", "ci", "--namespace", "nowhere"], "no namespace nowhere"),
        (["token", "create", "nobody"], "no user nobody"),
        (["user", "unlock"], "--all"),
        (["user", "unlock", "nobody"], "no failed logins"),
    ],
)
def test_what_makes_no_sense_is_refused(
    running: Registry, arguments: list[str], reason: str
) -> None:
    said = entrepot(running, *arguments, fails=True).stderr
    assert reason in said
    assert "Traceback" not in said


def test_a_lock_holds_for_every_worker_until_it_is_lifted(running: Registry) -> None:
    make(running, "bob")
    answers = [status(running, "bob", "wrong") for _ in range(66)]
    assert answers == [401] * 60 + [429] * 6
    answer = httpx.get(f"{running.url}/v2/", auth=("bob", GOOD), timeout=30)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 30
    assert answer.json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    locks = as_json(running, "user", "locks")
    assert [lock["failures"] for lock in locks if lock["subject"] == "bob"] == [60]
    entrepot(running, "user", "unlock", "bob")
    assert status(running, "bob", GOOD) == 200


def test_recovering_on_the_host(tmp_path: Path) -> None:
    """Nobody knows the password any more, and the account is locked."""
    limits = {"attempts": 1, "delay": "10m"}
    with start_registry(tmp_path / "registry", config=config(limits=limits)) as registry:
        assert status(registry, "admin", "guess") == 401
        assert status(registry, "admin", ADMIN) == 429
        given = f"{GOOD}\n"
        done = entrepot(registry, "admin", "recover", "--password-stdin", given=given)
        assert "admin.recover" in done.stderr
        assert GOOD not in done.stderr + done.stdout
        wait_until(lambda: status(registry, "admin", GOOD) == 200)
        assert status(registry, "admin", ADMIN) == 401


# Beside each other ------------------------------------------------------------------------------


def htpasswd(folder: Path, **users: str) -> dict[str, Any]:
    """An htpasswd file as the configuration has it."""
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()}\n"
        for name, password in users.items()
    ]
    (folder / "htpasswd").write_text("".join(lines))
    return {"realm": "File", "path": str(folder / "htpasswd"), "administrators": ["eve"]}


def test_users_of_the_index_and_of_a_file(tmp_path: Path) -> None:
    """Both get in. A name with a password in the index is not the file's; a disabled account counts
    for users of the file as well.
    """
    file = htpasswd(tmp_path, eve="of the file", tom="of the file", admin="of the file")
    limits = {"attempts": 10_000, "addressattempts": 10_000}  # for who asks until all workers know
    told = config(htpasswd=file, limits=limits)
    with start_registry(tmp_path / "registry", config=told) as registry:
        assert status(registry, "admin", ADMIN) == 200
        assert status(registry, "eve", "of the file") == 200
        assert status(registry, "tom", "of the file") == 200
        assert status(registry, "admin", "of the file") == 401
        assert status(registry, "eve", "wrong") == 401
        entrepot(registry, "user", "create", "tom", "--no-password")
        entrepot(registry, "user", "disable", "tom")
        wait_until(lambda: {status(registry, "tom", "of the file") for _ in range(6)} == {401})
        assert status(registry, "eve", "of the file") == 200


def test_who_of_the_file_is_administrator_must_be_said(tmp_path: Path) -> None:
    file = htpasswd(tmp_path, eve="of the file")
    del file["administrators"]
    with (
        pytest.raises(RegistryStartError, match="administrators is missing"),
        start_registry(tmp_path / "registry", config=config(htpasswd=file)),
    ):
        pass


@pytest.mark.parametrize(
    "auth, reason",
    [
        ({"local": None, "none": None}, "can't stand beside local"),
        ({"certificate": {}}, "http.trustedproxies"),
        ({"local": {"admin": {"name": "a b"}}}, "user's name"),
        ({"local": {"admin": {"password": "x", "passwordfile": "y"}}}, "remove one"),
        ({"local": {}, "limits": {"maxdelay": "1ms"}}, "at least as much as delay"),
    ],
)
def test_combinations_that_make_no_sense(tmp_path: Path, auth: Any, reason: str) -> None:
    with (
        pytest.raises(RegistryStartError, match=reason),
        start_registry(tmp_path / "registry", config={"auth": auth}),
    ):
        pass


def test_certificates_by_a_trusted_proxy(tmp_path: Path) -> None:
    """Only from it, only verified ones; the account of the name has its say."""
    authority = Authority(tmp_path / "certificates")
    pems = {name: authority.client(name).certificate.read_text() for name in ("ada", "tom")}

    def shown(name: str, verified: str = "SUCCESS") -> dict[str, str]:
        return {"X-SSL-Client-Cert": quote(pems[name]), "X-SSL-Client-Verify": verified}

    def asked(registry: Registry, headers: Mapping[str, str]) -> int:
        return httpx.get(f"{registry.url}/v2/", headers=headers, timeout=30).status_code

    told = config(certificate={"field": "dns"})
    trusting = {**told, "http": {"trustedproxies": ["127.0.0.1"]}}
    with start_registry(tmp_path / "one", config=trusting) as registry:
        assert asked(registry, shown("ada")) == 200
        assert asked(registry, shown("ada", "FAILED:expired")) == 401
        assert asked(registry, shown("ada", "NONE")) == 401
        assert asked(registry, {"X-SSL-Client-Verify": "SUCCESS"}) == 401
        nonsense = {"X-SSL-Client-Cert": "nonsense", "X-SSL-Client-Verify": "SUCCESS"}
        assert asked(registry, nonsense) == 401
        assert status(registry, "ada", "wrong", shown("ada")) == 401
        entrepot(registry, "user", "create", "ada", "--no-password")
        entrepot(registry, "user", "disable", "ada")
        wait_until(lambda: {asked(registry, shown("ada")) for _ in range(6)} == {401})
        assert asked(registry, shown("tom")) == 200
    elsewhere = {**told, "http": {"trustedproxies": ["192.0.2.1"]}}
    with start_registry(tmp_path / "two", config=elsewhere) as registry:
        assert asked(registry, shown("ada")) == 401


def test_addresses_behind_a_proxy(tmp_path: Path) -> None:
    """Failures are the client's, not the proxy's; what a client writes itself is not believed."""
    limits = {"attempts": 100, "addressattempts": 2, "delay": "10m"}
    told = {**config(limits=limits), "http": {"trustedproxies": ["127.0.0.0/8"]}}
    with start_registry(tmp_path / "registry", config=told) as registry:

        def guess(number: int, forwarded: str) -> int:
            return status(registry, f"guess{number}", "x", {"X-Forwarded-For": forwarded})

        assert [guess(number, "192.0.2.1") for number in range(4)] == [401, 401, 429, 429]
        assert guess(5, "198.51.100.1") == 401
        assert guess(6, "203.0.113.9, 192.0.2.1") == 429, "the client lied about itself"
        assert guess(7, "192.0.2.1, 198.51.100.7, 127.0.0.5") == 401
    with start_registry(tmp_path / "direct", config=config(limits=limits)) as registry:
        answers = [guess(number, f"192.0.2.{number}") for number in range(4)]
        assert answers == [401, 401, 429, 429], "nobody is trusted"


def test_requests_of_one_identity_are_limited(tmp_path: Path) -> None:
    """With 429 and Retry-After; others go on."""
    limits = {"requests": 1, "burst": 5}
    with start_registry(tmp_path / "registry", config=config(limits=limits), workers=1) as registry:
        make(registry, "ada")
        with httpx.Client(auth=("admin", ADMIN), timeout=30) as client:
            answers = [client.get(f"{registry.url}/v2/") for _ in range(30)]
        limited = [answer for answer in answers if answer.status_code == 429]
        assert limited
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in limited)
        assert [answer.status_code for answer in answers[:5]] == [200] * 5
        assert status(registry, "ada", GOOD) == 200


def test_the_limit_is_that_of_all_workers(tmp_path: Path) -> None:
    """Each request comes on a connection of its own, so that every worker gets some."""
    limits = {"requests": 1, "burst": 10}
    with start_registry(tmp_path / "registry", config=config(limits=limits), workers=2) as registry:
        began = time.monotonic()
        answers = [status(registry, "admin", ADMIN) for _ in range(60)]
        most = 10 + time.monotonic() - began
        assert set(answers) == {200, 429}
        assert 10 <= answers.count(200) <= most + 1
