"""Passes of collection as people ask for them: in the form of `registry:2`, and over the API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.test_description import LOCAL, PASSWORD
from tests.collection.test_process import reclaimed
from tests.conformance.pushing import push_in_time
from tests.servers import Registry, free_port, start_registry, wait_until
from tests.wire.images import Image, image, multi_platform
from tests.work.conftest import Run, blob_file, push, told


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One that collects only when it is asked to."""
    config = {
        **LOCAL,
        "storage": {"delete": {"enabled": True}},
        "lifecycle": {"collection": {"grace": "2s", "enabled": False}, "trash": {"window": "0s"}},
    }
    root = tmp_path_factory.mktemp("collection") / "registry"
    with start_registry(root, config=config, workers=1) as running:
        yield running


def as_admin(registry: Registry) -> httpx.Client:
    return httpx.Client(base_url=registry.url, auth=("admin", PASSWORD), timeout=60)


def push_as_admin(registry: Registry, name: str, tag: str, made: Image) -> None:
    with as_admin(registry) as http:
        for blob in made.every_blob():
            path = f"/v2/{name}/blobs/uploads/"
            sent = http.post(path, params={"digest": blob.digest}, content=blob.data)
            assert sent.status_code == 201, sent.text
        for manifest in made.every_manifest():
            reference = tag if manifest is made.manifest else manifest.digest
            kind = {"content-type": manifest.media_type}
            path = f"/v2/{name}/manifests/{reference}"
            sent = http.put(path, content=manifest.data, headers=kind)
            assert sent.status_code == 201, sent.text


def test_the_habits_of_operators_are_safe(run: Run, registry: Registry) -> None:
    """`garbage-collect -m` beside the server: an image for several platforms stays, whose children
    have no tag, and what was deleted goes, with the lines that `registry:2` prints.
    """
    kept, gone = multi_platform("kept"), image("gone", layer_count=1)
    push_as_admin(registry, "habits", "latest", kept)
    push_as_admin(registry, "habits", "old", gone)
    with as_admin(registry) as http:
        assert http.delete(f"/v2/habits/manifests/{gone.digest}").status_code == 202
        printed = ""

        def collect() -> bool:
            nonlocal printed
            done = run("garbage-collect", "-m", registry.config_path)
            assert done.returncode == 0, done.stderr
            printed += done.stdout
            return not any(blob_file(registry, blob.digest).exists() for blob in gone.blobs)

        wait_until(collect, seconds=60, what="collection")
        for blob in gone.blobs:
            assert f"blob eligible for deletion: {blob.digest}\n" in printed
        marked = len(kept.every_blob())
        assert (
            f"\n{marked} blobs marked, 2 blobs and 0 manifests eligible for deletion\n" in printed
        )
        for manifest in kept.every_manifest():
            answer = http.get(
                f"/v2/habits/manifests/{manifest.digest}", headers={"accept": manifest.media_type}
            )
            assert answer.content == manifest.data
    quiet = run("garbage-collect", "--quiet", "--dry-run", registry.config_path)
    assert (quiet.returncode, quiet.stdout) == (0, "")


def test_over_the_api(run: Run, registry: Registry) -> None:
    """A pass, its history, how collection is going, and a schedule."""
    login = run("login", registry.url, "-u", "admin", "--password-stdin", text=PASSWORD)
    assert login.returncode == 0, login.stderr
    place = ("--url", registry.url)
    done = told(run("gc", "run", *place, "-o", "json"))
    assert (done["kind"], done["outcome"], done["report"]["dry_run"]) == (
        "collect",
        "success",
        False,
    )
    dry = run("gc", "run", "-d", *place)
    assert "would be deleted: " in dry.stdout
    history = told(run("gc", "history", *place, "-o", "json"))
    assert [each["report"]["dry_run"] for each in history[:2]] == [True, False]
    status = told(run("gc", "status", *place, "-o", "json"))
    assert status["last_run"]["id"] == history[0]["id"]
    assert (status["overdue"], status["failed"], status["taking_over"]) == (0, [], False)
    assert told(run("gc", "status", "-c", registry.config_path, "-o", "json")).keys() == (
        status.keys()
    )
    words = ("--schedule", "0 3 * * *", "--timezone", "Asia/Shanghai", "--jitter", "5m", "-m")
    made = told(run("gc", *words, *place, "-o", "json"))
    assert (made["name"], made["kind"], made["cron"]) == ("gc", "collect", "0 3 * * *")
    assert (made["timezone"], made["jitter"]) == ("Asia/Shanghai", 300)
    assert made["settings"] == {"dry_run": False, "delete_untagged": True}
    assert "dry_run: no, delete_untagged: yes" in run("schedule", "list", *place).stdout
    assert run("schedule", "remove", "gc", *place).returncode == 0


