"""Running `entrepot import --from URL`, and what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import httpx

from tests import programs
from tests.conformance.pushing import push
from tests.servers import Registry
from tests.wire.images import Content, Image, config, manifest, random_bytes

ACCEPT = {"Accept": "*/*"}


def run(
    target: Registry, *arguments: str, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    words = command(target, *arguments)[3:]
    return programs.run(*words, env=environment(target, env), text=stdin, timeout=110)


def command(target: Registry, *arguments: str) -> list[str]:
    start = [sys.executable, "-m", "entrepot", "import"]
    return [*start, *arguments, str(target.config_path)]


def environment(target: Registry, more: dict[str, str] | None = None) -> dict[str, str]:
    docker = str(target.root.with_name("docker"))
    return programs.environment(DOCKER_CONFIG=docker, **(more or {}))


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
