"""The real docker-registry 2.8 as a server over a directory, and skopeo to look into it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.clients.provide import path_of
from tests.servers import free_port, wait_until


@contextmanager
def old_registry(root: Path, *, auth: Mapping[str, object] | None = None) -> Iterator[str]:
    """docker-registry over the storage `root`; its host and port. `auth` is that section of its
    configuration.
    """
    port = free_port()
    config = root.with_name(f"{root.name}.docker-registry.json")
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {
                    "filesystem": {"rootdirectory": str(root)},
                    "delete": {"enabled": True},
                },
                "http": {"addr": f"127.0.0.1:{port}"},
                **({"auth": auth} if auth else {}),
            }
        )
    )
    with config.with_suffix(".log").open("ab") as log:
        command = [path_of("docker-registry"), "serve", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(port), seconds=30, what="docker-registry")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def status_of(url: str, *, method: str = "GET") -> int:
    """The status of an answer."""
    accepted = "application/vnd.docker.distribution.manifest.v2+json, */*"
    request = urllib.request.Request(url, method=method, headers={"Accept": accepted})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def skopeo(*arguments: str) -> str:
    """What skopeo prints. AssertionError if it fails."""
    command = [path_of("skopeo"), "--insecure-policy", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def raw(host: str, image: str) -> str:
    """A manifest, byte for byte."""
    return skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{host}/{image}")


def copied(host: str, image: str, place: Path) -> dict[str, str]:
    """Everything that belongs to an image, as skopeo copies it: digests by file name."""
    place.mkdir(parents=True)
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{host}/{image}", f"dir:{place}")
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def push(host: str, layout: Path, tag: str, image: str, *options: str) -> None:
    """Push an image of an OCI layout."""
    skopeo(
        *("copy", "--all", "--dest-tls-verify=false", *options),
        *(f"oci:{layout}:{tag}", f"docker://{host}/{image}"),
    )
