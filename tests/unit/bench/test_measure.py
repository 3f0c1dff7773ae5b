"""What the benchmark reads from /proc, and what it makes of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.measure import MIB, PeakMemory, cpu_seconds, median, pss_bytes, spread

BURN = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}], check=True)
held = bytearray({32 * MIB})
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def parent_of_a_finished_child() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()


def test_cpu_of_a_tree_has_children_that_have_exited() -> None:
    """A worker that is gone still counts."""
    with parent_of_a_finished_child() as pid:
        assert cpu_seconds([pid]) >= 0.2


def test_a_tree_contains_its_descendants() -> None:
    """The tests' own tree has the child in it."""
    with parent_of_a_finished_child() as pid:
        assert cpu_seconds([os.getpid()]) >= cpu_seconds([pid])
        assert pss_bytes([os.getpid()]) >= pss_bytes([pid])


def test_memory_is_what_a_process_holds() -> None:
    """32 MiB held are in the figure, and the peak is never below a single sample."""
    with parent_of_a_finished_child() as pid:
        with PeakMemory([pid]) as peak:
            held = pss_bytes([pid])
        assert held >= 32 * MIB
        assert peak.peak_bytes >= 32 * MIB


def test_processes_that_are_gone_count_nothing() -> None:
    """No process has this number."""
    assert cpu_seconds([1 << 30]) == 0
    assert pss_bytes([1 << 30]) == 0


def test_median_and_spread_leave_out_rounds_without_the_figure() -> None:
    samples = [{"rate": 4.0}, {"rate": 2.0}, {"rate": 3.0}, {"cpu": 1.0}]
    assert median(samples, "rate") == 3.0
    assert spread(samples, "rate") == 2.0 / 3.0
    assert median(samples, "p50") is None
    assert spread(samples, "p50") is None
