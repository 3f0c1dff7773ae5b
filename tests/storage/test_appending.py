"""Writing at the end of a file through the page cache or past it, whichever is faster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrepot.storage.appending import LARGE, Appender, Ways

THROUGH, PAST = False, True


def test_each_way_is_tried_and_then_the_faster_one_used() -> None:
    """With the other one now and then; a single slow time changes nothing."""
    ways = Ways()
    assert ways.choose() is PAST
    ways.took(3.0, size=1, direct=PAST)
    assert ways.choose() is THROUGH
    ways.took(2.0, size=1, direct=THROUGH)
    choices = [ways.choose() for _ in range(640)]
    assert choices.count(PAST) == 10
    for _ in range(2):
        ways.took(1.0, size=1, direct=THROUGH)
    ways.took(900.0, size=1, direct=THROUGH)
    assert ways.choose() is THROUGH
    for _ in range(3):
        ways.took(4.0, size=1, direct=THROUGH)
    assert ways.choose() is PAST
    ways.direct = False
    assert not any(ways.choose() for _ in range(200))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def prefer(ways: Ways, direct: bool) -> None:
    for way in (PAST, THROUGH):
        for _ in range(5):
            ways.took(1.0 if way is direct else 2.0, size=1, direct=way)


@pytest.mark.parametrize("first", [PAST, THROUGH])
@pytest.mark.parametrize("start", [0, 1, 4096])
def test_the_bytes_are_the_same_whichever_way(path: Path, fd: int, first: bool, start: int) -> None:
    """Also if the way changes in the middle, at ends that fill no block of a disk."""
    ways = Ways()
    expected = bytearray(os.urandom(start))
    path.write_bytes(expected)
    for sizes in ([LARGE], [LARGE + 1, LARGE + 4095, 77, 3 * LARGE + 513, LARGE, 2 * LARGE, 1]):
        appender = Appender(fd, str(path), ways=ways, write_back=True)
        for number, size in enumerate(sizes):
            prefer(ways, first if number % 2 else not first)
            data = os.urandom(size)
            appender.append(data)
            expected += data
        appender.finish()
        assert not appender.gathers
        assert path.read_bytes() == expected


@pytest.mark.parametrize("way", [PAST, THROUGH])
def test_what_is_abandoned_is_not_there(path: Path, fd: int, way: bool) -> None:
    """The file ends where it is told to, and goes on from there."""
    ways = Ways()
    appender = Appender(fd, str(path), ways=ways, write_back=False)
    for size in (LARGE + 5, 70):
        prefer(ways, way)
        appender.append(b"a" * size)
    appender.abandon(3)
    assert path.read_bytes() == b"aaa"
    appender.append(b"b" * LARGE)
    appender.finish()
    assert path.read_bytes() == b"aaa" + b"b" * LARGE
