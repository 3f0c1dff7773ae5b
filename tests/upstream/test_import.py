"""`entrepot import --from URL`, from real registries into one that is running."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import bcrypt
import httpx
import pytest

from tests.conformance.answers import assert_status
from tests.conformance.pushing import push
from tests.servers import Registry, start_registry
from tests.takeover.peer import copied, old_registry
from tests.upstream.importing import (
    counts,
    digest_at,
    failures,
    large_image,
    push_all,
    run,
)
from tests.upstream.scripted import Heard, Reply, challenge, scripted
from tests.wire.images import (
    Image,
    artifact,
    docker_list,
    fallback_tag,
    image,
    index,
    multi_platform,
)

PASSWORD = "s3cret-of-the-old-one"


# What arrives -----------------------------------------------------------------------------------


def test_everything_of_a_docker_registry(tmp_path: Path, target: Registry) -> None:
    """Lists, shared layers, several repositories; digests are kept, and a second run asks for
    nothing again but brings tags that moved and images that are new.
    """
    big = large_image("big")
    images = {
        "team/app:v1": image("app v1"),
        "team/app:v2": image("app v2"),
        "team/app:multi": multi_platform("app"),
        "docker/list:latest": docker_list("docker list"),
        "copy/of/app:v1": image("app v1"),
        "big:1": big,
    }
    with old_registry(tmp_path / "old") as host:
        push_all(f"http://{host}", images)
        done = run(target, "--from", f"http://{host}")
        assert done.returncode == 0, done.stderr
        assert counts(done)["tags set"] == len(images)
        for reference, made in images.items():
            assert digest_at(target.url, reference) == made.digest
        assert copied(target.host, "team/app:multi", tmp_path / "a") == copied(
            host, "team/app:multi", tmp_path / "b"
        )
        blob = big.blobs[1]
        assert httpx.get(f"{target.url}/v2/big/blobs/{blob.digest}").content == blob.data

        changes = {"team/app:v1": image("app moved"), "new:1": image("new")}
        push_all(f"http://{host}", {**changes, "team/app:multi": image("app v2")})
        again = run(target, f"--from=http://{host}")
        assert again.returncode == 0, again.stderr
        assert counts(again) == {
            "repositories": 5,
            "tags set": 3,
            "unchanged": 4,
            "manifests": 2,
            "blobs": 6,
            "failed": 0,
        }
        assert digest_at(target.url, "team/app:v1") == image("app moved").digest
        assert digest_at(target.url, "team/app:multi") == image("app v2").digest


def test_what_refers_to_an_image_comes_with_it(tmp_path: Path, target: Registry) -> None:
    """From a registry with the referrers API, and from one without: there clients keep lists and
    signatures under tags of their own, which no pattern for tags needs to name.
    """
    signed = image("signed")
    statement = artifact("sbom", subject=signed.manifest)
    signature = artifact("signature of the sbom", subject=statement.manifest)
    other = image("not wanted")
    listed = index([statement], fields={})
    cosign = fallback_tag(signed.digest) + ".sig"
    with start_registry(tmp_path / "other", workers=1) as source:
        push_all(source.url, {"new:v1": signed, "new:old": other})
        with httpx.Client(base_url=source.url) as http:
            push(http, "new", statement)
            push(http, "new", signature)
        done = run(target, "--from", source.url, "--tag", "v*")
        assert done.returncode == 0, done.stderr
    assert counts(done)["manifests"] == 3
    assert referrers(target, "new", signed) == [statement.digest]
    assert referrers(target, "new", statement) == [signature.digest]
    assert digest_at(target.url, "new:old") is None

    with old_registry(tmp_path / "old") as host:
        push_all(
            f"http://{host}",
            {
                "old:v1": signed,
                "old:old": other,
                f"old:{cosign}": artifact("cosign"),
                f"old:{fallback_tag(signed.digest)}": listed,
            },
        )
        done = run(target, "--from", f"http://{host}", "--tag", "v1")
        assert done.returncode == 0, done.stderr
    assert referrers(target, "old", signed) == [statement.digest]
    assert digest_at(target.url, f"old:{cosign}") == artifact("cosign").digest
    assert digest_at(target.url, "old:old") is None


def referrers(registry: Registry, name: str, subject: Image) -> list[str]:
    answer = httpx.get(f"{registry.url}/v2/{name}/referrers/{subject.digest}")
    assert_status(answer, 200)
    return [entry["digest"] for entry in answer.json()["manifests"]]


def test_lists_that_are_nested_too_deeply(tmp_path: Path, target: Registry) -> None:
    made = image("at the bottom")
    for _ in range(18):
        made = index([made])
    with start_registry(tmp_path / "other", workers=1) as source:
        push_all(source.url, {"deep:v1": made, "flat:v1": image("flat")})
        done = run(target, "--from", source.url)
    assert failures(done) == {"deep:v1": "lists are nested too deeply"}
    assert digest_at(target.url, "flat:v1")


def test_sha512_and_lists_of_lists(tmp_path: Path, target: Registry) -> None:
    images = {
        "algorithms:v1": image("sha512", algorithm="sha512"),
        "nested:v1": index([index([image("inner")]), image("outer")]),
    }
    with start_registry(tmp_path / "other", workers=1) as source:
        push_all(source.url, {"nested:v1": images["nested:v1"]})
        with httpx.Client(base_url=source.url) as http:
            push(http, "algorithms", images["algorithms:v1"])
            put = http.put(
                f"/v2/algorithms/manifests/{images['algorithms:v1'].digest}?tag=v1",
                content=images["algorithms:v1"].manifest.data,
                headers={"Content-Type": images["algorithms:v1"].manifest.media_type},
            )
            assert_status(put, 201)
        done = run(target, "--from", source.url)
        assert done.returncode == 0, done.stderr
        for reference, made in images.items():
            assert digest_at(target.url, reference) == made.digest


# What is selected -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, wanted",
    [
        (["--repository", "team/*"], {"team/a:v1", "team/a:v2", "team/b/c:v1"}),
        (["--repository", "team/*", "--exclude", "*/c"], {"team/a:v1", "team/a:v2"}),
        (["--exclude", "team/*", "--tag", "v1"], {"mine:v1"}),
        (["--repository", "mine", "--repository", "team/b/c"], {"mine:v1", "team/b/c:v1"}),
        (["--tag", "v[2-9]"], {"team/a:v2"}),
    ],
)
def test_patterns(
    registry: Registry, tmp_path: Path, options: Sequence[str], wanted: set[str]
) -> None:
    """They choose repositories and tags."""
    references = {"team/a:v1", "team/a:v2", "team/b/c:v1", "mine:v1"}
    prefix = "chosen"
    push_all(registry.url, {f"{prefix}/{ref}": image(ref) for ref in references})
    given = [
        f"{prefix}/{word}" if option in {"--repository", "--exclude"} else word
        for option, word in zip(["", *options], options, strict=False)
    ]
    if "--repository" not in given:
        given += ["--repository", f"{prefix}/*"]
    with start_registry(tmp_path / "new") as target:
        done = run(target, "--from", registry.url, *given)
        assert done.returncode == 0, done.stderr
        found = {ref for ref in references if digest_at(target.url, f"{prefix}/{ref}")}
        assert found == wanted


def test_without_a_catalog_names_in_full_will_do(target: Registry) -> None:
    """As on hubs, which list nothing. What is named or listed, and not there, is a failure."""
    made = image("no catalog")
    content = {c.digest: c for c in (made.manifest, *made.blobs)}
    gone = "sha256:" + "0" * 64
    referrers = Reply(200, json.dumps({"manifests": [{"digest": gone}]}).encode())

    def answer(heard: Heard) -> Reply:
        last = heard.path.rpartition("/")[2]
        if "/referrers/" in heard.path:
            return referrers
        if "/v2/only/" in heard.path and last in {"list", "v1", *content}:
            if last == "list":
                return Reply(200, b'{"tags": ["v1"]}')
            found = content[made.digest if last == "v1" else last]
            return Reply(200, found.data, {"Content-Type": found.media_type})
        if heard.path == "/v2/":
            return Reply(200)
        return challenge('Basic realm="x"') if "_catalog" in heard.path else Reply(404)

    with scripted(answer) as site:
        done = run(target, "--from", site.url, "--repository", "only", "--repository", "gone")
        assert done.returncode == 1
        assert digest_at(target.url, "only:v1") == made.digest, done.stderr
        assert failures(done) == {
            "gone": "there is no such repository, or it has no tags",
            f"only@{gone}": "it is listed as a referrer, but not there",
        }
        listed = run(target, "--from", site.url)
        assert listed.returncode == 1
        assert "asks for a user and a password" in listed.stderr


@pytest.mark.parametrize("jobs", [1, 3])
def test_so_many_requests_at_once(target: Registry, jobs: int) -> None:
    """As `--jobs` says: never more, and as many as long as there is enough to ask for."""
    images = {f"v{n}": image(f"at once {n}") for n in range(6)}
    content = {c.digest: c for made in images.values() for c in (made.manifest, *made.blobs)}
    lock, enough = threading.Lock(), threading.Event()
    running: list[int] = [0]

    def answer(heard: Heard) -> Reply:
        last = heard.path.rpartition("/")[2]
        if last == "_catalog":
            return Reply(200, b'{"repositories": ["app"]}')
        if last == "list":
            return Reply(200, json.dumps({"tags": list(images)}).encode())
        wanted = images[last].digest if last in images else last
        if wanted not in content:
            return Reply(200 if heard.path == "/v2/" else 404)
        with lock:
            running.append(running[-1] + 1)
            if running[-1] == jobs:
                enough.set()
        enough.wait(60)
        with lock:
            running.append(running[-1] - 1)
        return Reply(200, content[wanted].data, {"Content-Type": content[wanted].media_type})

    with scripted(answer) as site:
        done = run(target, "--from", site.url, "--jobs", str(jobs))
    assert done.returncode == 0, done.stderr
    assert max(running) == jobs
    assert all(digest_at(target.url, f"app:{tag}") == images[tag].digest for tag in images)


# Who may ----------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """docker-registry that lets in `ann` only, with the image `team/app:v1`."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    users = tmp_path / "htpasswd"
    users.write_text(f"ann:{hashed}\n")
    root = tmp_path / "old"
    with old_registry(root) as host:
        push_all(f"http://{host}", {"team/app:v1": image("guarded")})
    with old_registry(root, auth={"htpasswd": {"realm": "old", "path": str(users)}}) as host:
        yield host


