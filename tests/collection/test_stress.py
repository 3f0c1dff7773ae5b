"""Hours of a registry's life in seconds: many clients push, mount, pull, move and delete, all with
the same layers, while retention lets old builds go and the collector runs with a grace period of
seconds. Not one answer may be wrong, and at the end nothing is left.

Each client changes a repository of its own, so it knows what must be there. What it relies on for
longer than the registry promises it sends again.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.conformance.pushing import push_by_post_and_put, push_by_single_post
from tests.objectstores import SeaweedFS
from tests.servers import Registry, start_registry, wait_until
from tests.wire import images
from tests.wire.images import Content, Image

GRACE: Final = 4.0
SECONDS: Final = float(os.environ.get("ENTREPOT_TEST_STRESS_SECONDS", "15"))
"""More of them on demand: the longer, the more meet."""

CLIENTS: Final = 6
TAGS: Final = ("one", "two", "three")
NEWEST: Final = 3
"""Builds that retention keeps."""

AUTH: Final = ("admin", "a phrase for the admin")

_LAYERS = [Content(images.OCI_LAYER, images.random_bytes(3000, f"stress {n}")) for n in range(8)]


def _image(number: int) -> Image:
    layers = [_LAYERS[number % 8], _LAYERS[(number + 3) % 8]]
    config = images.config([images.layer("same")], author=f"stress {number}")
    return Image(images.manifest(config, layers), (config, *layers))


_IMAGES = [_image(number) for number in range(8)]
_INDEXES = [images.index(_IMAGES[number : number + 2]) for number in range(0, 8, 2)]
_SIGNED = [(made, images.artifact("stress", subject=made.manifest)) for made in _IMAGES[:4]]


class WrongAnswerError(Exception):
    """Something that must exist was not found, or had other bytes."""


class Client(threading.Thread):
    """Does as it likes in its repository until the time is over, and remembers what that means."""

    def __init__(self, url: str, number: int, *, until: float, kept: Image) -> None:
        super().__init__()
        self.failure: BaseException | None = None
        self.requests = 0
        self._repo = f"stress/{number}"
        self._random = random.Random(number)
        self._url = url
        self._until = until
        self._kept = kept
        self._tags: dict[str, Image] = {}
        self._referrers: dict[str, Image] = {}

    def run(self) -> None:
        acts: list[Callable[[], None]] = [
            *(self._push, self._push, self._push_index, self._sign),
            *(self._pull, self._pull, self._pull_kept),
            *(self._delete_tag, self._delete_manifest),
        ]
        try:
            with httpx.Client(base_url=self._url, auth=AUTH, timeout=60) as self._http:
                while time.monotonic() < self._until:
                    self._random.choice(acts)()
                self._leave()
        except BaseException as failure:  # noqa: BLE001 - the test raises it
            self.failure = failure

    def _ask(self, method: str, path: str, repo: str = "", **more: Any) -> httpx.Response:
        """An answer that says something: a registry that is busy is asked again."""
        while True:
            self.requests += 1
            answer = self._http.request(method, f"/v2/{repo or self._repo}{path}", **more)
            if answer.status_code not in {429, 503}:
                if answer.status_code >= 500:
                    raise WrongAnswerError(f"{method} {path}: {answer.status_code} {answer.text}")
                return answer

    def _must(self, answer: httpx.Response, *expected: int) -> httpx.Response:
        if answer.status_code not in expected:
            request = answer.request
            raise WrongAnswerError(
                f"{request.method} {request.url}: {answer.status_code} {answer.text}"
            )
        return answer

    # Pushing ------------------------------------------------------------------------------------

    def _push(self) -> None:
        self._put(self._random.choice(_IMAGES), self._random.choice(TAGS))

    def _push_index(self) -> None:
        self._put(self._random.choice(_INDEXES), self._random.choice(TAGS))

    def _put(self, image: Image, reference: str) -> None:
        """Push an image with all that it needs; again if that took longer than what is told is
        kept.
        """
        while True:
            began = time.monotonic()
            answer = self._try_to_put(image, reference)
            if answer.status_code == 201:
                break
            if time.monotonic() - began < GRACE / 2:
                self._must(answer, 201)
        if reference in TAGS:
            if self._tags.get(reference) is not image:
                self._untag(reference)
            self._tags[reference] = image

    def _try_to_put(self, image: Image, reference: str) -> httpx.Response:
        for blob in image.blobs:
            self._send(blob)
        for child in image.children:
            answer = self._try_to_put(child, child.digest)
            if answer.status_code != 201:
                return answer
        kind = {"content-type": image.manifest.media_type}
        return self._ask(
            "PUT", f"/manifests/{reference}", content=image.manifest.data, headers=kind
        )

    def _send(self, blob: Content) -> None:
        """As clients do: ask, mount from somewhere, upload."""
        if self._ask("HEAD", f"/blobs/{blob.digest}").status_code == 200:
            return
        if self._random.random() < 0.5:
            other = f"stress/{self._random.randrange(CLIENTS)}"
            query = f"/blobs/uploads/?mount={blob.digest}"
            if self._random.random() < 0.7:
                query += f"&from={other}"
            if self._must(self._ask("POST", query), 201, 202).status_code == 201:
                return
        form = self._random.choice([push_by_single_post, push_by_post_and_put])
        while True:
            self.requests += 1
            answer = form(self._http, self._repo, blob)
            # An upload that met the removal of that very blob is sent again.
            if answer.status_code not in {429, 503}:
                self._must(answer, 201)
                return

    def _sign(self) -> None:
        """A signature is needed as long as what it is about."""
        made, signature = self._random.choice(_SIGNED)
        tag = self._random.choice(TAGS)
        self._put(made, tag)
        self._put(signature, signature.digest)
        self._referrers[made.digest] = signature

    # Pulling ------------------------------------------------------------------------------------

    def _pull(self) -> None:
        tag = self._random.choice(TAGS)
        image = self._tags.get(tag)
        answer = self._ask("GET", f"/manifests/{tag}")
        if image is None:
            self._must(answer, 404)
            return
        if self._must(answer, 200).content != image.manifest.data:
            raise WrongAnswerError(f"{self._repo}:{tag} is not {image.digest}")
        self._pull_all(self._repo, image)
        signature = self._referrers.get(image.digest)
        if signature is not None:
            self._pull_all(self._repo, signature)

    def _pull_kept(self) -> None:
        """Nobody ever touches it, but for its layers elsewhere."""
        self._pull_all("kept", self._kept)

    def _pull_all(self, repo: str, image: Image) -> None:
        for manifest in image.every_manifest():
            answer = self._must(self._ask("GET", f"/manifests/{manifest.digest}", repo), 200)
            if answer.content != manifest.data:
                raise WrongAnswerError(f"{repo}@{manifest.digest} has other bytes")
        for blob in image.every_blob():
            answer = self._must(self._ask("GET", f"/blobs/{blob.digest}", repo), 200)
            if f"sha256:{hashlib.sha256(answer.content).hexdigest()}" != blob.digest:
                raise WrongAnswerError(f"{repo}@{blob.digest} has other bytes")

    # Deleting -----------------------------------------------------------------------------------

    def _delete_tag(self) -> None:
        tag = self._random.choice(TAGS)
        expected = 202 if tag in self._tags else 404
        self._must(self._ask("DELETE", f"/manifests/{tag}"), expected)
        self._untag(tag)

    def _delete_manifest(self) -> None:
        """With all its tags, and what is about it; unless an index lists it."""
        if not self._tags:
            return
        image = self._tags[self._random.choice(sorted(self._tags))]
        answer = self._must(self._ask("DELETE", f"/manifests/{image.digest}"), 202, 405)
        if answer.status_code == 202:
            for tag in [tag for tag, each in self._tags.items() if each is image]:
                self._untag(tag)

    def _untag(self, tag: str) -> None:
        """What lost a tag may go, and with it what is about it."""
        image = self._tags.pop(tag, None)
        if image is not None:
            self._referrers.pop(image.digest, None)

    def _leave(self) -> None:
        for tag in list(self._tags):
            self._must(self._ask("DELETE", f"/manifests/{tag}"), 202)
            self._untag(tag)


class Builder(Client):
    """Pushes one build after the other, of which the newest are there."""

    retention: Retention

    def run(self) -> None:
        built: list[Image] = []
        try:
            with httpx.Client(base_url=self._url, auth=AUTH, timeout=60) as self._http:
                while time.monotonic() < self._until or self.retention.is_waiting():
                    built.append(_image(100 + len(built)))
                    self._put(built[-1], f"b{len(built) - 1}")
                    for number in range(max(0, len(built) - NEWEST), len(built)):
                        self._must(self._ask("HEAD", f"/manifests/b{number}"), 200)
                        self._pull_all(self._repo, built[number])
                    self._look_at(self._random.randrange(len(built)), built)
                for number in range(len(built)):
                    self._must(self._ask("DELETE", f"/manifests/b{number}"), 202, 404)
        except BaseException as failure:  # noqa: BLE001 - the test raises it
            self.failure = failure

    def _look_at(self, number: int, built: list[Image]) -> None:
        """An older one is there or has gone."""
        answer = self._must(self._ask("GET", f"/manifests/b{number}"), 200, 404)
        if answer.status_code == 200 and answer.content != built[number].manifest.data:
            raise WrongAnswerError(f"b{number} is another build")


class Retention(threading.Thread):
    """Asks for one run after the other, until the time is over."""

    def __init__(self, url: str, *, until: float) -> None:
        super().__init__()
        self.failure: BaseException | None = None
        self.deleted = 0
        self._url = f"{url}/api/v1/retention"
        self._until = until

    def run(self) -> None:
        rule = {"name": "builds", "repositories": "builds", "keep": [{"newest": NEWEST}]}
        try:
            with httpx.Client(auth=AUTH, timeout=60) as http:
                policy = f"{self._url}/policies/%2F"
                http.put(policy, json={"rules": [rule]}).raise_for_status()
                while time.monotonic() < self._until or self.is_waiting():
                    asked = http.post(f"{self._url}/runs/%2F", json={"brake": 100})
                    number = asked.raise_for_status().json()["id"]
                    self.deleted += self._done(http, number)["report"]["deleted"]
                http.delete(policy).raise_for_status()
        except BaseException as failure:  # noqa: BLE001 - the test raises it
            self.failure = failure

    def is_waiting(self) -> bool:
        """Whether nothing was there to be deleted so far, as on a slow machine."""
        return not self.deleted and self.failure is None and time.monotonic() < self._until + 100

    def _done(self, http: httpx.Client, number: int) -> Any:
        done: Any = None

        def is_done() -> bool:
            nonlocal done
            done = http.get(f"{self._url}/runs/%2F", params={"run": number}).json()
            return bool(done["finished_at"])

        wait_until(is_done, seconds=60, what=f"the end of run {number}")
        assert done["outcome"] == "success", done
        return done


@pytest.fixture(params=["sqlite", "postgres-s3"])
def stressed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    password = {"password": AUTH[1]}
    config: dict[str, Any] = {
        "auth": {"local": {"admin": password, "argon2": {"timecost": 1, "memorycost": 1024}}},
        "storage": {"delete": {"enabled": True}},
        "log": {"accesslog": {"disabled": True}},
        "lifecycle": {
            "collection": {"grace": f"{GRACE:g}s", "rate": 0},
            "trash": {"window": "0s"},
        },
    }
    if request.param == "postgres-s3":
        seaweedfs: SeaweedFS = request.getfixturevalue("seaweedfs")
        s3 = seaweedfs.config("tests", rootdirectory=f"stressed/{tmp_path.name}")
        config["storage"] |= {"s3": s3, "redirect": {"disable": True}}
        config["database"] = {"url": request.getfixturevalue("postgres_url")}
    with start_registry(tmp_path / "registry", config=config) as running:
        yield running


def stored(registry: Registry, request: pytest.FixtureRequest) -> set[str]:
    """The blobs in the store."""
    objects = registry.config["storage"].get("s3")
    if objects is None:
        paths = (registry.root / "docker/registry/v2/blobs").rglob("data")
        return {f"sha256:{path.parent.name}" for path in paths}
    seaweedfs: SeaweedFS = request.getfixturevalue("seaweedfs")
    prefix = f"{objects['rootdirectory']}/docker/registry/v2/blobs/"
    keys = seaweedfs.listing("tests", prefix)
    return {f"sha256:{key.split('/')[-2]}" for key in keys}


@pytest.mark.timeout(315 + SECONDS)
def test_nothing_that_must_exist_goes_and_nothing_else_stays(
    stressed: Registry, request: pytest.FixtureRequest
) -> None:
    kept = _IMAGES[0]
    until = time.monotonic() + SECONDS
    keeper = Client(stressed.url, CLIENTS, until=0, kept=kept)
    keeper._repo = "kept"
    with httpx.Client(base_url=stressed.url, auth=AUTH, timeout=60) as keeper._http:
        keeper._put(kept, "latest")
    clients = [Client(stressed.url, n, until=until, kept=kept) for n in range(CLIENTS)]
    builder = Builder(stressed.url, CLIENTS + 1, until=until, kept=kept)
    builder._repo = "builds"
    builder.retention = retention = Retention(stressed.url, until=until)
    threads: list[Client | Retention] = [*clients, builder, retention]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failures = [thread.failure for thread in threads if thread.failure is not None]
    assert failures == []
    assert all(client.requests > 0 for client in clients)
    assert retention.deleted > 0
    left = {blob.digest for blob in kept.blobs}

    def is_only_kept() -> bool:
        catalog = httpx.get(f"{stressed.url}/v2/_catalog", auth=AUTH, timeout=60).json()
        return stored(stressed, request) == left and catalog["repositories"] == ["kept"]

    wait_until(is_only_kept, seconds=180, what="the end of what is dead")
    assert "Traceback (most recent call last)" not in stressed.log()
