"""`entrepot retention` on the host and over the API: the same words, the same output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.api.test_description import LOCAL, PASSWORD
from tests.servers import Registry, start_registry
from tests.wire.images import image

AUTH = ("admin", PASSWORD)
POLICY = """
rules:
  - name: builds
    tags: "b*"
    keep:
      - newest: 2
exceptions:
  - tags: b1
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with start_registry(
        tmp_path_factory.mktemp("retention") / "registry", config=LOCAL, workers=1
    ) as running:
        for tag in ("b1", "b2", "b3", "b4", "latest"):
            push(running, "app", tag)
        yield running


def push(registry: Registry, name: str, tag: str) -> None:
    made = image(f"{name} {tag}")
    with httpx.Client(auth=AUTH, base_url=f"{registry.url}/v2/{name}") as client:
        for blob in made.blobs:
            uploads = client.post(
                "/blobs/uploads/", params={"digest": blob.digest}, content=blob.data
            )
            assert uploads.status_code == 201, uploads.text
        kind = {"content-type": made.manifest.media_type}
        put = client.put(f"/manifests/{tag}", content=made.manifest.data, headers=kind)
        assert put.status_code == 201, put.text


@pytest.fixture
def run(registry: Registry, tmp_path: Path) -> Run:
    """Runs the program here and, with `there`, over the API."""

    def start(*words: str, text: str = "", there: bool = False) -> Any:
        place = ("--url", registry.url) if there else ("--config", str(registry.config_path))
        known = {k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "ENTREPOT"))}
        docker = {"auths": {registry.host: {"username": AUTH[0], "password": AUTH[1]}}}
        (tmp_path / "config.json").write_text(json.dumps(docker))
        return subprocess.run(
            [sys.executable, "-m", "entrepot", "retention", *words, *place],
            env={**known, "DOCKER_CONFIG": str(tmp_path)},
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


def test_a_policy_from_first_to_last(run: Run) -> None:
    made = run("set", "/", "--file", "-", text=POLICY)
    assert made.returncode == 0, made.stderr
    assert "retention preview /" in made.stdout
    found = {}
    for words in (("show", "/"), ("preview", "/", "--all"), ("preview", "/", "-o", "json")):
        here, there = run(*words), run(*words, there=True)
        assert (here.stdout, here.returncode) == (there.stdout, 0), there.stderr
        found[words] = here.stdout
    policy, text, encoded = found.values()
    assert yaml.safe_load(policy) == yaml.safe_load(POLICY)
    shown = text.splitlines()
    assert shown[:-1] == [
        "app: 1 of 5 tags go",
        "  b1  (exceptions[0] an exception)",
        "- b2  (builds keeps only the newest 2 by push)",
        "  b3  (builds keeps the newest 2 by push)",
        "  b4  (builds keeps the newest 2 by push)",
        "  latest  (no rule is about it)",
    ]
    assert shown[-1].startswith("1 of 5 tags in 1 repositories and 0 untagged manifests go; at le")
    told = json.loads(encoded)
    assert told["totals"]["going"] == 1
    assert [entry["tag"] for entry in told["repositories"][0]["entries"]] == ["b2"]
    assert run("remove", "/", there=True).returncode == 0
    gone = run("show", "/", there=True)
    assert (gone.returncode, "all is kept" in gone.stderr) == (1, True)


def test_a_run(run: Run, registry: Registry) -> None:
    """By the server that runs, whoever asks for it; what a preview says goes."""
    for tag in ("c1", "c2", "c3"):
        push(registry, "run", tag)
    policy = "rules: [{name: old, repositories: run, keep: [{newest: 1}]}]"
    assert run("set", "/", "--file", "-", text=policy).returncode == 0
    dry = run("run", "/", "--dry-run")
    assert dry.stdout.startswith("2 of 3 tags in 1 repositories would go; at least"), dry.stderr
    done = run("run", "/", there=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 of 3 tags in 1 repositories are deleted; at least")
    assert "in the trash they are operation " in done.stdout
    told = json.loads(run("run", "/", "-o", "json", there=True).stdout)
    assert (told["outcome"], told["report"]["going"]) == ("success", 0)
    tags = httpx.get(f"{registry.url}/v2/run/tags/list", auth=AUTH).json()["tags"]
    assert tags == ["c3"]
    assert run("set", "/", "--file", "-", text="rules: [{keep: []}]").returncode == 0
    stopped = run("run", "/", there=True)
    assert (stopped.returncode, "run: all 1 tags would go" in stopped.stdout) == (2, True)
    assert run("remove", "/").returncode == 0
    answer = httpx.get(f"{registry.url}/api/v1/retention/runs/nowhere?run=1", auth=AUTH)
    assert answer.status_code == 404
    wrong = run("run", "NO", there=True)
    assert (wrong.returncode, "can't be a namespace" in wrong.stderr) == (1, True)


def test_an_image_on_hold_stays_and_the_report_says_why(run: Run, registry: Registry) -> None:
    name = "legal"
    for tag in ("v1", "v2", "v3"):
        push(registry, name, tag)
    body = {"repository": name, "reference": "v1", "reason": "a lawsuit", "owner": "law"}
    policy = f"rules: [{{repositories: {name}, keep: [{{newest: 1}}]}}]"
    assert run("set", "/", "--file", "-", text=policy).returncode == 0
    with httpx.Client(auth=AUTH, base_url=registry.url) as client:
        placed = client.post("/api/v1/holds", json=body).raise_for_status().json()
        why = f"hold {placed['id']} of law keeps {name}@{image(f'{name} v1').digest}: a lawsuit"
        assert f"  v1  ({why})" in run("preview", "/", "--all").stdout.splitlines()
        done = run("run", "/", there=True)
        assert done.stdout.startswith("1 of 3 tags in 1 repositories are deleted"), done.stderr
        assert f"1 stay: {why}" in done.stdout.splitlines()
        assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["v1", "v3"]
        client.delete(f"/api/v1/holds/{placed['id']}").raise_for_status()
        again = run("run", "/", there=True)
        assert again.stdout.startswith("1 of 2 tags in 1 repositories are deleted"), again.stderr
        assert " stay: " not in again.stdout
    assert run("remove", "/").returncode == 0


def test_a_preview_says_what_would_stop_a_run(run: Run) -> None:
    made = run("set", "/", "--file", "-", text="rules: [{keep: []}]")
    assert made.returncode == 0, made.stderr
    shown = run("preview", "/")
    assert shown.returncode == 2
    assert "! by the policy of / nothing goes" in shown.stdout
    assert "app: all 5 tags would go" in shown.stdout
    assert run("remove", "/").returncode == 0


@pytest.mark.parametrize(
    "text, told",
    [
        ("rules: [{keep: [{newst: 3}]}]", "rules[0].keep[0]: 'newst' is unknown; did you mean new"),
        ("rules: [", "is no YAML"),
    ],
)
def test_broken_policies_are_refused(run: Run, text: str, told: str) -> None:
    done = run("set", "/", "--file", "-", text=text)
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr


def test_broken_policies_are_refused_by_the_api(registry: Registry) -> None:
    url = f"{registry.url}/api/v1/retention/policies/%2F"
    for policy, told in (
        ({"rules": [{"keep": [{"newst": 3}]}]}, "unknown field `newst` - at `$.rules[0].keep[0]`"),
        ({"rules": [{"tags": "v+", "keep": []}]}, "rules[0].tags: pattern 'v+', character 2"),
    ):
        answer = httpx.put(url, json=policy, auth=AUTH)
        assert answer.status_code == 400
        assert told in answer.json()["errors"][0]["detail"]["reason"]
    missing = httpx.put(
        f"{registry.url}/api/v1/retention/policies/nowhere", json={"rules": []}, auth=AUTH
    )
    assert missing.status_code == 404
