"""`entrepot import --from URL`, from real registries into one that is running."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import bcrypt
import httpx
import pytest

from entrepot.config import load
from entrepot.copying import copy
from entrepot.services.copying import Counts, Failure, Selection
from entrepot.upstream import UpstreamAddress, UpstreamOptions, UpstreamUnreachableError
from tests.conformance.answers import assert_status
from tests.conformance.pushing import push
from tests.servers import Registry, start_registry, wait_until
from tests.takeover.peer import copied, old_registry
from tests.upstream.scripted import Heard, Reply, challenge, scripted
from tests.wire.images import (
    OCTETS,
    Content,
    Image,
    artifact,
    config,
    docker_list,
    fallback_tag,
    image,
    index,
    manifest,
    multi_platform,
    random_bytes,
)

PASSWORD = "s3cret-of-the-old-one"
ACCEPT = {"Accept": "*/*"}


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Registry]:
    with start_registry(tmp_path / "new") as running:
        yield running


def run(
    target: Registry, *arguments: str, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(target, *arguments),
        input=stdin,
        env=environment(target, env),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def command(target: Registry, *arguments: str) -> list[str]:
    start = [sys.executable, "-m", "entrepot", "import"]
    return [*start, *arguments, str(target.config_path)]


def environment(target: Registry, more: dict[str, str] | None = None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "ENTREPOT_"))}
    return {**kept, "DOCKER_CONFIG": str(target.root.with_name("docker")), **(more or {})}


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The numbers of the last line, by what they count."""
    found = re.findall(r"(\d+) (repositories|tags set|unchanged|manifests|blobs)", done.stdout)
    failed = re.search(r"(\d+) failed", done.stdout)
    assert failed is not None, done.stdout + done.stderr
    return {what: int(number) for number, what in found} | {"failed": int(failed[1])}


def failures(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Why what failed: the lines of JSON on standard error."""
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return {line["place"]: line["reason"] for line in lines if line["message"] == "not copied"}


def digest_at(base: str, image: str) -> str | None:
    name, _, tag = image.partition(":")
    answer = httpx.head(f"{base}/v2/{name}/manifests/{tag}", headers=ACCEPT)
    return answer.headers.get("Docker-Content-Digest") if answer.status_code == 200 else None


def push_all(base: str, images: dict[str, Image]) -> None:
    with httpx.Client(base_url=base, timeout=60) as http:
        for reference, made in images.items():
            name, _, tag = reference.partition(":")
            push(http, name, made, tag=tag)


def large_image(seed: str) -> Image:
    """An image with a layer that is streamed."""
    layer = Content("application/vnd.oci.image.layer.v1.tar", random_bytes(3_000_000, seed))
    about = config([], author=seed)
    return Image(manifest(about, [layer]), (about, layer))


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
        first.wait(10)
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
    done = subprocess.run(
        [sys.executable, "-m", "entrepot", "import", "--from", "http://127.0.0.1:1", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
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
