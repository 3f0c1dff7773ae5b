"""`entrepot import --from URL` when something fails, and what a terminal sees of it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from entrepot.config import load
from entrepot.copying import copy
from entrepot.services.copying import Counts, Failure, Selection
from entrepot.upstream import UpstreamAddress, UpstreamOptions, UpstreamUnreachableError
from tests import programs
from tests.servers import Registry, wait_until
from tests.takeover.peer import old_registry
from tests.upstream.importing import (
    command,
    counts,
    digest_at,
    environment,
    failures,
    large_image,
    push_all,
    run,
)
from tests.upstream.scripted import Heard, Reply, scripted
from tests.wire.images import (
    OCTETS,
    Content,
    Image,
    image,
)

# What fails -------------------------------------------------------------------------------------


def test_what_is_broken_is_told_and_the_rest_arrives(tmp_path: Path, target: Registry) -> None:
    """Once it is mended, the same command brings it."""
    broken, whole = large_image("broken"), image("whole")
    with old_registry(tmp_path / "old") as host:
        push_all(f"http://{host}", {"app:broken": broken, "app:whole": whole})
        encoded = broken.blobs[1].digest.removeprefix("sha256:")
        blobs = tmp_path / "old" / "docker" / "registry" / "v2" / "blobs" / "sha256"
        file = blobs / encoded[:2] / encoded / "data"
        bytes_ = file.read_bytes()
        file.write_bytes(bytes(len(bytes_)))
        done = run(target, "--from", f"http://{host}")
        assert done.returncode == 1
        assert counts(done)["failed"] == 1
        assert "other bytes" in failures(done)["app:broken"]
        assert digest_at(target.url, "app:whole") == whole.digest
        assert digest_at(target.url, "app:broken") is None
        assert list((target.root / "entrepot" / "uploads").glob("*")) == []
        file.write_bytes(bytes_)
        mended = run(target, "--from", f"http://{host}")
        assert mended.returncode == 0, mended.stderr
        assert counts(mended)["unchanged"] == 1
        assert digest_at(target.url, "app:broken") == broken.digest


def test_an_import_that_was_killed_goes_on(registry: Registry, target: Registry) -> None:
    references = {f"killed/app{n % 4}:v{n}": image(f"killed {n}") for n in range(40)}
    push_all(registry.url, references)
    source = ["--from", registry.url, "--repository", "killed/*", "--jobs", "1"]
    first = subprocess.Popen(
        command(target, *source),
        env=environment(target),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any_there(target, references), seconds=60, what="the first tag")
    finally:
        first.kill()
        first.wait(60)
    done = run(target, *source)
    assert done.returncode == 0, done.stderr
    found = counts(done)
    assert found["tags set"] + found["unchanged"] == 40
    assert found["unchanged"] > 0
    for reference, made in references.items():
        assert digest_at(target.url, reference) == made.digest


def any_there(target: Registry, references: dict[str, Image]) -> bool:
    return any(digest_at(target.url, reference) for reference in references)


def test_a_registry_that_goes_away_ends_it(tmp_path: Path) -> None:
    """Not every one of a thousand tags is tried again and again."""

    def answer(heard: Heard) -> Reply:
        if heard.path == "/v2/":
            return Reply(200)
        if heard.path.endswith("/tags/list"):
            return Reply(200, json.dumps({"tags": [f"v{n}" for n in range(1000)]}).encode())
        return Reply(503)

    file = tmp_path / "config.yml"
    root = tmp_path / "new"
    file.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n")
    told: list[Counts | Failure] = []
    with scripted(answer) as site, pytest.raises(UpstreamUnreachableError, match="is gone"):
        copy(
            load(file, {}).config,
            UpstreamAddress.parse(site.url),
            UpstreamOptions(attempts=2, pause=0.001),
            selection=Selection(repositories=("app",)),
            jobs=2,
            tell=told.append,
        )
    assert len(site.requests) < 50


def test_old_kinds_and_odd_names_are_failures(target: Registry) -> None:
    """Each is told with its reason; nothing of it breaks the rest."""
    large = Content(OCTETS, b" " * 5_000_000)

    def answer(heard: Heard) -> Reply:
        match heard.path.removeprefix("/v2/").rpartition("/")[2]:
            case "_catalog":
                return Reply(200, b'{"repositories": ["app", "../../etc", "UPPER"]}')
            case "list":
                return Reply(200, b'{"tags": ["old", "large", "none", "lost", "../up", "text"]}')
            case "old":
                kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
                return Reply(200, b"{}", {"Content-Type": kind})
            case "large":
                return Reply(200, large.data)
            case "lost":
                return Reply(200, b"", {"Docker-Content-Digest": large.digest})
            case "text":
                return Reply(200, b"hello")
            case "":
                return Reply(200)
        return Reply(404)

    with scripted(answer) as site:
        done = run(target, "--from", site.url)
        assert done.returncode == 1
        found = failures(done)
        assert all(".." not in request.path for request in site.requests)
    names = ("old", "large", "none", "lost", "../up", "text")
    assert set(found) == {"../../etc", "UPPER", *(f"app:{name}" for name in names)}
    assert "schema 1" in found["app:old"]
    assert "longer than" in found["app:large"]
    assert "no such manifest" in found["app:none"]
    assert "not there" in found["app:lost"]


@pytest.mark.parametrize(
    "storage, told",
    [
        ("{inmemory: {}}", "storage.inmemory"),
        (
            "{filesystem: {rootdirectory: ROOT}, maintenance: {readonly: {enabled: true}}}",
            "readonly",
        ),
    ],
)
def test_registries_that_can_take_nothing(tmp_path: Path, storage: str, told: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(f"version: 0.1\nstorage: {storage.replace('ROOT', str(tmp_path / 'r'))}\n")
    done = programs.run("import", "--from", "http://127.0.0.1:1", str(file))
    assert done.returncode == 1
    assert told in done.stderr


def test_a_terminal_sees_one_line_that_changes(registry: Registry, target: Registry) -> None:
    """And no JSON; failures stay."""
    push_all(registry.url, {"seen/app:v1": image("seen")})
    ours, theirs = pty.openpty()
    try:
        names = ("--repository", "seen/app", "--repository", "seen/none")
        done = subprocess.run(
            command(target, "--from", registry.url, *names),
            env=environment(target),
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=False,
            timeout=110,
        )
        os.close(theirs)
        seen = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
    assert done.returncode == 1
    assert "1 failed" in done.stdout.decode()
    assert "seen/none: there is no such repository" in seen
    assert "\r\x1b[K" in seen
    assert "{" not in seen
