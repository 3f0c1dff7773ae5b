"""The audit log of a real server: what is done is in it, and the command line finds it."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.accounts.test_server import ADMIN, GOOD, as_json, config, entrepot
from tests.servers import Registry, start_registry, wait_until

DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""Of `{}`."""
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Two workers, pulls and blobs recorded, and a file for a log shipper."""
    root = tmp_path_factory.mktemp("audit")
    audit = {
        "pulls": True,
        "blobs": True,
        "checkpoints": "5s",
        "log": str(root / "audit.jsonl"),
    }
    proxies = {"http": {"trustedproxies": ["127.0.0.1"]}}
    with start_registry(
        root / "registry", config={**config(), **proxies, "audit": audit}, workers=2
    ) as registry:
        yield registry


def search(registry: Registry, *arguments: str) -> list[dict[str, Any]]:
    found = as_json(registry, "audit", "search", *arguments)
    assert isinstance(found, list)
    return found


def found_soon(registry: Registry, *arguments: str) -> dict[str, Any]:
    """The newest event of a search, which may have to be waited for."""
    wait_until(lambda: bool(search(registry, *arguments)), seconds=60, what="the event")
    return search(registry, *arguments)[0]


class Client:
    """Somebody with a password, who comes from an address of their own through a proxy."""

    def __init__(self, registry: Registry, name: str, password: str, address: str) -> None:
        self._registry = registry
        self._auth = (name, password)
        self._address = address

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"x-forwarded-for": self._address, **more.pop("headers", {})}
        url = httpx.URL(self._registry.url).join(path)
        return httpx.request(method, url, auth=self._auth, headers=headers, timeout=60, **more)

    def push(self, repository: str, tag: str, note: str = "") -> httpx.Response:
        begun = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        if begun.status_code != 202:
            return begun
        place = begun.headers["location"]
        params = {**httpx.URL(place).params, "digest": DIGEST}
        self.request("PUT", place, params=params, content=b"{}")
        return self.request(
            "PUT",
            f"/v2/{repository}/manifests/{tag}",
            json={
                "schemaVersion": 2,
                "mediaType": MEDIA_TYPE,
                "config": {"mediaType": "application/json", "digest": DIGEST, "size": 2},
                "layers": [],
                "annotations": {"note": note},
            },
            headers={"content-type": MEDIA_TYPE, "x-request-id": f"push-{tag}"},
        )


@pytest.fixture(scope="module")
def admin(running: Registry) -> Client:
    return Client(running, "admin", ADMIN, "203.0.113.7")


@pytest.fixture(scope="module")
def ada(running: Registry) -> Client:
    """A developer in `team`, and nowhere else."""
    entrepot(running, "user", "create", "ada", "--password-stdin", given=GOOD)
    entrepot(running, "namespace", "create", "team")
    entrepot(running, "access", "grant", "team", "--roles=developer", "--user", "ada")
    client = Client(running, "ada", GOOD, "203.0.113.8")
    wait_until(lambda: client.push("team/a", "zero").status_code == 201, seconds=30)
    return client


def test_a_push_is_recorded_with_its_grant(running: Registry, ada: Client) -> None:
    """Who, from where, on what, by which grant and in which request; then the move of the tag."""
    digest = ada.push("team/a", "one").headers["docker-content-digest"]
    (pushed,) = search(running, "--repository", "team/a", "--action", "manifest.push", "--limit=1")
    expected = {
        "actor": "ada",
        "actor_kind": "user",
        "address": "203.0.113.8",
        "tag": "one",
        "digest": digest,
        "outcome": "success",
        "request_id": "push-one",
    }
    assert {key: pushed[key] for key in expected} == expected
    assert "role developer in namespace team" in pushed["reason"]
    assert f"grant {pushed['grant_id']} " in pushed["reason"]
    ada.push("team/a", "one", note="another")
    (moved,) = search(running, "--action", "tag.move", "--repository", "team/a")
    assert json.loads(moved["detail"])["previous"] == digest
    assert search(running, "--namespace", "team", "--action", "blob")


def test_a_refusal_is_recorded(running: Registry, ada: Client) -> None:
    assert ada.push("other/a", "no").status_code in {403, 404}
    denied = found_soon(running, "--outcome", "denied", "--user", "ada")
    assert (denied["repository"], denied["address"]) == ("other/a", "203.0.113.8")
    assert "no grant lets user ada do push in other/a" in denied["reason"]


def test_logins_are_recorded(running: Registry, admin: Client) -> None:
    """Those that succeed and those that fail; never the password."""
    assert admin.request("GET", "/v2/").status_code == 200
    login = found_soon(running, "--action", "login", "--user", "admin", "--outcome", "success")
    assert (login["address"], login["method"]) == ("203.0.113.7", "local")
    wrong = Client(running, "eve", "a wrong guess", "203.0.113.66")
    assert wrong.request("GET", "/v2/").status_code == 401
    failed = found_soon(running, "--address", "203.0.113.66")
    assert (failed["action"], failed["outcome"], failed["actor"]) == ("login", "failure", "eve")
    secret = base64.b64encode(b"a wrong guess").decode()
    every = entrepot(running, "audit", "export").stdout
    assert "a wrong guess" not in every
    assert secret not in every


def test_pulls_and_deletions_are_recorded(running: Registry, admin: Client) -> None:
    digest = admin.push("gone/a", "tag").headers["docker-content-digest"]
    assert admin.request("GET", "/v2/gone/a/manifests/tag").status_code == 200
    pulled = found_soon(running, "--action", "manifest.pull", "--repository", "gone/a")
    assert (pulled["tag"], pulled["digest"], pulled["actor"]) == ("tag", digest, "admin")
    assert admin.request("DELETE", "/v2/gone/a/manifests/tag").status_code in {202, 405}


def test_changes_of_rights_are_recorded(running: Registry, ada: Client) -> None:
    created = search(running, "--action", "user.create", "--target", "ada")
    assert [event["method"] for event in created] == ["host"]
    assert search(running, "--action", "grant", "--target", "ada")[0]["action"] == "grant.create"


def test_pages(running: Registry, ada: Client) -> None:
    """Each page goes on where the one before ended."""
    for tag in ("one", "two", "three", "four"):
        ada.push("team/pages", tag)
    wanted = ("--repository", "team/pages", "--action", "manifest.push")
    assert [each["tag"] for each in search(running, *wanted)] == ["four", "three", "two", "one"]
    seen: list[list[str]] = []
    more: tuple[str, ...] = ()
    for _ in range(2):
        done = entrepot(running, "audit", "search", *wanted, "--limit", "3", "-o", "json", *more)
        seen.append([each["tag"] for each in json.loads(done.stdout)])
        if "--before" in done.stderr:
            more = ("--before", done.stderr.rpartition(" ")[2].strip())
    assert seen == [["four", "three", "two"], ["one"]]


def test_it_verifies_and_shows_what_was_changed(tmp_path: Path) -> None:
    """By the command line, with a checkpoint that the server signed."""
    root = tmp_path / "registry"
    audit = {"checkpoints": "5s"}
    with start_registry(root, config={**config(), "audit": audit}) as registry:
        admin = Client(registry, "admin", ADMIN, "")
        admin.push("a", "one")
        wait_until(
            lambda: as_json(registry, "audit", "verify")["checkpoints"] > 0,
            seconds=60,
            what="a checkpoint",
        )
        assert as_json(registry, "audit", "verify")["problems"] == []
        assert registry.stop() == 0
        (index,) = root.rglob("index.sqlite3")
        with sqlite3.connect(index) as connection:
            connection.execute("UPDATE audit_events SET actor = 'eve' WHERE tag = 'one'")
        connection.close()
        done = entrepot(registry, "audit", "verify", fails=True)
        assert "changed: event " in done.stderr


def test_a_log_shipper_gets_every_event(running: Registry, ada: Client) -> None:
    """As lines of JSON in Elastic Common Schema."""
    ada.push("team/c", "shipped")

    def shipped() -> list[Any]:
        lines = (Path(running.config_path).parent / "audit.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if event["entrepot"].get("tag") == "shipped"]

    wait_until(lambda: bool(shipped()), what="the line of the push")
    pushed = shipped()
    assert [event["event"]["action"] for event in pushed] == ["manifest.push"]
    assert pushed[0]["user"]["name"] == "ada"
    assert pushed[0]["client"]["ip"] == "203.0.113.8"


def test_a_bad_time_or_mark_is_told(running: Registry) -> None:
    assert "not a time" in entrepot(running, "audit", "search", "--since", "x", fails=True).stderr
    assert "mark" in entrepot(running, "audit", "search", "--before", "x", fails=True).stderr
