"""Every client that people have, known to the registry by its certificate alone: nobody logs in."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import pytest

from tests.certificates import Authority
from tests.clients.daemons import dockerd
from tests.clients.sites import ClientError
from tests.clients.tools import furnish, make_chart
from tests.images_on_disk import GREETING, make_image
from tests.programs import environment, run
from tests.servers import Registry, start_registry, wait_until

_IMAGE: Final = "{host}/{repository}:1"
_KEYS: Final = "--ca-file {keys}/ca.crt --cert-file {keys}/client.cert --key-file {keys}/client.key"
_CURL: Final = (
    "curl --silent --show-error --fail-with-body --cacert {keys}/ca.crt --cert {keys}/client.cert "
    "--key {keys}/client.key"
)
_BLOBS: Final = "https://{host}/v2/{repository}/blobs"
_KIND: Final = "Content-Type:application/vnd.oci.image.manifest.v1+json"

PUSH: Final[dict[str, tuple[str, ...]]] = {
    "docker": (
        f"docker import {{home}}/image.tar {_IMAGE}",
        f"docker push {_IMAGE}",
        f"docker rmi {_IMAGE}",
    ),
    "podman": (
        f"podman import {{home}}/image.tar {_IMAGE}",
        f"podman push --cert-dir={{keys}} {_IMAGE}",
        f"podman rmi {_IMAGE}",
    ),
    "skopeo": (f"skopeo copy --dest-cert-dir={{keys}} oci:{{home}}/layout:one docker://{_IMAGE}",),
    "oras": (f"oras push {_KEYS} {_IMAGE} notes.txt:text/plain",),
    "helm": (f"helm push {_KEYS} {{home}}/chart-1.0.0.tgz oci://{{host}}/{{repository}}",),
    "curl": (
        f"{_CURL} --data-binary @notes.txt {_BLOBS}/uploads/?digest={{digest}}",
        f"{_CURL} -T manifest.json -H {_KIND} https://{{host}}/v2/{{repository}}/manifests/1",
    ),
}
"""What each client does, with `{keys}` for the folder of its certificate. docker's engine looks
into its own, `/etc/docker/certs.d/HOST:PORT`.
"""

PULL: Final[dict[str, tuple[str, ...]]] = {
    "docker": (f"docker pull {_IMAGE}", f"docker rmi {_IMAGE}"),
    "podman": (f"podman pull --cert-dir={{keys}} {_IMAGE}",),
    "skopeo": (f"skopeo copy --src-cert-dir={{keys}} docker://{_IMAGE} oci:{{home}}/back:one",),
    "oras": (f"oras pull {_KEYS} --output={{home}}/back {_IMAGE}",),
    "helm": (f"helm pull {_KEYS} -d {{home}}/back oci://{{host}}/{{repository}}/chart",),
    "curl": (
        f"{_CURL} https://{{host}}/v2/{{repository}}/manifests/1",
        f"{_CURL} --output {{home}}/back/notes.txt {_BLOBS}/{{digest}}",
    ),
}

REFUSED: Final = re.compile(
    r"(?i)unauthorized|authentication required|denied|not found|unknown"
    r"|compare and swap of inconsistently typed value"
)
"""What clients say to a refusal, oras 1.2 by that panic when two blobs are refused at once."""

Folders = dict[str, Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The authority, and for each person a folder with certificate, key and authority."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    stranger = Authority(tmp_path_factory.mktemp("stranger"), name="A stranger")
    pairs = {
        "server": authority.server(),
        "ada": authority.client("ada"),
        "tom": authority.client("tom"),
        "expired": authority.client("expired", days=-1),
        "stranger": stranger.client("ada"),
    }
    found = {}
    for name, pair in pairs.items():
        found[name] = place = tmp_path_factory.mktemp(name)
        shutil.copy(pair.certificate, place / "client.cert")
        shutil.copy(pair.key, place / "client.key")
        shutil.copy(authority.certificate, place / "ca.crt")
    return found


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, folders: Folders) -> Iterator[Registry]:
    """A registry where ada develops team-a, which asks everybody for a certificate."""
    shown = folders["server"]
    config: dict[str, Any] = {
        "http": {
            "tls": {
                "certificate": str(shown / "client.cert"),
                "key": str(shown / "client.key"),
                "clientcas": [str(shown / "ca.crt")],
            }
        },
        "auth": {"local": {"argon2": {"timecost": 1, "memorycost": 1024}}, "certificate": {}},
    }
    root = tmp_path_factory.mktemp("site") / "registry"
    with start_registry(root, config=config) as registry:
        entrepot(registry, "namespace", "create", "team-a")
        entrepot(registry, "access", "grant", "team-a", "--roles", "developer", "--user", "ada")
        yield registry


def entrepot(registry: Registry, *arguments: str) -> Any:
    """Run a command beside the server; what it printed, as JSON."""
    known = environment(REGISTRY_CONFIGURATION_PATH=str(registry.config_path))
    done = run(*arguments, "--output", "json", env=known)
    done.check_returncode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with dockerd({}) as address:
        yield address


@contextmanager
def of_engine(host: str, keys: Path) -> Iterator[None]:
    """Give docker's engine a certificate for one registry, where it looks for it."""
    place = Path("/etc/docker/certs.d") / host
    shutil.copytree(keys, place)
    try:
        yield
    finally:
        shutil.rmtree(place)


