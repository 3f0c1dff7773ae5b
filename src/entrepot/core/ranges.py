"""Byte ranges of downloads (RFC 9110, 14) and of upload chunks (distribution-spec, "Push")."""

import re
from typing import Final, NamedTuple

from entrepot.core.errors import RangeInvalidError

_BYTES: Final = re.compile(r"bytes=[ \t]*(\d{0,40})-(\d{0,40})[ \t]*")
_CHUNK: Final = re.compile(r"(?:bytes )?(\d{1,19})-(\d{1,19})(?:/(?:\d{1,19}|\*))?")


class ByteRange(NamedTuple):
    """Bytes `start` to `stop`, `stop` not included."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.start}-{self.stop - 1}"


def requested_range(header: str | None, *, size: int) -> ByteRange | None:
    """Return the part of `size` bytes that a `Range` header asks for, or None for all of them.

    One range or suffix is honoured. Several ranges, and units other than bytes, are answered with
    the whole, as RFC 9110 14.2 allows.

    Raises:
        RangeInvalidError: the header is malformed, or no byte of the range exists (416).
    """
    if header is None or not header.startswith("bytes=") or "," in header:
        return None
    match = _BYTES.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        raise _unsatisfiable(header, size)
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise _unsatisfiable(header, size)
        return ByteRange(size - length, size)
    start = int(match[1])
    stop = min(int(match[2]) + 1, size) if match[2] else size
    if start >= stop:
        raise _unsatisfiable(header, size)
    return ByteRange(start, stop)


def _unsatisfiable(header: str, size: int) -> RangeInvalidError:
    return RangeInvalidError(
        {"range": header[:128], "size": size}, headers={"Content-Range": f"bytes */{size}"}
    )


def chunk_range(header: str | None) -> ByteRange | None:
    """Return the position that a chunk's `Content-Range` claims, or None without the header.

    The specification writes `<start>-<end>`, both inclusive; RFC 9110's `bytes <start>-<end>/*`
    is understood, too.

    Raises:
        RangeInvalidError: the header has another form, or ends before it starts.
    """
    if header is None:
        return None
    match = _CHUNK.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise RangeInvalidError({"content-range": header[:128], "expected": "<start>-<end>"})
    return ByteRange(int(match[1]), int(match[2]) + 1)
