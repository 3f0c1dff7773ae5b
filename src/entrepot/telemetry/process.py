"""What the processes of a server use, as the Linux kernel accounts it."""

import os
import resource
from collections.abc import Collection
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_TRIES = 3


class Usage(msgspec.Struct, frozen=True):
    """Sums over the processes of one server; zero where the kernel doesn't tell."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    virtual_bytes: int = 0
    open_files: int = 0
    most_files: int = 0
    started: float = 0.0
    """Seconds since 1970 at which the oldest process started."""


class _Process(msgspec.Struct, frozen=True):
    cpu_seconds: float
    ended_children_seconds: float
    memory_bytes: int
    virtual_bytes: int
    open_files: int
    started: float


def usage(workers: Collection[int], *, server: int | None) -> Usage:
    """Return what the living `workers`, the `server` process and its other children use now.

    The CPU time of workers that have ended is in the sum as time of ended children of `server`,
    so it does not go back.
    """
    processes = _read_all(workers, server=server)
    if not processes:
        return Usage()
    parent = processes.get(server) if server is not None else None
    return Usage(
        cpu_seconds=sum(process.cpu_seconds for process in processes.values())
        + (parent.ended_children_seconds if parent else 0.0),
        memory_bytes=sum(process.memory_bytes for process in processes.values()),
        virtual_bytes=sum(process.virtual_bytes for process in processes.values()),
        open_files=sum(process.open_files for process in processes.values()),
        most_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        started=min(process.started for process in processes.values()),
    )


def _read_all(workers: Collection[int], *, server: int | None) -> dict[int, _Process]:
    """Read every process; again if one ended meanwhile, for its time is its parent's now."""
    found: dict[int, _Process] = {}
    for _ in range(_TRIES):
        wanted = {*workers, *_family(server)}
        found = {pid: process for pid in wanted if (process := _read(pid)) is not None}
        if found.keys() == wanted:
            break
    return found


def _family(server: int | None) -> set[int]:
    """Return the process ids of the server and of its children, also of those just ended."""
    if server is None:
        return set()
    try:
        listed = (_PROC / f"{server}/task/{server}/children").read_text(encoding="ascii")
    except OSError:
        listed = ""  # a kernel without CONFIG_PROC_CHILDREN
    return {server, *map(int, listed.split())}


def _read(pid: int) -> _Process | None:
    directory = _PROC / str(pid)
    try:
        # The name, in parentheses, may hold anything; numbers follow the last parenthesis.
        fields = (directory / "stat").read_text(encoding="utf-8", errors="replace")
        numbers = fields[fields.rindex(")") + 2 :].split()
        ticks = os.sysconf("SC_CLK_TCK")
        return _Process(
            cpu_seconds=(int(numbers[11]) + int(numbers[12])) / ticks,
            ended_children_seconds=(int(numbers[13]) + int(numbers[14])) / ticks,
            memory_bytes=_memory(directory, resident_pages=int(numbers[21])),
            virtual_bytes=int(numbers[20]),
            open_files=_open_files(directory),
            started=_boot_time() + int(numbers[19]) / ticks,
        )
    except (OSError, ValueError, IndexError):
        return None


def _memory(directory: Path, *, resident_pages: int) -> int:
    """Return the proportional set size in bytes, or the resident set size if it isn't told."""
    try:
        for line in (directory / "smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident_pages * resource.getpagesize()


def _open_files(directory: Path) -> int:
    try:
        return sum(1 for _ in (directory / "fd").iterdir())
    except OSError:
        return 0


def _boot_time() -> float:
    for line in (_PROC / "stat").read_text(encoding="ascii").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
