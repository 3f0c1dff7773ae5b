"""The table of workloads: what each is called, what it counts, and who takes part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench import cluster, collection, lifecycle, pulls, pushes, rules, takeover
from bench.measure import Sample
from bench.servers import (
    LIMIT,
    OURS,
    OURS_1K,
    OURS_100K,
    OURS_ACCEL,
    OURS_CLUSTER,
    OURS_COLLECTING,
    OURS_GOVERNED,
    OURS_HTPASSWD,
    OURS_QUOTA,
    OURS_RELAXED,
    PEER,
    PEER_CLUSTER,
    PEER_HTPASSWD,
    Server,
)
from bench.settings import Settings
from bench.yard import Yard

Stage = Literal["alone", "together", "cluster", "lifecycle"]


Measure = Callable[[Yard, Settings], dict[str, Sample]]


@dataclass(frozen=True)
class Workload:
    """`unit` is what rate and CPU are counted in; every server of `servers` runs in each round.

    A workload of the stage "alone" starts its own server and runs before all others, while
    nothing else does; those of the stages "cluster" and "lifecycle" run with `--cluster` and
    `--lifecycle` only.
    """

    name: str
    title: str
    unit: str
    servers: tuple[str, ...]
    run: Callable[[Yard, str, Settings], Sample]
    stage: Stage = "together"
    most_rounds: int | None = None


def _served(run: Callable[[Server, Settings], Sample]) -> Callable[[Yard, str, Settings], Sample]:
    """A workload against a server that the yard keeps running."""
    return lambda yard, name, settings: run(yard.get(name), settings)


def _part(measure: Measure, parts: dict[str, str]) -> Callable[[Yard, str, Settings], Sample]:
    """A part, for each server, of what is measured together once a round."""

    def run(yard: Yard, name: str, settings: Settings) -> Sample:
        what = f"{measure.__name__} {settings.round}"
        return yard.once(what, lambda: measure(yard, settings))[parts[name]]

    return run


_ALL = (OURS, PEER, LIMIT)
_REGISTRIES = (OURS, PEER)
_LISTS = (OURS_1K, OURS_100K)

WORKLOADS = (
    Workload(
        "manifest-tag",
        "manifest GET by tag, 32 connections",
        "request",
        _ALL,
        _served(pulls.get_many(pulls.manifest_by_tag)),
    ),
    Workload(
        "manifest-digest",
        "manifest GET by digest, 32 connections",
        "request",
        _ALL,
        _served(pulls.get_many(pulls.manifest_by_digest)),
    ),
    Workload(
        "manifest-head",
        "manifest HEAD by tag, 32 connections",
        "request",
        _ALL,
        _served(pulls.head_many(pulls.manifest_by_tag)),
    ),
    Workload(
        "blob-head",
        "blob HEAD, 32 connections",
        "request",
        _ALL,
        _served(pulls.head_many(pulls.small_blob)),
    ),
    Workload(
        "blob-4k",
        "4 KiB blob GET, 32 connections",
        "request",
        _ALL,
        _served(pulls.get_many(pulls.small_blob)),
    ),
    Workload("blob-1m", "1 MiB blob GET, 16 connections", "MiB", _ALL, _served(pulls.pull_medium)),
    Workload(
        "blob-256m",
        "256 MiB blob GET, one stream",
        "MiB",
        (OURS, OURS_ACCEL, PEER, LIMIT),
        _served(pulls.pull_large),
    ),
    Workload(
        "push-256m", "256 MiB blob, POST + PUT", "MiB", _REGISTRIES, _served(pushes.push_large)
    ),
    Workload(
        "push-64m",
        "64 MiB blob, POST + streamed PATCH + PUT",
        "MiB",
        _REGISTRIES,
        _served(pushes.push_streamed),
    ),
    Workload(
        "images",
        "images of three 2 KiB layers and a config, 4 clients",
        "image",
        (OURS, OURS_RELAXED, PEER),
        _served(pushes.push_images),
    ),
    Workload("chunks", "16 MiB in 1 MiB chunks", "MiB", _REGISTRIES, _served(pushes.push_chunks)),
    Workload(
        "htpasswd",
        "manifest GET by tag with htpasswd (bcrypt cost 10), 32 connections",
        "request",
        (OURS, OURS_HTPASSWD, PEER_HTPASSWD),
        _served(pulls.get_many(pulls.manifest_by_tag)),
    ),
    Workload(
        "catalog-page",
        "catalog page of 100 among 1,000 and 100,000 repositories",
        "request",
        _LISTS,
        _served(pulls.one_by_one(pulls.catalog_pages)),
    ),
    Workload(
        "tag-page",
        "tag page of 100 among 1,000 and 100,000 tags",
        "request",
        _LISTS,
        _served(pulls.one_by_one(pulls.tag_pages)),
    ),
    Workload(
        "manifest-there",
        "manifest GET by tag there",
        "request",
        _LISTS,
        _served(pulls.one_by_one(pulls.manifests_there)),
    ),
    Workload(
        "memory",
        "memory idle, and more while 2 GiB are pushed and 2 GiB pulled",
        "MiB",
        _REGISTRIES,
        lifecycle.measure_memory,
        stage="alone",
        most_rounds=1,
    ),
    Workload(
        "start",
        "start to ready with 1,000,000 manifests",
        "start",
        (OURS,),
        lifecycle.measure_start,
        stage="alone",
    ),
    Workload(
        "import",
        "takeover of 20,000 manifests of registry:2, and manifest GET meanwhile",
        "manifest",
        (OURS,),
        takeover.measure_import,
        stage="alone",
    ),
    Workload(
        "cluster-manifest",
        "manifest GET by tag, 32 connections",
        "request",
        (OURS_CLUSTER, PEER_CLUSTER, OURS),
        _served(pulls.get_many(pulls.manifest_by_tag)),
        stage="cluster",
    ),
    Workload(
        "cluster-manifests",
        "manifest GET by 64 tags in turn, 32 connections",
        "request",
        (OURS_CLUSTER, OURS),
        _served(pulls.get_different),
        stage="cluster",
    ),
    Workload(
        "cluster-images",
        "images of three 2 KiB layers and a config, 4 clients",
        "image",
        (OURS_CLUSTER, PEER_CLUSTER),
        _served(pushes.push_images),
        stage="cluster",
    ),
    Workload(
        "cluster-catalog",
        "catalog page of 100 among 1,000 repositories",
        "request",
        (OURS_CLUSTER, PEER_CLUSTER),
        _served(cluster.catalog_pages),
        stage="cluster",
    ),
    Workload(
        "collect",
        "collection of manifests, each with its config",
        "manifest",
        (OURS_COLLECTING,),
        _part(collection.measure_collection, {OURS_COLLECTING: "alone"}),
        stage="lifecycle",
    ),
    Workload(
        "collect-beside",
        "the same beside pulls and pushes",
        "manifest",
        (OURS_COLLECTING,),
        _part(collection.measure_collection, {OURS_COLLECTING: "beside"}),
        stage="lifecycle",
    ),
    Workload(
        "collect-memory",
        "memory before, and more while it collects",
        "manifest",
        (OURS_COLLECTING,),
        _part(collection.measure_collection, {OURS_COLLECTING: "memory"}),
        stage="lifecycle",
    ),
    Workload(
        "collect-pulls",
        "manifest GET by tag, one client",
        "request",
        (OURS, OURS_COLLECTING),
        _part(collection.measure_collection, {OURS: "pull", OURS_COLLECTING: "pull, collecting"}),
        stage="lifecycle",
    ),
    Workload(
        "collect-pushes",
        "images of a 2 KiB layer and a config, another client",
        "image",
        (OURS, OURS_COLLECTING),
        _part(collection.measure_collection, {OURS: "push", OURS_COLLECTING: "push, collecting"}),
        stage="lifecycle",
    ),
    Workload(
        "preview",
        "preview of retention over 100,000 tags",
        "preview",
        (OURS_GOVERNED,),
        rules.measure_preview,
        stage="lifecycle",
    ),
    Workload(
        "explain",
        "explanations of tags among 100,000, by the API",
        "request",
        (OURS_GOVERNED,),
        rules.measure_explanations,
        stage="lifecycle",
    ),
    Workload(
        "quota",
        "500 images of a 2 KiB layer and a config at the same time",
        "image",
        (OURS_GOVERNED, OURS_QUOTA),
        _part(rules.measure_quota, {OURS_GOVERNED: OURS_GOVERNED, OURS_QUOTA: OURS_QUOTA}),
        stage="lifecycle",
    ),
)
