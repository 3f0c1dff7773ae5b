"""The targets, line by line, and whether a run reached them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.measure import MIB, Sample, median
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
)

Results = dict[str, dict[str, list[Sample]]]
"""Workload -> server -> a sample per round."""

Verdict = Literal["met", "NOT met", "not measured"]


@dataclass(frozen=True)
class Of:
    """A figure of a server in a workload: its median over the rounds."""

    workload: str
    server: str
    figure: str = "rate"

    def value(self, results: Mapping[str, Mapping[str, Sequence[Sample]]]) -> float | None:
        """None where it was not measured."""
        return median(results.get(self.workload, {}).get(self.server, ()), self.figure)


@dataclass(frozen=True)
class Target:
    """`of`, divided by `per` if there is one, must be at least or at most `bound`."""

    line: str
    what: str
    of: Of
    relation: Literal["at least", "at most", "over", "under"]
    bound: float
    per: Of | float = 1.0
    unit: str = "x"

    def measured(self, results: Results) -> float | None:
        """The ratio (or the figure in the target's unit), None where a part was not measured."""
        value = self.of.value(results)
        divisor = self.per.value(results) if isinstance(self.per, Of) else self.per
        return value / divisor if value is not None and divisor else None

    def verdict(self, results: Results) -> Verdict:
        """Whether the bound holds."""
        measured = self.measured(results)
        if measured is None:
            return "not measured"
        holds = {
            "at least": measured >= self.bound,
            "at most": measured <= self.bound,
            "over": measured > self.bound,
            "under": measured < self.bound,
        }[self.relation]
        return "met" if holds else "NOT met"


def _faster(
    line: str, workload: str, bound: float, *, server: str = OURS, peer: str = PEER
) -> Target:
    return Target(
        line, "rate / peer's", Of(workload, server), "at least", bound, Of(workload, peer)
    )


def _cluster(line: str, workload: str, bound: float) -> Target:
    return _faster(line, workload, bound, server=OURS_CLUSTER, peer=PEER_CLUSTER)


def _as_sqlite(line: str, workload: str) -> Target:
    """What PostgreSQL may cost."""
    ours, bound = Of(workload, OURS_CLUSTER, "cpu"), 2.5
    return Target(line, "CPU / SQLite's", ours, "at most", bound, Of(workload, OURS, "cpu"))


def _cpu(line: str, workload: str, bound: float, *, server: str, per: str) -> Target:
    whose = "nginx's" if per == LIMIT else "peer's"
    return Target(
        line,
        f"CPU / {whose}",
        Of(workload, server, "cpu"),
        "at most",
        bound,
        Of(workload, per, "cpu"),
    )


def _manifest(line: str, workload: str) -> tuple[Target, Target]:
    return (
        _faster(line, workload, 12.0),
        _cpu(line, workload, 3.2, server=OURS, per=LIMIT),
    )


def _scale(line: str, workload: str) -> tuple[Target, Target]:
    small, large = Of(workload, OURS_1K, "p50"), Of(workload, OURS_100K, "p50")
    return (
        Target(line, "median latency", large, "under", 5.0, 1e-3, "ms"),
        Target(line, "latency / that at 1,000", large, "at most", 1.5, small),
    )


def _beside(line: str, workload: str) -> Target:
    collecting, idle = Of(workload, OURS_COLLECTING, "p99"), Of(workload, OURS, "p99")
    return Target(line, "p99 / idle", collecting, "at most", 1.3, idle)


_HTPASSWD = "manifest GET with htpasswd (bcrypt cost 10)"
_COLLECTION = "collection, flat out, of 100,000 manifests"
_MEMORY = "memory of the process tree (proportional set size)"

TARGETS: tuple[Target, ...] = (
    *_manifest("manifest GET by tag", "manifest-tag"),
    *_manifest("manifest GET by digest", "manifest-digest"),
    *_manifest("manifest HEAD", "manifest-head"),
    _faster("blob HEAD", "blob-head", 12.0),
    _faster("4 KiB blob GET", "blob-4k", 15.0),
    _faster("1 MiB blob GET, 16 connections", "blob-1m", 2.5),
    _faster("256 MiB blob GET, one stream", "blob-256m", 1.1),
    _faster("256 MiB blob GET behind nginx", "blob-256m", 1.5, server=OURS_ACCEL),
    _cpu("256 MiB blob GET behind nginx", "blob-256m", 0.4, server=OURS_ACCEL, per=PEER),
    _faster("256 MiB blob, POST + PUT", "push-256m", 2.5),
    _faster("64 MiB blob, POST + streamed PATCH + PUT", "push-64m", 2.8),
    _faster("small images, 4 clients, full durability", "images", 5.0),
    _faster("small images, 4 clients, relaxed", "images", 6.0, server=OURS_RELAXED),
    _faster("16 MiB in 1 MiB chunks", "chunks", 3.0),
    Target(
        _HTPASSWD,
        "rate / ours without",
        Of("htpasswd", OURS_HTPASSWD),
        "at least",
        0.9,
        Of("htpasswd", OURS),
    ),
    Target(
        _HTPASSWD,
        "rate / peer's",
        Of("htpasswd", OURS_HTPASSWD),
        "over",
        100.0,
        Of("htpasswd", PEER_HTPASSWD),
    ),
    *_scale("catalog page of 100 among 100,000 repositories", "catalog-page"),
    *_scale("tag page of 100 among 100,000 tags", "tag-page"),
    *_scale("manifest GET by tag there", "manifest-there"),
    Target(_MEMORY, "idle", Of("memory", OURS, "idle"), "at most", 150.0, MIB, "MiB"),
    Target(
        _MEMORY,
        "more while 2 GiB are pushed and 2 GiB pulled",
        Of("memory", OURS, "extra"),
        "at most",
        100.0,
        MIB,
        "MiB",
    ),
    Target(
        "start to ready, 1,000,000 manifests in the index",
        "time",
        Of("start", OURS, "ready"),
        "at most",
        3.0,
        1.0,
        "s",
    ),
    Target(
        "takeover of 20,000 manifests of registry:2",
        "rate",
        Of("import", OURS),
        "at least",
        1000.0,
        1.0,
        "manifest/s",
    ),
    Target(
        "takeover of 20,000 manifests of registry:2",
        "memory of the process tree",
        Of("import", OURS, "peak"),
        "at most",
        200.0,
        MIB,
        "MiB",
    ),
    _cluster("manifest GET by tag", "cluster-manifest", 10.0),
    _as_sqlite("manifest GET by tag", "cluster-manifest"),
    _as_sqlite("manifest GET by 64 tags in turn", "cluster-manifests"),
    _cluster("small images, 4 clients", "cluster-images", 3.0),
    _cluster("catalog page of 100 among 1,000 repositories", "cluster-catalog", 100.0),
    Target(
        _COLLECTION,
        "manifests with their configs",
        Of("collect", OURS_COLLECTING),
        "at least",
        20_000.0,
        1 / 60,
        "/min",
    ),
    Target(
        _COLLECTION,
        "more memory meanwhile",
        Of("collect-memory", OURS_COLLECTING, "extra"),
        "at most",
        10.0,
        MIB,
        "MiB",
    ),
    _beside("manifest GET by tag while it collects", "collect-pulls"),
    _beside("small push while it collects", "collect-pushes"),
    Target(
        "preview of retention, 100,000 tags",
        "time",
        Of("preview", OURS_GOVERNED, "ready"),
        "under",
        10.0,
        1.0,
        "s",
    ),
    Target(
        "explanation of a tag",
        "p99",
        Of("explain", OURS_GOVERNED, "p99"),
        "under",
        50.0,
        1e-3,
        "ms",
    ),
    Target(
        "500 small pushes at the same time into a quota",
        "time / without",
        Of("quota", OURS_GOVERNED),
        "at most",
        1.1,
        Of("quota", OURS_QUOTA),
    ),
)
