"""What rules about content cost: previews of retention, explanations, pushes under a quota."""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from bench.clients import Connection
from bench.content import Image, make_image, push_image
from bench.errors import BenchError
from bench.index import fill_manifests, repository_name, tag_name
from bench.latencies import percentiles
from bench.loads import Prepare, time_together
from bench.measure import Sample
from bench.servers import OURS_GOVERNED, OURS_QUOTA, Server
from bench.settings import Settings
from bench.yard import Yard

TAGS, PER_REPOSITORY = 100_000, 100
_EXPLANATIONS = 400
_PAGE = 1000

PUSHES = 500
_PROCESSES = 2
_TIMES = 6

_POLICY = {
    "rules": [
        {"name": "versions", "tags": "v*", "keep": [{"newest": 10}, {"pulled_within": "30d"}]},
        {"name": "rest", "tags": "*", "keep": [{"pushed_within": "90d"}]},
    ],
    "brake": 100,
}
_JSON = "Content-Type: application/json\r\n"
_MANY = 1 << 50


def _with_tags(yard: Yard) -> Server:
    """A server with 100,000 tags in 1,000 repositories and a policy about them."""
    directory = yard.storage(
        "tags", lambda root: fill_manifests(root, count=TAGS, per_repository=PER_REPOSITORY)
    )
    return yard.stack.enter_context(yard.fresh(OURS_GOVERNED, directory=directory))


def measure_preview(yard: Yard, name: str, _: Settings) -> Sample:
    """All pages of a preview of what retention would delete, by the API."""
    server = yard.once("with tags", lambda: _with_tags(yard))
    with server.connect() as connection:
        policy = json.dumps(_POLICY).encode()
        path = "/api/v1/retention/policies/%2F"
        connection.request("PUT", path, _JSON, policy).expect(200)
        began = time.perf_counter()
        plans = 0
        page: str | None = f"/api/v1/retention/previews/%2F?limit={_PAGE}"
        while page is not None:
            found = json.loads(connection.request("GET", page).expect(200).body)
            plans += len(found["items"])
            page = found["next"]
        ready = time.perf_counter() - began
    if plans != TAGS // PER_REPOSITORY:
        raise BenchError(f"{name} planned for {plans} repositories")
    return {"ready": ready}


def measure_explanations(yard: Yard, __: str, settings: Settings) -> Sample:
    """Explanations of tags, one after the other, as `entrepot explain --url` asks for them."""
    server = yard.once("with tags", lambda: _with_tags(yard))
    latencies = []
    with server.connect() as connection:
        for _ in range(settings.times(_EXPLANATIONS)):
            repository = quote(repository_name(random.randint(1, TAGS // PER_REPOSITORY)), safe="")
            tag = tag_name(random.randrange(PER_REPOSITORY))
            path = f"/api/v1/repositories/{repository}/explanation?reference={tag}"
            began = time.perf_counter()
            connection.request("GET", path).expect(200)
            latencies.append(time.perf_counter() - began)
    return {"rate": len(latencies) / sum(latencies), **percentiles(latencies)}


# Quotas -----------------------------------------------------------------------------------------


def measure_quota(yard: Yard, settings: Settings) -> dict[str, Sample]:
    """500 pushes at the same time into a namespace without a quota and into one with, by turns."""
    with yard.fresh(OURS_GOVERNED) as server:
        _limit(server, "limited")
        found: dict[str, list[Sample]] = {OURS_GOVERNED: [], OURS_QUOTA: []}
        for turn in range(_TIMES):
            for name, namespace in ((OURS_GOVERNED, "free"), (OURS_QUOTA, "limited"))[
                :: (-1) ** turn
            ]:
                sample = _push_at_once(server, f"{namespace}/{settings.round}-{turn}")
                if turn:  # the first ones warm up
                    found[name].append(sample)
    return {
        name: {key: statistics.median(s[key] for s in samples) for key in samples[0]}
        for name, samples in found.items()
    }


def _limit(server: Server, namespace: str) -> None:
    with server.connect() as connection:
        body = json.dumps({"name": namespace}).encode()
        connection.request("POST", "/api/v1/namespaces", _JSON, body).expect(201)
        for resource in ("bytes", "tags"):
            body = json.dumps({"resource": resource, "hard": _MANY, "soft": _MANY}).encode()
            connection.request("PUT", f"/api/v1/quotas/{namespace}", _JSON, body).expect(200)


def _push_at_once(server: Server, prefix: str) -> Sample:
    each = PUSHES // _PROCESSES
    clients = [_pushers(server, f"{prefix}-{number}", each) for number in range(_PROCESSES)]
    return time_together(server, clients, operations=PUSHES)


def _pushers(server: Server, prefix: str, count: int) -> Prepare:
    """So many connections, each of which pushes one image of a config and a layer."""

    def prepare() -> Callable[[], None]:
        images = [make_image("latest", layers=1) for _ in range(count)]
        connections = [server.connect() for _ in range(count)]
        return lambda: _push_all(connections, prefix, images)

    return prepare


def _push_all(connections: Sequence[Connection], prefix: str, images: Sequence[Image]) -> None:
    barrier = threading.Barrier(len(images))

    def push(number: int) -> None:
        barrier.wait()
        push_image(connections[number], f"{prefix}-{number}", images[number])

    with ThreadPoolExecutor(len(images)) as threads:
        for done in [threads.submit(push, number) for number in range(len(images))]:
            done.result()
