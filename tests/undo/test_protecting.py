"""Protected tags and holds, by the commands and over the wire."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.undo.conftest import Run, points_at, push, tags
from tests.wire.images import artifact, fallback_tag, image


def denied(answer: httpx.Response, reason: str) -> bool:
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (403, "DENIED"), answer.text
    return reason in error["detail"]["reason"]


@pytest.mark.parametrize("there", [False, True])
def test_protected_tags(run: Run, http: httpx.Client, there: bool) -> None:
    """They are neither moved nor deleted, and whoever tries learns by which rule; what a rule
    excepts is.
    """
    space = f"fixed-{there}".lower()
    name, old, new = f"{space}/app", image(f"fixed {there}"), image(f"moved {there}")
    assert run("namespace", "create", space, there=there).returncode == 0
    made = run("tag", "protect", space, "v*", "-o", "json", there=there)
    rule = json.loads(made.stdout)["id"]
    excepted = run("tag", "protect", space, "v*-rc*", "--exception", "-o", "json", there=there)
    assert push(http, name, old, "v1", "v1-rc1", "v1").status_code == 201
    assert push(http, name, new, "v1-rc1").status_code == 201
    why = f"tag v1 can't be moved or deleted: rule {rule} protects tags v* in namespace {space}"
    assert denied(push(http, name, new, "v1"), why)
    for reference in ("v1", old.digest):
        assert denied(http.delete(f"/v2/{name}/manifests/{reference}"), why)
    assert http.delete(f"/v2/{name}/manifests/v1-rc1").status_code == 202
    assert tags(http, name) == ["v1"]
    rolled = run("tag", "rollback", f"{name}:v1", "--to", new.digest, there=there)
    assert (rolled.returncode, rolled.stderr) == (1, f"{why}\n")
    assert points_at(http, name, "v1") == old.digest
    here, far = run("tag", "protections"), run("tag", "protections", there=True)
    assert here.stdout == far.stdout
    assert f"{space}  " in here.stdout, here.stdout
    kept = run("namespace", "delete", space, "--move-up", there=there)
    assert (kept.returncode, f"entrepot tag unprotect {rule}" in kept.stderr) == (1, True)
    for number in (rule, json.loads(excepted.stdout)["id"]):
        done = run("tag", "unprotect", str(number), there=there)
        assert done.returncode == 0, done.stderr
    assert push(http, name, new, "v1").status_code == 201
    assert run("namespace", "delete", space, "--move-up", there=there).returncode == 0


@pytest.mark.parametrize("there", [False, True])
def test_holds(run: Run, http: httpx.Client, there: bool) -> None:
    """Nothing of an image on hold goes: no tag, no signature, not from the trash either."""
    name, made = f"held/{there}".lower(), image(f"held {there}")
    cosign = f"{fallback_tag(made.digest)}.sig"
    push(http, name, made, "v1")
    push(http, name, artifact(f"cosign {there}"), cosign)
    words = ("hold", "place", f"{name}:v1", "--reason", "a lawsuit", "--owner", "legal")
    placed = json.loads(run(*words, "-o", "json", there=there).stdout)
    assert (placed["digest"], placed["expires_at"]) == (made.digest, None)
    for reference in ("v1", made.digest, cosign):
        answer = http.delete(f"/v2/{name}/manifests/{reference}")
        assert denied(answer, f"hold {placed['id']} of legal keeps {name}@{made.digest}: a lawsuit")
    assert denied(push(http, name, image(f"other {there}"), "v1"), "a lawsuit")
    here, far = run("hold", "list", name), run("hold", "list", name, there=True)
    assert here.stdout == far.stdout
    assert "a lawsuit" in here.stdout
    done = run("hold", "release", str(placed["id"]), there=there)
    assert done.stdout == f"hold {placed['id']} of legal on {name}@{made.digest} is released\n"
    assert http.delete(f"/v2/{name}/manifests/{made.digest}").status_code == 202
    assert tags(http, name) == []
    whole = run("hold", "place", name, "--reason", "r", "--expires", "1d", "-o", "json")
    assert json.loads(whole.stdout)["expires_at"] is not None
    emptied = run("trash", "empty", "--repository", name, "--yes", there=there)
    assert emptied.stdout == "0 are gone for good, 4 are on hold\n", emptied.stderr
    assert run("trash", "restore", "--repository", name, there=there).returncode == 0
    assert points_at(http, name, "v1") == made.digest


def test_an_image_on_hold_in_the_trash(run: Run, http: httpx.Client) -> None:
    """Emptying the trash leaves it there, with its tag and signature, until it is released."""
    name, made, other = "held-trash", image("kept"), image("beside")
    signature = artifact("signature of kept", subject=made.manifest)
    push(http, name, made, "v1")
    push(http, name, signature, signature.digest)
    push(http, name, other, "v2")
    for digest in (made.digest, other.digest):
        assert http.delete(f"/v2/{name}/manifests/{digest}").status_code == 202
    body = {"repository": name, "reference": made.digest, "reason": "a lawsuit"}
    placed = http.post("/api/v1/holds", json=body).raise_for_status().json()
    empty = ("trash", "empty", "--repository", name, "--yes")
    done = run(*empty, there=True)
    assert done.stdout == "2 are gone for good, 3 are on hold\n", done.stderr
    assert run("hold", "release", str(placed["id"])).returncode == 0
    done = run(*empty)
    assert done.stdout == "3 are gone for good, 0 are on hold\n", done.stderr
    assert run("trash", "restore", "--repository", name).returncode == 1
    assert points_at(http, name, made.digest) == ""


@pytest.mark.parametrize(
    "words, says",
    [
        (("hold", "place", "nothing", "--reason", "r"), "there is no repository nothing"),
        (("hold", "place", "nothing:", "--reason", "r"), "ends in ':'"),
        (("hold", "release", "999"), "there is no hold 999"),
        (("tag", "protect", "/", "v+"), "pattern 'v+', character 2"),
        (("tag", "protect", "nowhere", "v*"), "there is no namespace nowhere"),
        (("tag", "unprotect", "999"), "there is no rule 999"),
    ],
)
def test_what_can_not_be(run: Run, words: tuple[str, ...], says: str) -> None:
    here, there = run(*words), run(*words, there=True)
    assert (here.returncode, there.returncode) == (1, 1)
    assert says in here.stderr
    assert there.stderr == here.stderr
