"""Quotas of a real server with two workers, set by commands, as clients meet them."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.conformance import pushing
from tests.postgres import Postgres
from tests.programs import environment, run
from tests.servers import Registry, start_registry, wait_until
from tests.wire import images
from tests.wire.images import Image

pytestmark = pytest.mark.chosen_kind("many at once on both kinds of index; services count on each")

EARLY: Final = 1000
"""Bytes that fit into the namespace `early`."""

EACH: Final = 1000
FIT: Final = 250
"""How many blobs that are pushed at the same time fit, of how many bytes each."""


def entrepot(registry: Registry, *arguments: str) -> str:
    """Run a command on the server's host."""
    known = environment(REGISTRY_CONFIGURATION_PATH=str(registry.config_path))
    done = run(*arguments, env=known)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_json(registry: Registry, *arguments: str) -> Any:
    return json.loads(entrepot(registry, *arguments, "--output", "json"))


def used(registry: Registry, namespace: str) -> dict[str, int]:
    """What is used of each quota of a namespace."""
    found = as_json(registry, "quota", "show", namespace)
    return {each["resource"]: each["used"] for each in found}


def limit(registry: Registry, namespace: str, resource: str, *options: str) -> None:
    entrepot(registry, "quota", "set", namespace, resource, *options)


def start_again(registry: Registry) -> None:
    """Every worker knows the quotas that were set: else it might take two seconds."""
    assert registry.stop() == 0
    registry.start()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with start_registry(tmp_path_factory.mktemp("quotas") / "registry") as registry:
        for namespace in ("early", "few", "soft"):
            entrepot(registry, "namespace", "create", namespace)
        limit(registry, "early", "bytes", "--hard", str(EARLY))
        limit(registry, "few", "manifests", "--hard", "2")
        limit(registry, "few", "tags", "--hard", "1")
        limit(registry, "soft", "tags", "--soft", "1", "--hard", "50")
        start_again(registry)
        yield registry


@pytest.fixture
def client(running: Registry) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=30) as it:
        yield it


def assert_refused(answer: httpx.Response, *, words: str, **detail: object) -> None:
    """A 403 that says what is used, in words and as numbers."""
    assert answer.status_code == 403, answer.text
    (error,) = answer.json()["errors"]
    assert error["code"] == "DENIED"
    assert words in error["message"]
    assert error["detail"] | detail == error["detail"]


# Bytes ------------------------------------------------------------------------------------------