@pytest.mark.parametrize(
    "words, says",
    [
        (("gc", "--schedule", "0 25 * * *"), "'25' is no hour"),
        (("gc", "--schedule", "@daily", "--timezone", "Nowhere"), "'Nowhere' is no time zone"),
        (("gc", "--timezone", "UTC"), "say when with --schedule"),
        (("gc", "--schedule", "@daily", "run"), "--schedule stands alone"),
        (("gc", "-m", "run"), "behind these words"),
        (("garbage-collect", "/nowhere.yml"), "/nowhere.yml"),
    ],
)
def test_what_is_wrong_is_said(
    run: Run, registry: Registry, words: tuple[str, ...], says: str
) -> None:
    at = () if words[-1] in {"run", "/nowhere.yml"} else ("-c", str(registry.config_path))
    done = run(*words, *at)
    assert done.returncode == 1, done.stdout
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_server_the_command_does_it_and_says_what_is_kept(
    tmp_path: Path, run: Run
) -> None:
    """With the usual times nothing goes at once: the output says until when, and why."""
    config = {"storage": {"delete": {"enabled": True}}}
    made = image("kept a while", layer_count=1)
    with start_registry(tmp_path / "registry", config=config, workers=1) as registry:
        push(registry, "app", "1", made)
        assert httpx.delete(f"{registry.url}/v2/app/manifests/1").status_code == 202
        registry.stop()
        dry = run("garbage-collect", "--dry-run", registry.config_path)
        done = run("garbage-collect", registry.config_path)
        assert done.returncode == dry.returncode == 0, done.stderr
        for text in (done.stdout, dry.stdout):
            assert "\n2 blobs marked, 0 blobs and 0 manifests eligible for deletion\n" in text
            assert re.search(r"1 manifests that lost a tag, which was deleted: 20\d\d-", text)
            assert "can be restored for 7d (lifecycle.trash.window)" in text
        for blob in made.blobs:
            assert blob_file(registry, blob.digest).exists()


def test_what_a_pass_of_the_server_deletes_is_counted(tmp_path: Path, run: Run) -> None:
    """The pass and the collector that works all the time get along, and count alike."""
    address = f"127.0.0.1:{free_port()}"
    config = {
        "storage": {"delete": {"enabled": True}},
        "lifecycle": {"collection": {"grace": "2s"}, "trash": {"window": "0s"}},
        "http": {"debug": {"addr": address, "prometheus": {"enabled": True}}},
    }
    made = image("counted", layer_count=1)
    with start_registry(tmp_path / "registry", config=config, workers=1) as registry:
        with httpx.Client(base_url=registry.url) as http:
            push_in_time(http, "app", made, tag="1")
        assert httpx.delete(f"{registry.url}/v2/app/manifests/1").status_code == 202
        size = sum(len(blob.data) for blob in made.blobs)

        def collected() -> bool:
            done = run("garbage-collect", "-q", registry.config_path)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
            return reclaimed(address) == size

        wait_until(collected, seconds=60, what="collection")
        status = json.loads(run("gc", "status", "-c", registry.config_path, "-o", "json").stdout)
        assert (status["reclaimed_bytes"], status["reclaimed_blobs"]) == (size, 2)
