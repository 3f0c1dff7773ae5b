"""Rights between processes, with the commands that people use: what one takes away, all know."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.access.worlds import PASSWORD, hashed
from tests.postgres import Postgres
from tests.programs import environment, run
from tests.servers import Registry, start_registry
from tests.unit.identity.credentials import write_users
from tests.wire.images import image

IMAGE = image("access-processes")


@contextmanager
def two(tmp_path: Path, database: str = "") -> Iterator[tuple[Registry, Registry]]:
    """Two servers with the same storage and index, where `root` is the only administrator."""
    write_users(
        tmp_path / "htpasswd",
        *(name + b":" + hashed(PASSWORD) for name in (b"root", b"alice", b"bob")),
    )
    htpasswd = {"realm": "test", "path": str(tmp_path / "htpasswd"), "administrators": ["root"]}
    root = tmp_path / "registry"
    config: dict[str, Any] = {
        "storage": {"filesystem": {"rootdirectory": str(root)}},
        "database": {"url": database or f"sqlite:///{root}/entrepot/index.sqlite3"},
        "auth": {"htpasswd": htpasswd},
    }
    with (
        start_registry(tmp_path / "one", config=config, workers=1) as one,
        start_registry(tmp_path / "other", config=config, workers=1) as other,
    ):
        yield one, other


def ask(
    registry: Registry, who: str, method: str, path: str, body: bytes = b"", kind: str = ""
) -> int:
    """Send one request on a connection of its own; return its status."""
    headers = {"content-type": kind} if kind else {}
    if who:
        text = base64.b64encode(f"{who}:{PASSWORD}".encode()).decode()
        headers["authorization"] = f"Basic {text}"
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def push(registry: Registry, repository: str, who: str) -> None:
    for blob in IMAGE.blobs:
        path = f"/v2/{repository}/blobs/uploads/?digest={blob.digest}"
        assert ask(registry, who, "POST", path, blob.data) == 201
    path = f"/v2/{repository}/manifests/v1"
    body, kind = IMAGE.manifest.data, IMAGE.manifest.media_type
    assert ask(registry, who, "PUT", path, body, kind) == 201


def command(registry: Registry, *words: str, status: int = 0) -> str:
    """Run `registry WORDS` as the administrator of the host does; return what it prints."""
    configuration = registry.root.parent / "config-of-commands.yml"
    configuration.write_text(json.dumps(registry.config))
    done = run(*words, env=environment(REGISTRY_CONFIGURATION_PATH=str(configuration)))
    assert done.returncode == status, done.stderr
    return done.stdout


def change(registry: Registry, method: str, path: str, body: object = None) -> Any:
    """Change rights by the interface; return what it answers."""
    answer = httpx.request(
        method, f"{registry.url}/api/v1{path}", json=body, auth=("root", PASSWORD), timeout=30
    )
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def loses_and_gets(one: Registry, other: Registry) -> None:
    """What one node acknowledged holds at once at the other, whatever that one knew before."""
    change(one, "POST", "/namespaces", {"name": "team"})
    push(one, "team/app", "root")
    paths = (
        *("/v2/team/app/manifests/v1", f"/v2/team/app/manifests/{IMAGE.digest}"),
        *(f"/v2/team/app/blobs/{IMAGE.blobs[0].digest}", "/v2/team/app/tags/list"),
    )
    alice = [{"kind": "user", "name": "alice"}]
    grant = {"namespace": "team", "roles": ["developer"], "subjects": alice}

    def seen() -> set[int]:
        return {ask(other, "alice", "GET", path) for path in paths}

    for _ in range(4):
        assert seen() == {404}
        (made,) = change(one, "POST", "/grants", grant)["items"]
        assert seen() == {200}
        assert ask(other, "alice", "POST", "/v2/team/app/blobs/uploads/") == 202
        assert ask(other, "bob", "GET", paths[0]) == 404
        change(one, "DELETE", f"/grants/{made['id']}")
        assert ask(other, "alice", "POST", "/v2/team/app/blobs/uploads/") == 404
    change(one, "POST", "/grants", grant)
    push(other, "team/app", "alice")


def test_a_second_process_loses_a_grant_at_once(tmp_path: Path) -> None:
    with two(tmp_path) as (one, other):
        loses_and_gets(one, other)


def test_a_second_node_loses_a_grant_at_once(tmp_path: Path, postgres: Postgres) -> None:
    with two(tmp_path, postgres.empty_database()) as (one, other):
        loses_and_gets(one, other)


def test_a_command_changes_what_a_server_decides(tmp_path: Path) -> None:
    with two(tmp_path) as (one, _):
        path = "/v2/team/app/manifests/v1"
        assert "namespace team is made" in command(one, "namespace", "create", "team")
        push(one, "team/app", "root")
        said = command(one, "access", "grant", "team", "--roles=reader", "--user=alice", "-ojson")
        assert ask(one, "alice", "GET", path) == 200
        command(one, "access", "revoke", str(json.loads(said)[0]["id"]))
        assert ask(one, "alice", "GET", path) == 404


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """One that is configured, and need not run."""
    root = tmp_path_factory.mktemp("commands") / "registry"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(root)}},
        "auth": {"local": {}},
        "access": {"mappings": [{"group": "ops", "namespace": "", "roles": ["operator"]}]},
    }
    return Registry(root, config=config, port=1, env={}, args=())


def test_the_commands_of_the_guides_work_as_written(registry: Registry) -> None:
    assert "is made" in command(registry, "namespace", "create", "new_namespace")
    said = command(registry, "access", "grant", "new_namespace", "--roles=developer,operator")
    assert "the roles go to the group new_namespace" in said
    for role in ("developer", "operator"):
        assert f"gives group new_namespace the role {role} in namespace new_namespace" in said
    can = ("access", "can", "alice", "push", "new_namespace/app")
    assert "no: no grant lets user alice do push" in command(registry, *can, status=2)
    said = command(registry, *can, "--groups", "new_namespace")
    assert said.startswith("yes: grant ")
    assert "role developer" in said
    found = json.loads(command(registry, *can, "--groups=new_namespace,x", "--output=json"))
    assert found["allowed"] is True
    assert found["groups"] == ["new_namespace", "x"]
    assert [grant["role"] for grant in found["grants"]] == ["developer", "operator"]
    said = command(registry, "access", "can", "zoe", "delete", "x", "--groups=ops")
    assert said.startswith("yes: the configuration gives group ops the role operator")


def test_namespaces_by_command(registry: Registry) -> None:
    command(registry, "namespace", "create", "shop", "--visibility=public", "--description=Ours")
    command(registry, "namespace", "create", "shop/web")
    shown = json.loads(command(registry, "namespace", "show", "shop/web", "-o", "json"))
    assert (shown["visibility"], shown["visibility_from"]) == ("public", "shop")
    command(registry, "namespace", "set", "shop/web", "--visibility=private")
    listed = json.loads(command(registry, "namespace", "list", "-o", "json"))
    seen = {entry["name"]: entry["visibility"] for entry in listed}
    assert seen["/"] == "private"
    assert (seen["shop"], seen["shop/web"]) == ("public", "private")
    command(registry, "namespace", "delete", "shop", status=1)
    command(registry, "namespace", "delete", "shop/web")
    assert "is in / now" in command(registry, "namespace", "delete", "shop")
    command(registry, "namespace", "set", "/", status=1)


def test_roles_and_grants_by_command(registry: Registry) -> None:
    command(registry, "access", "role", "create", "tagger", "--actions=pull,tag")
    roles = json.loads(command(registry, "access", "role", "list", "-o", "json"))
    assert {"name": "tagger", "actions": ["pull", "tag"]} in roles
    said = command(
        registry,
        *("access", "grant", "/", "--roles=tagger", "--user=eve", "--robot=robot$ci"),
        *("--repositories=a/**", "--tags=v*", "--expires=1h", "--deny", "-o", "json"),
    )
    made = json.loads(said)
    assert [(grant["kind"], grant["subject"]) for grant in made] == [
        *(("user", "eve"), ("robot", "robot$ci"))
    ]
    assert {grant["effect"] for grant in made} == {"deny"}
    listed = json.loads(command(registry, "access", "list", "/", "--user=eve", "-o", "json"))
    assert [grant["id"] for grant in listed] == [made[0]["id"]]
    assert listed[0]["expires_at"] > listed[0]["created_at"]
    command(registry, "access", "role", "delete", "tagger", status=1)
    command(registry, "access", "revoke", *(str(grant["id"]) for grant in made))
    command(registry, "access", "role", "delete", "tagger")


@pytest.mark.parametrize(
    "words",
    [
        ("grant", "/", "--roles=reader"),
        ("grant", "nope", "--roles=reader"),
        ("grant", "/", "--roles=nope", "--user=a"),
        ("grant", "/", "--roles=reader", "--user=a", "--repositories=A"),
        ("grant", "/", "--roles=reader", "--user=a", "--expires=soon"),
        ("revoke", "999"),
        ("can", "a", "fly", "b"),
        ("can", "a", "pull", "B!"),
        ("list", "nope"),
        ("role", "create", "reader", "--actions=pull"),
        ("role", "create", "x", "--actions=connect"),
    ],
)
def test_what_is_wrong_ends_with_the_reason(registry: Registry, words: tuple[str, ...]) -> None:
    assert command(registry, "access", *words, status=1) == ""
