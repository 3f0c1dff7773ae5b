"""`entrepot delete`, and namespaces that go with what is in them."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.undo.conftest import Run, points_at, push, tags
from tests.wire.images import artifact, fallback_tag, image, multi_platform


@pytest.mark.parametrize("there", [False, True])
def test_an_image(run: Run, http: httpx.Client, there: bool) -> None:
    """With its tags and signatures of both kinds; a tag goes alone. Both come back."""
    name, made = f"deleted/{there}".lower(), image(f"deleted {there}")
    signature = artifact(f"deleted signature {there}", subject=made.manifest)
    cosign = f"{fallback_tag(made.digest)}.sig"
    push(http, name, made, "v1", "v2")
    push(http, name, signature, signature.digest)
    push(http, name, artifact(f"deleted cosign {there}"), cosign)
    alone = run("delete", f"{name}:v2", "-o", "json", there=there)
    assert (json.loads(alone.stdout)["manifests"], tags(http, name)) == (0, [cosign, "v1"])
    wanted = ("delete", f"{name}@{made.digest}")
    here, far = run(*wanted, "--dry-run"), run(*wanted, "--dry-run", there=True)
    assert (here.returncode, here.stdout) == (0, far.stdout), far.stderr
    first, *rest = here.stdout.splitlines()
    assert first.startswith("3 manifests and 2 tags of 1 repositories would go; "), first
    assert rest[:3] == [f"- tag {cosign}", "- tag v1", f"- manifest {made.digest}"] or rest[:3] == [
        "- tag v1",
        f"- tag {cosign}",
        f"- manifest {made.digest}",
    ]
    assert f"- manifest {signature.digest}, which belongs to {made.digest}" in rest
    done = run(*wanted, there=there)
    assert done.stdout.startswith("3 manifests and 2 tags are deleted\n"), done.stderr
    assert tags(http, name) == []
    assert points_at(http, name, signature.digest) == ""
    back = done.stdout.splitlines()[1].removesuffix(" brings them back").split()[1:]
    assert run(*back, there=there).returncode == 0
    assert tags(http, name) == [cosign, "v1"]
    assert points_at(http, name, signature.digest) == signature.digest


@pytest.mark.parametrize("there", [False, True])
def test_a_repository(run: Run, http: httpx.Client, there: bool) -> None:
    """Only when that is confirmed; it is in no list then, and comes back."""
    name = f"gone-{there}/app".lower()
    push(http, name, multi_platform(f"gone {there}"), "v1", "v2")
    asked = run("delete", name, there=there)
    assert (asked.returncode, asked.stderr) == (1, "that is a lot: confirm with --yes\n")
    assert asked.stdout.startswith("3 manifests and 2 tags of 1 repositories would go; ")
    assert tags(http, name) == ["v1", "v2"]
    done = run("delete", name, "--yes", "-o", "json", there=there)
    told = json.loads(done.stdout)
    assert (told["manifests"], told["tags"], told["left"]) == (3, 2, False)
    assert name not in http.get("/v2/_catalog?n=1000").json()["repositories"]
    restored = run("trash", "restore", "--operation", told["operation"], there=there)
    assert restored.stdout == "restored 3 manifests and 2 tags\n", restored.stderr
    assert name in http.get("/v2/_catalog?n=1000").json()["repositories"]


@pytest.mark.parametrize("there", [False, True])
def test_a_namespace(run: Run, http: httpx.Client, there: bool) -> None:
    """With all below it; not while a robot is in one of them, and then nothing is deleted."""
    space = f"space-{there}".lower()
    for name in (space, f"{space}/sub"):
        assert run("namespace", "create", name, there=there).returncode == 0
        push(http, f"{name}/app", image(f"{name} {there}"), "v1")
    assert run("robot", "create", "ci", "--namespace", f"{space}/sub").returncode == 0
    wanted = ("namespace", "delete", space)
    kept = run(*wanted, there=there)
    assert (kept.returncode, "has 1 repositories and 1 namespaces" in kept.stderr) == (1, True)
    dry = run(*wanted, "--with-content", "--dry-run", there=there)
    why = f"robot${space}/sub+ci is in namespace {space}/sub: revoke it first"
    assert (dry.returncode, dry.stdout.splitlines()[-1]) == (2, f"! {why}"), dry.stderr
    refused = run(*wanted, "--with-content", "--yes", there=there)
    assert (refused.returncode, refused.stderr) == (1, f"{why}\n")
    assert tags(http, f"{space}/app") == ["v1"]
    assert run("robot", "revoke", f"robot${space}/sub+ci", there=there).returncode == 0
    asked = run(*wanted, "--with-content", there=there)
    assert (asked.returncode, "confirm with --yes" in asked.stderr) == (1, True)
    done = run(*wanted, "--with-content", "--yes", there=there)
    assert done.stdout.startswith("2 manifests and 2 tags are deleted\n"), done.stderr
    assert f"{space} is deleted" in done.stdout
    assert run("namespace", "show", f"{space}/sub", there=there).returncode == 1
    restored = run("trash", "restore", "--namespace", space, there=there)
    assert restored.stdout == "restored 2 manifests and 2 tags\n", restored.stderr
    assert tags(http, f"{space}/sub/app") == ["v1"]
    assert run("namespace", "create", f"{space}-empty", there=there).returncode == 0
    done = run("namespace", "delete", f"{space}-empty", "--with-content", "--yes", there=there)
    assert done.stdout.startswith("0 manifests and 0 tags are deleted\nnamespace "), done.stderr


@pytest.mark.parametrize(
    "words, says",
    [
        (("delete", "nothing", "--yes"), "there is no repository nothing"),
        (("delete", "nothing:v1", "--yes"), "or nothing in it called v1"),
        (("delete", "nothing:", "--yes"), "ends in ':'"),
        (("delete", "nothing@x", "--yes"), "'x' is no digest"),
        (("delete", "nothing@sha256:x", "--yes"), "is no tag and no digest"),
        (("namespace", "delete", "/", "--with-content", "--yes"), "the root"),
        (("namespace", "delete", "nowhere", "--with-content", "--yes"), "no namespace nowhere"),
        (("namespace", "delete", "x", "--with-content", "--move-up"), "say one of them"),
    ],
)
def test_what_can_not_be(run: Run, words: tuple[str, ...], says: str) -> None:
    here, there = run(*words), run(*words, there=True)
    assert (here.returncode, there.returncode) == (1, 1)
    assert says in here.stderr
    assert there.stderr == here.stderr


def test_what_the_api_refuses(http: httpx.Client) -> None:
    """Nobody deletes everything by leaving something out."""
    push(http, "kept", image("kept"), "v1")
    for path, body, status, says in (
        ("repositories/kept", {}, 400, "say what"),
        ("repositories/kept", {"reference": "v1", "whole": True}, 400, "say what"),
        ("repositories/kept", {"whole": True, "operation": "mine"}, 400, "operation"),
        ("repositories/kept", {"reference": "v1", "operation": "0" * 16}, 400, "say what"),
        ("namespaces/kept", {"whole": False}, 400, "whole"),
        ("namespaces/%2F", {"whole": True}, 400, "the root"),
    ):
        answer = http.post(f"/api/v1/deletions/{path}", json=body)
        assert (answer.status_code, says in answer.text) == (status, True), (path, answer.text)
    assert tags(http, "kept") == ["v1"]
