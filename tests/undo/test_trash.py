"""`entrepot trash` and the history of tags, on the host and over the API."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.servers import Registry, wait_until
from tests.undo.conftest import Run, points_at, push, tags
from tests.wire.images import artifact, image


def listed(run: Run, *words: str) -> Any:
    """What a command lists, which is the same here and there."""
    here, there = run(*words, "-o", "json"), run(*words, "-o", "json", there=True)
    assert (here.returncode, here.stdout) == (0, there.stdout), there.stderr
    assert run(*words).stdout == run(*words, there=True).stdout
    return json.loads(here.stdout)


@pytest.mark.parametrize("there", [False, True])
def test_a_deletion_is_undone(run: Run, http: httpx.Client, there: bool) -> None:
    """With all that went with it, by the operation that the list shows."""
    name, made = f"undone/{there}".lower(), image(f"undone {there}")
    signature = artifact(f"signature {there}", subject=made.manifest)
    push(http, name, made, "v1", "v2")
    push(http, name, signature, signature.digest)
    assert http.delete(f"/v2/{name}/manifests/{made.digest}").status_code == 202
    assert tags(http, name) == []
    rows = listed(run, "trash", "list", "--repository", name)
    assert {row["tag"] or row["digest"] for row in rows} == {
        "v1",
        "v2",
        made.digest,
        signature.digest,
    }
    assert {row["deleted_by"] for row in rows} == {"admin"}
    (operation,) = {row["operation"] for row in rows}
    assert listed(run, "trash", "list", "--operation", operation) == rows
    done = run("trash", "restore", "--operation", operation, there=there)
    assert done.stdout == "restored 2 manifests and 2 tags\n", done.stderr
    assert done.stderr == ""
    assert tags(http, name) == ["v1", "v2"]
    if there:
        counted = 'entrepot_trash_restored_total{kind="manifest"}'
        wait_until(lambda: counted in http.get("/metrics").text, what=counted)
    found = http.get(f"/v2/{name}/referrers/{made.digest}").json()["manifests"]
    assert [entry["digest"] for entry in found] == [signature.digest]
    assert listed(run, "trash", "list", "--repository", name) == []
    again = run("trash", "restore", "--operation", operation, there=there)
    assert (again.returncode, again.stderr) == (1, "there is nothing like that in the trash\n")


@pytest.mark.parametrize("there", [False, True])
def test_a_tag_that_was_set_again(run: Run, http: httpx.Client, there: bool) -> None:
    name = f"again/{there}".lower()
    old, new = image(f"old {there}"), image(f"new {there}")
    push(http, name, old, "v1")
    assert http.delete(f"/v2/{name}/manifests/v1").status_code == 202
    push(http, name, new, "v1")
    refused = run("trash", "restore", "--repository", name, there=there)
    assert (refused.returncode, f"{name}:v1; --force moves" in refused.stderr) == (1, True)
    assert points_at(http, name, "v1") == new.digest
    done = run("trash", "restore", "--repository", name, "--force", "-o", "json", there=there)
    assert json.loads(done.stdout) == {"manifests": 0, "tags": 1, "left": []}
    assert points_at(http, name, "v1") == old.digest


@pytest.mark.parametrize("there", [False, True])
def test_what_is_emptied_is_gone(run: Run, http: httpx.Client, there: bool) -> None:
    space = f"emptied-{there}".lower()
    for name in ("a", "b"):
        push(http, f"{space}/{name}", image(f"{space} {name}"), "v1")
        digest = points_at(http, f"{space}/{name}", "v1")
        assert http.delete(f"/v2/{space}/{name}/manifests/{digest}").status_code == 202
    wanted = ("trash", "empty", "--namespace", space)
    asked = run(*wanted, there=there)
    assert (asked.returncode, "confirm with --yes" in asked.stderr) == (1, True)
    assert len(listed(run, "trash", "list", "--namespace", space)) == 4
    done = run(*wanted, "--yes", there=there)
    assert done.stdout == "4 are gone for good, 0 are on hold\n", done.stderr
    assert listed(run, "trash", "list", "--namespace", space) == []
    gone = run("trash", "restore", "--namespace", space, there=there)
    assert (gone.returncode, "nothing like that" in gone.stderr) == (1, True)


@pytest.mark.parametrize("there", [False, True])
def test_a_tag_is_rolled_back(run: Run, http: httpx.Client, there: bool) -> None:
    """To the last, to a time, to a digest that is in the trash by now."""
    name = f"rolled/{there}".lower()
    made = [image(f"rolled {number} {there}") for number in range(3)]
    for each in made:
        push(http, name, each, "v1")
    moves = listed(run, "tag", "history", f"{name}:v1")
    digests = [each.digest for each in reversed(made)]
    assert [move["digest"] for move in moves] == digests
    assert [move["previous"] for move in moves] == [*digests[1:], None]
    assert {move["changed_by"] for move in moves} == {"admin"}

    def roll(*words: str) -> str:
        done = run("tag", "rollback", f"{name}:v1", *words, there=there)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{name}:v1 points at {points_at(http, name, 'v1')}; before")
        return points_at(http, name, "v1")

    assert roll() == made[1].digest
    assert roll("--steps", "3") == made[0].digest
    assert roll("--at", "2099-01-01") == made[0].digest
    assert http.delete(f"/v2/{name}/manifests/{made[2].digest}").status_code == 202
    assert roll("--to", made[2].digest) == made[2].digest
    early = run("tag", "rollback", f"{name}:v1", "--at", "365d", there=there)
    assert (early.returncode, "there was no such tag then" in early.stderr) == (1, True)
    assert len(listed(run, "tag", "history", name)) == 6


def test_what_the_api_refuses(registry: Registry, http: httpx.Client) -> None:
    push(http, "refused", image("refused"), "v1")
    for path, body, status, says in (
        ("trash/restore", {}, 400, "say what"),
        ("trash/restore", {"ids": [1], "namespace": "/"}, 400, "say what"),
        ("trash/restore", {"repository": "A"}, 400, "invalid"),
        ("trash/restore", {"ids": [10**9]}, 404, "nothing like that"),
        ("trash/empty", {"operation": "no"}, 404, "nothing like that"),
        ("repositories/refused/rollback", {"tag": "v1"}, 409, "no such tag then"),
        ("repositories/refused/rollback", {"tag": "v1", "steps": 2}, 409, "only 1 moves"),
        ("repositories/refused/rollback", {"tag": "v2"}, 404, "nothing is remembered"),
        ("repositories/refused/rollback", {"tag": "v1", "at": "2026-01-01T00:00:00"}, 400, "zone"),
        ("repositories/refused/rollback", {"tag": "v1", "to": "x", "steps": 1}, 400, "say one of"),
        ("repositories/nowhere/rollback", {"tag": "v1"}, 404, "no repository nowhere"),
    ):
        answer = http.post(f"/api/v1/{path}", json=body)
        assert (answer.status_code, says in answer.text) == (status, True), (path, answer.text)
    for query in ("after=x", "namespace=A"):
        assert http.get(f"/api/v1/trash?{query}").status_code == 400