def answer_to_head(registry: Registry, request: str, size: int) -> tuple[int, bytes]:
    """Announce a body, ask whether it may come, and send none of it."""
    fields = f"Host: {registry.host}\r\nContent-Length: {size}\r\nExpect: 100-continue"
    with socket.create_connection(("127.0.0.1", registry.port), timeout=30) as connection:
        connection.sendall(f"{request} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        try:
            answer.begin()
            return answer.status, answer.read()
        finally:
            answer.close()


def test_a_blob_too_large_is_refused_before_it_is_sent(
    running: Registry, client: httpx.Client
) -> None:
    """At the POST, the PATCH and the PUT; what fits still goes then."""
    blob = images.Content(images.OCTETS, images.random_bytes(EARLY, "early"))
    digest = images.digest_of(b"never sent")
    target = "/v2/early/a/blobs/uploads/"
    location = client.post(target).headers["location"]
    path = location.removeprefix(running.url)
    size = 1 << 30
    for request in (
        f"POST {target}?digest={digest}",
        f"PATCH {path}",
        f"PUT {path}&digest={digest}",
    ):
        status, body = answer_to_head(running, request, size)
        answer = httpx.Response(status, content=body)
        words = "of which 0 B are used; this needs 1 GiB more"
        sums = {"used": 0, "limit": EARLY, "needed": size, "resource": "bytes"}
        assert_refused(answer, words=words, namespace="early", **sums)
    streamed = client.patch(location, content=iter([b"x" * 600, b"x" * 600]))
    assert_refused(streamed, words="of which 0 B are used", used=0)
    assert client.get(location).headers["range"] in {"0-0", "0-599"}
    assert pushing.push_by_post_and_put(client, "early/a", blob).status_code == 201
    assert used(running, "early") == {"bytes": EARLY}
    one_more = images.Content(images.OCTETS, b"y")
    refused = pushing.push_by_post_and_put(client, "early/b", one_more)
    assert_refused(refused, words="of which 1000 B are used; this needs 1 B more", used=EARLY)
    assert pushing.push_by_post_and_put(client, "early/b", blob).status_code == 201, "it is there"
    assert used(running, "early") == {"bytes": EARLY}


def test_what_is_refused_is_counted(running: Registry, client: httpx.Client) -> None:
    """Beyond the quota of the namespace above, however much one below it may hold."""
    entrepot(running, "namespace", "create", "early/below")
    limit(running, "early/below", "bytes", "--hard", "1GiB")
    blob = images.Content(images.OCTETS, images.random_bytes(EARLY + 1, "below"))
    refused = pushing.push_by_single_post(client, "early/below/a", blob)
    assert_refused(refused, words="the quota of namespace early is", namespace="early")


# Counts -----------------------------------------------------------------------------------------


def push_blobs(client: httpx.Client, name: str, image: Image) -> None:
    for blob in image.blobs:
        pushing.push_blob(client, name, blob)


def put(client: httpx.Client, name: str, tag: str, image: Image) -> httpx.Response:
    return client.put(
        f"/v2/{name}/manifests/{tag}",
        content=image.manifest.data,
        headers={"content-type": image.manifest.media_type},
    )


def test_one_tag_or_manifest_more_is_refused_at_the_manifest(
    running: Registry, client: httpx.Client
) -> None:
    made = [images.image(f"few {number}") for number in range(3)]
    for image in made:
        push_blobs(client, "few/a", image)
    assert put(client, "few/a", "one", made[0]).status_code == 201
    words = "the quota of namespace few is 1 tags, of which 1 tags are used; this needs 1 tags"
    assert_refused(put(client, "few/a", "two", made[1]), words=words, used=1, limit=1, needed=1)
    assert client.get(f"/v2/few/a/manifests/{made[1].digest}").status_code == 404
    assert put(client, "few/a", made[1].digest, made[1]).status_code == 201
    assert put(client, "few/a", "one", made[1]).status_code == 201, "a tag that moves is none more"
    refused = put(client, "few/a", made[2].digest, made[2])
    assert_refused(refused, words="2 manifests are used", resource="manifests", used=2, limit=2)
    assert used(running, "few") == {"manifests": 2, "tags": 1}


def test_beyond_a_soft_limit_pushes_are_warned_and_one_event_says_so(
    running: Registry, client: httpx.Client
) -> None:
    image = images.image("soft")
    push_blobs(client, "soft/a", image)
    answers = [put(client, "soft/a", f"t{number}", image) for number in range(4)]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert "warning" not in answers[0].headers
    for number, answer in enumerate(answers[1:], 2):
        assert answer.headers["warning"] == (
            f'299 - "namespace soft holds {number} tags, more than its quota of 1 tags; '
            'at 50 tags pushes are refused"'
        )
    (event,) = as_json(running, "audit", "search", "--action", "quota.exceed")
    assert event["target"] == "soft"
    (shown,) = as_json(running, "quota", "show", "soft")
    assert (shown["used"], shown["soft"], shown["hard"]) == (4, 1, 50)
    assert shown["exceeded_at"] is not None


def test_what_was_there_before_is_counted(running: Registry, client: httpx.Client) -> None:
    """By the upkeep, soon after the first quota was set."""
    shared = images.image("before")
    for name in ("before/a", "before/b/c"):
        push_blobs(client, name, shared)
        assert put(client, name, "latest", shared).status_code == 201
    entrepot(running, "namespace", "create", "before")
    for resource in ("bytes", "tags", "repositories"):
        limit(running, "before", resource, "--hard", "1GiB" if resource == "bytes" else "9")

    def counted() -> bool:
        found = as_json(running, "quota", "show", "before")
        return all(each["counted_at"] is not None for each in found)

    wait_until(counted, seconds=30, what="the count")
    size = sum(len(blob.data) for blob in shared.blobs)
    assert used(running, "before") == {"bytes": size, "repositories": 2, "tags": 2}


# Many at the same time --------------------------------------------------------------------------


class Sent(NamedTuple):
    """An upload: when it began and ended, by one clock, and whether it was accepted."""

    began: float
    ended: float
    accepted: bool


def send(registry: Registry, start: threading.Barrier, number: int) -> Sent:
    """Push a blob of its own, in one request, together with others."""
    data = images.random_bytes(EACH, f"at once {number}")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)
    try:
        connection.connect()
        start.wait(60)
        began = time.monotonic()
        connection.request("POST", f"/v2/many/r{number % 20}/blobs/uploads/?digest={digest}", data)
        answer = connection.getresponse()
        body = answer.read()
        ended = time.monotonic()
    finally:
        connection.close()
    assert answer.status == 201 or (answer.status == 403 and b"DENIED" in body), body
    return Sent(began, ended, answer.status == 201)


def check(sent: Sequence[Sent]) -> int:
    """Compare with what must be: whatever was accepted before an upload began is counted when it is
    looked whether that fits. Returns how many were accepted.
    """
    accepted = [each for each in sent if each.accepted]
    for each in sent:
        before = sum(other.ended < each.began for other in accepted)
        if each.accepted:
            assert before < FIT, "it did not fit, with what had been accepted before it began"
        else:
            by_then = sum(other.began < each.ended for other in accepted)
            assert by_then >= FIT, "it did fit, whatever was accepted before it was refused"
    return len(accepted)


def push_at_once(registry: Registry, pushes: int) -> None:
    entrepot(registry, "namespace", "create", "many")
    limit(registry, "many", "bytes", "--hard", str(EACH * FIT))
    start_again(registry)
    with ThreadPoolExecutor(pushes) as threads:
        start = threading.Barrier(pushes)
        sent = list(threads.map(lambda number: send(registry, start, number), range(pushes)))
        accepted = check(sent)
        assert used(registry, "many") == {"bytes": accepted * EACH}, "all of it is counted, once"
        alone = threading.Barrier(1)
        after = [send(registry, alone, number) for number in range(pushes, pushes + 5)]
    check([*sent, *after])
    assert used(registry, "many") == {"bytes": EACH * max(accepted, FIT)}


def test_500_pushes_at_once_go_beyond_a_quota_by_what_was_on_its_way(tmp_path: Path) -> None:
    with start_registry(tmp_path / "registry") as registry:
        push_at_once(registry, 500)


def test_300_pushes_at_once_with_the_index_in_postgresql(
    postgres: Postgres, tmp_path: Path
) -> None:
    config = {"database": {"url": postgres.database()}}
    with start_registry(tmp_path / "registry", config=config) as registry:
        push_at_once(registry, 300)
