"""`python -m bench`: runs the workloads in turn within each round and prints what came out."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import report, tools
from bench.errors import BenchError
from bench.measure import Sample
from bench.servers import PEER, Server, external
from bench.settings import Settings
from bench.targets import Results
from bench.workloads import WORKLOADS, Stage, Workload
from bench.yard import Yard, new_directory

_CHECKOUT = Path(__file__).resolve().parent.parent


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    add = parser.add_argument
    names = [workload.name for workload in WORKLOADS]
    add("--workload", action="append", choices=names, metavar="NAME", default=[],
        help=f"run only this (may be given several times): {', '.join(names)}")  # fmt: skip
    add("--cluster", action="store_true",
        help="measure with PostgreSQL and SeaweedFS instead")  # fmt: skip
    add("--lifecycle", action="store_true",
        help="measure collection, retention and quotas instead")  # fmt: skip
    add("--rounds", type=int, default=3, help="rounds over all workloads (default 3)")
    add("--seconds", type=float, default=5.0,
        help="load per read workload, server and round; counts of pushes follow it")  # fmt: skip
    add("--peer", action="append", default=[], metavar="NAME=URL",
        help="another registry that runs already; add #PID to the URL to have its CPU")  # fmt: skip
    add("--only-peers", action="store_true", help="leave Entrepot out")
    add("--entrepot", type=Path, default=_CHECKOUT / ".venv" / "bin" / "entrepot",
        metavar="PATH", help="the entrepot command")  # fmt: skip
    add("--directory", type=Path, default=_CHECKOUT / ".bench",
        help="where the data goes: a real disk (default .bench in the checkout)")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    add("--markdown", action="store_true", help="print Markdown tables")
    return parser.parse_args(argv)


def _peers(options: Sequence[str]) -> list[Server]:
    peers = []
    for option in options:
        name, separator, url = option.partition("=")
        if not separator:
            raise BenchError(f"--peer {option}: expected NAME=URL")
        peers.append(external(name, url))
    return peers


def _participants(
    workload: Workload, options: argparse.Namespace, peers: Sequence[Server]
) -> list[str]:
    names = list(workload.servers)
    if PEER in names and workload.stage == "together":
        names += [peer.name for peer in peers]
    if options.only_peers:
        names = [name for name in names if not name.startswith("entrepot")]
    return names


def _run_round(
    workload: Workload, names: Sequence[str], yard: Yard, settings: Settings
) -> dict[str, Sample]:
    """One workload against its servers, in an order that the round rotates."""
    first = (settings.round - 1) % len(names)
    samples: dict[str, Sample] = {}
    for name in (*names[first:], *names[:first]):
        start = time.monotonic()
        samples[name] = workload.run(yard, name, settings)
        figures = "  ".join(f"{key}={value:.6g}" for key, value in samples[name].items())
        _say(f"round {settings.round}  {workload.name:16} {name:26} {figures}"
             f"  ({time.monotonic() - start:.1f} s)")  # fmt: skip
    return samples


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(options: argparse.Namespace, directory: Path) -> Results:
    """All rounds of the workloads that need the machine for themselves, then of the others."""
    stages: Sequence[Stage] = ("alone", "together")
    if options.cluster or options.lifecycle:
        asked: dict[Stage, bool] = {"cluster": options.cluster, "lifecycle": options.lifecycle}
        stages = [stage for stage, wanted in asked.items() if wanted]
    chosen = [
        w
        for w in WORKLOADS
        if (w.name in options.workload if options.workload else w.stage in stages)
    ]
    peers = _peers(options.peer)
    results: Results = {workload.name: {} for workload in chosen}
    for stage in ("alone", "together", "cluster", "lifecycle"):
        staged = [workload for workload in chosen if workload.stage == stage]
        with contextlib.ExitStack() as stack:
            yard = Yard(directory, options.entrepot, stack, peers)
            for number in range(1, options.rounds + 1):
                settings = Settings(round=number, seconds=options.seconds)
                for workload in staged:
                    names = _participants(workload, options, peers)
                    if not names or number > (workload.most_rounds or number):
                        continue
                    samples = _run_round(workload, names, yard, settings)
                    for name, sample in samples.items():
                        results[workload.name].setdefault(name, []).append(sample)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when every target that was measured is met, 1 when one is not, 2 on errors."""
    options = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        tools.require(tools.PACKAGES)
        directory = new_directory(options.directory.resolve(), f"run-{os.getpid()}")
        (options.directory / ".gitignore").write_text("*\n")
        try:
            results = _run(options, directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    except BenchError as error:
        _say(f"bench: {error}")
        return 2
    if options.json:
        report.write_json(options.json, results)
    print(report.render(results, form="markdown" if options.markdown else "text"))
    return 0 if report.all_met(results) else 1


if __name__ == "__main__":
    sys.exit(main())
