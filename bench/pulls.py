"""The workloads that read."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence

from bench.clients import Load, head_load
from bench.content import MANIFEST_TYPE, PullContent, pull_content, push_manifest
from bench.errors import WrongAnswerError
from bench.index import TAGGED, repository_name, tag_name
from bench.loads import per_operation, time_one_by_one, wrk
from bench.measure import MIB, Sample, cpu_seconds
from bench.servers import LIST_COUNTS, Server
from bench.settings import Settings

PathOf = Callable[[PullContent], str]
_ACCEPT = f"Accept: {MANIFEST_TYPE}\r\n"
_WARM_UP_SECONDS = 1.0
_TAGS = 64


def _under_load(
    server: Server, seconds: float, load: Callable[[float], Load]
) -> tuple[Load, float]:
    """Warm up, then the load and the server's CPU seconds for it."""
    load(min(_WARM_UP_SECONDS, seconds))
    before = cpu_seconds(server.pids)
    done = load(seconds)
    return done, cpu_seconds(server.pids) - before


def _sample(server: Server, load: Load, cpu: float) -> Sample:
    sample = dict(per_operation(server, operations=load.requests, seconds=load.seconds, cpu=cpu))
    if load.p99:
        sample |= {"p50": load.p50, "p99": load.p99}
    return sample


def manifest_by_tag(content: PullContent) -> str:
    """The path of the manifest by tag."""
    return f"/v2/{content.repository}/manifests/{content.tag}"


def manifest_by_digest(content: PullContent) -> str:
    """The path of the manifest by digest."""
    return f"/v2/{content.repository}/manifests/{content.manifest.digest}"


def small_blob(content: PullContent) -> str:
    """The path of the 4 KiB blob."""
    return f"/v2/{content.repository}/blobs/{content.small.digest}"


def get_many(path_of: PathOf, *, connections: int = 32) -> Callable[[Server, Settings], Sample]:
    """GET something small over many connections; rate in requests/s."""

    def run(server: Server, settings: Settings) -> Sample:
        path = path_of(pull_content())

        def load(seconds: float) -> Load:
            return wrk(server, path, headers=_ACCEPT, connections=connections, seconds=seconds)

        return _sample(server, *_under_load(server, settings.seconds, load))

    return run


def get_different(server: Server, settings: Settings) -> Sample:
    """GET a manifest by 64 tags in turn over 32 connections; rate in requests/s."""
    content = pull_content()
    with server.connect() as connection:
        for number in range(1, _TAGS + 1):
            push_manifest(connection, content.repository, f"tag-{number}", content.manifest)
    path = f"/v2/{content.repository}/manifests/tag-"

    def load(seconds: float) -> Load:
        return wrk(server, path, headers=_ACCEPT, connections=32, seconds=seconds, paths=_TAGS)

    return _sample(server, *_under_load(server, settings.seconds, load))


def head_many(path_of: PathOf, *, connections: int = 32) -> Callable[[Server, Settings], Sample]:
    """HEAD something over many connections; rate in requests/s."""

    def run(server: Server, settings: Settings) -> Sample:
        path = path_of(pull_content())

        def load(seconds: float) -> Load:
            return head_load(
                server.host,
                server.port,
                path,
                headers=_ACCEPT + server.headers,
                connections=connections,
                seconds=seconds,
            )

        return _sample(server, *_under_load(server, settings.seconds, load))

    return run


def pull_medium(server: Server, settings: Settings) -> Sample:
    """GET 1 MiB blobs over 16 connections; rate in MiB/s, and so is the CPU per MiB."""
    content = pull_content()
    path = f"/v2/{content.repository}/blobs/{content.medium.digest}"

    def load(seconds: float) -> Load:
        return wrk(server, path, headers="", connections=16, seconds=seconds)

    done, cpu = _under_load(server, settings.seconds, load)
    return _sample(server, done, cpu)


def pull_large(server: Server, settings: Settings) -> Sample:
    """GET a 256 MiB blob over one connection again and again; rate in MiB/s, CPU per MiB."""
    content = pull_content()
    path = f"/v2/{content.repository}/blobs/{content.large.digest}"
    size = content.large.size
    with server.connect() as connection:

        def pull() -> None:
            connection.download(path)

        if (digest := connection.download_digest(path)) != content.large.digest:
            raise WrongAnswerError(f"{server.name} sent {digest} for {content.large.digest}")
        return time_one_by_one(server, lambda: pull, times=settings.times(8), each=size / MIB)


def one_by_one(paths: Callable[[Server], Sequence[str]]) -> Callable[[Server, Settings], Sample]:
    """GET each path once over one connection, as `request_one_by_one`."""

    def run(server: Server, settings: Settings) -> Sample:
        return request_one_by_one(server, paths(server)[: settings.times(400)])

    return run


def request_one_by_one(server: Server, paths: Sequence[str]) -> Sample:
    """GET each path once over one connection, after a few to warm up; the rate, and p50 and p99 of
    the latencies in seconds.
    """
    latencies = []
    with server.connect() as connection:
        for path in paths[: len(paths) // 10]:
            connection.request("GET", path, _ACCEPT).expect(200)
        for path in paths:
            start = time.perf_counter()
            answer = connection.request("GET", path, _ACCEPT)
            latencies.append(time.perf_counter() - start)
            answer.expect(200)
    latencies.sort()
    return {
        "rate": len(latencies) / sum(latencies),
        "p50": statistics.median(latencies),
        "p99": latencies[int(0.99 * (len(latencies) - 1))],
    }


def _count(server: Server) -> int:
    return LIST_COUNTS[server.name]


def catalog_pages(server: Server) -> list[str]:
    """Pages of 100 from random places of the catalog."""
    count = _count(server)
    starts = (random.randint(0, count - 101) for _ in range(400))
    return [f"/v2/_catalog?n=100&last={repository_name(start)}" for start in starts]


def tag_pages(server: Server) -> list[str]:
    """Pages of 100 from random places of the tag list."""
    count = _count(server)
    starts = (random.randint(0, count - 101) for _ in range(400))
    return [f"/v2/{TAGGED}/tags/list?n=100&last={tag_name(start)}" for start in starts]


def manifests_there(server: Server) -> list[str]:
    """Manifests by random tags of the repository with many."""
    count = _count(server)
    return [f"/v2/{TAGGED}/manifests/{tag_name(random.randint(1, count))}" for _ in range(400)]
