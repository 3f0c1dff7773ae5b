"""Ranges of downloads (RFC 9110, 14) and of chunks (distribution-spec, "Push")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.errors import RangeInvalidError
from entrepot.core.ranges import ByteRange, chunk_range, requested_range

SIZES = st.integers(0, 10_000)
POSITIONS = st.integers(0, 20_000)


@given(size=SIZES, start=POSITIONS, stop=POSITIONS)
def test_first_and_last(size: int, start: int, stop: int) -> None:
    """What a slice of the content would give, or 416 where that is nothing."""
    header = f"bytes={start}-{stop}"
    expected = range(size)[start : stop + 1]
    if not expected:
        with pytest.raises(RangeInvalidError) as caught:
            requested_range(header, size=size)
        assert caught.value.headers["Content-Range"] == f"bytes */{size}"
    else:
        found = requested_range(header, size=size)
        assert found == ByteRange(expected.start, expected.stop)
        assert str(found) == f"{expected[0]}-{expected[-1]}"


@given(size=SIZES, start=POSITIONS)
def test_from_a_position_to_the_end(size: int, start: int) -> None:
    if start >= size:
        with pytest.raises(RangeInvalidError):
            requested_range(f"bytes={start}-", size=size)
    else:
        assert requested_range(f"bytes={start}-", size=size) == (start, size)


@given(size=SIZES, length=POSITIONS)
def test_the_last_bytes(size: int, length: int) -> None:
    if not length or not size:
        with pytest.raises(RangeInvalidError):
            requested_range(f"bytes=-{length}", size=size)
    else:
        assert requested_range(f"bytes=-{length}", size=size) == (max(0, size - length), size)


@given(header=st.one_of(st.text(), st.text("bytes=0123456789- ,")), size=SIZES)
def test_any_header_is_a_part_the_whole_or_refused(header: str, size: int) -> None:
    try:
        found = requested_range(header, size=size)
    except RangeInvalidError:
        return
    assert found is None or 0 <= found.start < found.stop <= size


@pytest.mark.parametrize(
    "header", [None, "", "items=0-1", "bytes", "bytes=0-1,3-4", "bytes=0-,", "Bytes=0-1"]
)
def test_what_means_the_whole(header: str | None) -> None:
    assert requested_range(header, size=10) is None


@pytest.mark.parametrize(
    "header", ["bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "bytes=1", "bytes=+1-2", "bytes=-0"]
)
def test_what_is_refused(header: str) -> None:
    with pytest.raises(RangeInvalidError):
        requested_range(header, size=10)


def test_numbers_without_end() -> None:
    assert requested_range(f"bytes=0-{'9' * 40}", size=10) == (0, 10)
    with pytest.raises(RangeInvalidError):
        requested_range(f"bytes={'9' * 5000}-", size=10)


@given(start=st.integers(0, 10**18), length=st.integers(1, 10**6))
@pytest.mark.parametrize("form", ["{}-{}", "bytes {}-{}", "bytes {}-{}/*", "bytes {}-{}/999"])
def test_positions_of_chunks(form: str, start: int, length: int) -> None:
    header = form.format(start, start + length - 1)
    assert chunk_range(header) == ByteRange(start, start + length)


@pytest.mark.parametrize(
    "header", ["", "1", "-", "1-", "-1", "5-4", "a-b", "0-1-2", "0 - 1", "bytes=0-1", "0" * 20]
)
def test_positions_that_are_none(header: str) -> None:
    with pytest.raises(RangeInvalidError) as caught:
        chunk_range(header)
    assert "expected" in str(caught.value.detail)


@given(st.text())
def test_any_position_is_understood_or_refused(header: str) -> None:
    try:
        found = chunk_range(header)
    except RangeInvalidError:
        return
    assert found is not None
    assert 0 <= found.start < found.stop


def test_without_a_position() -> None:
    assert chunk_range(None) is None
