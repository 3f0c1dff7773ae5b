"""CPU time and memory of process trees, read from /proc."""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20

Sample = Mapping[str, float]
"""What one run of a workload gave. Names of figures, always in these units:

rate: operations or MiB per second (the workload says which); cpu: seconds of server CPU per
operation or MiB; p50, p99: seconds of latency; idle, peak, extra: bytes; ready: seconds.
"""


@dataclass(frozen=True)
class _Process:
    parent: int
    cpu_ticks: int


def _read_process(pid: int) -> _Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    # proc(5), numbered from "state" = 0: ppid 1, utime 11, stime 12, cutime 13, cstime 14.
    return _Process(parent=int(fields[1]), cpu_ticks=sum(int(field) for field in fields[11:15]))


def _processes() -> dict[int, _Process]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := _read_process(int(entry.name))) is not None:
            found[int(entry.name)] = process
    return found


def _tree(roots: Iterable[int], processes: Mapping[int, _Process]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    tree: set[int] = set()
    waiting = [root for root in roots if root in processes]
    while waiting:
        pid = waiting.pop()
        if pid not in tree:
            tree.add(pid)
            waiting.extend(children.get(pid, ()))
    return tree


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of these processes and all their descendants, in seconds.

    Children that have exited are in it once their parent has waited for them (cutime, cstime) and
    as zombies before. The kernel counts in ticks of 10 ms.
    """
    processes = _processes()
    return sum(processes[pid].cpu_ticks for pid in _tree(roots, processes)) / TICKS_PER_SECOND


def pss_bytes(roots: Iterable[int]) -> int:
    """Proportional set size of these processes and all their descendants, in bytes."""
    total = 0
    for pid in _tree(roots, _processes()):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


class PeakMemory:
    """Samples the proportional set size of a process tree while the `with` block runs."""

    def __init__(self, roots: Sequence[int], *, interval: float = 0.05) -> None:
        """Sample every `interval` seconds."""
        self._roots = roots
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0

    def _sample(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, pss_bytes(self._roots))
            if self._done.wait(self._interval):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()


def median(samples: Iterable[Sample], figure: str) -> float | None:
    """The median of one figure over the rounds; None where no round has it."""
    values = [sample[figure] for sample in samples if figure in sample]
    return statistics.median(values) if values else None


def spread(samples: Iterable[Sample], figure: str) -> float | None:
    """(highest - lowest) / median of one figure over the rounds; None where no round has it."""
    values = [sample[figure] for sample in samples if figure in sample]
    middle = statistics.median(values) if values else 0.0
    return (max(values) - min(values)) / middle if middle else None