Act = Callable[[str, str], None]


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    registry: Registry,
    folders: Folders,
) -> Callable[[str], Act]:
    """Gives for a client what pushes to a repository, and pulls, with somebody's certificate."""
    make_image(tmp_path / "images", "one", files={GREETING: "one\n"})
    chart = make_chart(tmp_path_factory.mktemp("chart"))
    # As 127.0.0.1 the engine would take it for a registry that needs no TLS, and show nothing.
    host = f"0.0.0.0:{registry.port}"

    def of(program: str) -> Act:
        by_engine = program == "docker"
        engine = request.getfixturevalue("engine") if by_engine else ""
        client = furnish(tmp_path / "home", engine=engine, layout=tmp_path / "images", chart=chart)
        notes = (client.home / "notes.txt").read_bytes()
        digest = f"sha256:{hashlib.sha256(notes).hexdigest()}"
        (client.home / "manifest.json").write_text(_manifest(digest, len(notes)))

        def act(name: str, repository: str) -> None:
            keys = folders[name]
            values = {"host": host, "home": client.home, "keys": keys, "digest": digest}
            with of_engine(host, keys) if by_engine else nullcontext():
                for command in PUSH[program] + PULL[program]:
                    words = command.split()
                    client.run(*(word.format(**values, repository=repository) for word in words))

        return act

    return of


def _manifest(digest: str, size: int) -> str:
    """An image whose config is the only blob that there is."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    config = {"mediaType": "text/plain", "digest": digest, "size": size}
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []})


@pytest.mark.parametrize("program", PUSH)
def test_push_and_pull(registry: Registry, bench: Callable[[str], Act], program: str) -> None:
    """By the certificate that they show, and no further than its owner may; the audit log has
    whose it was.
    """
    act = bench(program)
    own, other = f"team-a/{program}", f"team-b/{program}"
    act("ada", own)
    for name, repository in (("ada", other), ("tom", f"{own}-tom")):
        with pytest.raises(ClientError) as refusal:
            act(name, repository)
        assert REFUSED.search(str(refusal.value)), refusal.value
    pushed = entrepot(registry, "audit", "search", "--action", "manifest.push")
    found = [event for event in pushed if event["repository"].partition("/chart")[0] == own]
    assert {(event["actor"], event["method"]) for event in found} == {("ada", "certificate")}
    assert not any(event["repository"].startswith((other, f"{own}-tom")) for event in pushed)


@pytest.mark.parametrize("program", PUSH)
@pytest.mark.parametrize("name, alert", [("expired", "expired"), ("stranger", "unknown|authority")])
def test_what_a_refused_client_says(
    bench: Callable[[str], Act], program: str, name: str, alert: str
) -> None:
    """Why it was refused, in the words of its own TLS."""
    with pytest.raises(ClientError) as refusal:
        bench(program)(name, f"team-a/{program}")
    assert re.search(alert, str(refusal.value)), refusal.value


def test_they_are_failed_logins(registry: Registry, bench: Callable[[str], Act]) -> None:
    with pytest.raises(ClientError):
        bench("curl")("expired", "team-a/curl")

    def reasons() -> set[str]:
        search = ("audit", "search", "--action", "login", "--outcome", "failure")
        return {event["reason"] for event in entrepot(registry, *search)}

    told = "the client certificate was refused: certificate has expired"
    wait_until(lambda: told in reasons(), what="the event")
