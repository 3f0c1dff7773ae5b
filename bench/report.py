"""Prints results: text for the terminal, Markdown for the documentation, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from bench.measure import MIB, Sample, median, spread
from bench.servers import PEER, PEER_CLUSTER, PEER_HTPASSWD
from bench.targets import TARGETS, Results
from bench.workloads import WORKLOADS

Form = Literal["text", "markdown"]

_RIGHT = {"rate", "spread", "/ peer", "CPU", "p50", "p99", "target", "measured"}


_PEERS = (PEER, PEER_HTPASSWD, PEER_CLUSTER)


def write_json(file: Path, results: Results) -> None:
    """Every sample of every round, in the units of `bench.measure.Sample`."""
    file.write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n")


def all_met(results: Results) -> bool:
    """Whether no measured target is missed."""
    return all(target.verdict(results) != "NOT met" for target in TARGETS)


def machine() -> str:
    """The processor, the cores and the kernel of this machine."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Linux {platform.release()}"


def render(results: Results, *, form: Form) -> str:
    """Both tables: what was measured (medians over the rounds) and the targets."""
    measured = [["workload", "server", "rate", "spread", "/ peer", "CPU", "p50", "p99"]]
    for workload in WORKLOADS:
        by_server = results.get(workload.name, {})
        title = workload.title
        for server, samples in by_server.items():
            measured.append(_row(title, server, samples, by_server, workload.unit))
            title = ""
    targets = [["line", "what", "target", "measured", ""]]
    for target in TARGETS:
        if target.of.workload not in results:
            continue
        value = target.measured(results)
        sign = {"at least": ">=", "at most": "<=", "over": ">", "under": "<"}[target.relation]
        targets.append(
            [
                target.line,
                target.what,
                f"{sign} {target.bound:g} {target.unit}",
                "-" if value is None else f"{value:.2f} {target.unit}",
                target.verdict(results),
            ]
        )
    return f"{machine()}\n\n{_table(measured, form)}\n\n{_table(targets, form)}"


def _row(
    title: str,
    server: str,
    samples: Sequence[Sample],
    others: Mapping[str, Sequence[Sample]],
    unit: str,
) -> list[str]:
    rate = median(samples, "rate")
    peer = next((others[name] for name in _PEERS if name in others), ())
    peer_rate = median(peer, "rate")
    width = spread(samples, "rate")
    return [
        title,
        server,
        _figure(samples, unit),
        "" if width is None else f"{100 * width:.0f} %",
        f"{rate / peer_rate:.2f}" if rate and peer_rate else "",
        _small(median(samples, "cpu"), f"/{unit}"),
        _small(median(samples, "p50"), ""),
        _small(median(samples, "p99"), ""),
    ]


def _figure(samples: Sequence[Sample], unit: str) -> str:
    """The main figure: a rate, or what memory and start workloads have instead."""
    idle, extra = median(samples, "idle"), median(samples, "extra")
    if idle is not None and extra is not None:
        return f"{idle / MIB:.0f} MiB + {extra / MIB:.0f} MiB"
    ready = median(samples, "ready")
    if ready is not None:
        return f"{ready:.2f} s"
    rate = median(samples, "rate")
    return "" if rate is None else f"{rate:,.{0 if rate >= 1000 else 1}f} {unit}/s"


def _small(seconds: float | None, per: str) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1e3:.1f} ms{per}" if seconds >= 0.01 else f"{seconds * 1e6:,.0f} us{per}"


def _table(rows: Sequence[Sequence[str]], form: Form) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [name in _RIGHT for name in rows[0]]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append("| " + " | ".join(cells) + " |" if form == "markdown" else "  ".join(cells))
    rule = "|".join(
        "-" * (width + 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)
    )
    if form == "markdown":
        lines.insert(1, f"|{rule}|")
    return "\n".join(line.rstrip() for line in lines)