def test_credentials(guarded: str, target: Registry, tmp_path: Path) -> None:
    """From standard input, the environment, or the configuration of docker."""
    source = ["--from", f"http://{guarded}"]
    without = run(target, *source)
    assert without.returncode == 1
    assert "asks for a user and a password" in without.stderr

    typed = run(target, *source, "--username", "ann", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert typed.returncode == 0, typed.stderr
    assert digest_at(target.url, "team/app:v1") == image("guarded").digest

    names = {"ENTREPOT_IMPORT_USERNAME": "ann", "ENTREPOT_IMPORT_PASSWORD": PASSWORD}
    assert run(target, *source, env=names).returncode == 0

    logins = tmp_path / "docker"
    logins.mkdir()
    auth = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
    (logins / "config.json").write_text(json.dumps({"auths": {guarded: {"auth": auth}}}))
    assert run(target, *source).returncode == 0

    wrong = run(target, *source, "--username", "ann", "--password-stdin", stdin=f"{PASSWORD}x\n")
    assert wrong.returncode == 1
    assert "refuses this user or password" in wrong.stderr
    for done in (without, typed, wrong):
        assert PASSWORD not in done.stdout + done.stderr


def test_credentials_by_halves(target: Registry) -> None:
    half = run(target, "--from", "http://127.0.0.1:1", "--username", "ann")
    assert half.returncode == 1
    assert "--password-stdin" in half.stderr
    other = run(target, "--from", "http://127.0.0.1:1", "--password-stdin", stdin="x\n")
    assert "needs --username" in other.stderr
    inside = run(target, "--from", f"http://ann:{PASSWORD}@127.0.0.1:1")
    assert inside.returncode == 1
    assert PASSWORD not in inside.stderr
