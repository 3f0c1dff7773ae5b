"""Signed checkpoints of the audit log, and whether the log is still what they say. Pure.

A checkpoint says how far every chain was that had grown since the one before: the number and hash
of its last event. It also says what has been deleted because it was old: where the chains begin now
(`starts`), and which checkpoint is the first that is kept. Its hash is in the next one, and a key
of the registry signs it. What is signed and hashed is the payload, a JSON object in UTF-8, as it
stands in the index.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from entrepot.core.audit import FIRST, Record

LATE: Final = 600 * 1_000_000
"""Microseconds by which an event may come into the index after it occurred."""

Mark = tuple[int, int, str]
"""A writer, the number of an event, and a hash as hexadecimal text."""


class Checkpoint(Struct, frozen=True, kw_only=True):
    """How far the chains are at some time."""

    number: int
    """1 for the first, then one more each time."""
    previous: str
    """The hash of the checkpoint before, as hexadecimal text; empty for the first."""
    created_at: int
    kid: str
    heads: tuple[Mark, ...]
    """The last events of chains that have grown."""
    starts: tuple[Mark, ...] = ()
    """The first events that are left of chains, with the hash of the event before."""
    first: int = 1
    """The first checkpoint that is kept."""

    def payload(self) -> bytes:
        """Return what is signed."""
        return msgspec.json.encode(self)


class Signed(Struct, frozen=True):
    """A checkpoint as it is kept."""

    number: int
    payload: bytes
    created_at: int
    signature: bytes

    @property
    def hash(self) -> str:
        """The hash that the next checkpoint has."""
        return hashlib.sha256(self.payload).hexdigest()


class Problem(Struct, frozen=True):
    """Something that is not as it was written: what, and where."""

    kind: str
    """`changed`, `removed`, `inserted`, `truncated`, `rewritten`, `unsigned` or `malformed`."""
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.place}: {self.text}"


def read(signed: Signed) -> Checkpoint | None:
    """Return what a checkpoint says; None if it can't be read, or says another number or time."""
    try:
        found = msgspec.json.decode(signed.payload, type=Checkpoint)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if (found.number, found.created_at) == (signed.number, signed.created_at) else None


class Ledger:
    """What the checkpoints say, one after the other."""

    def __init__(self) -> None:
        self.heads: dict[int, dict[int, tuple[str, int]]] = {}
        """By writer and number, the hash, and the checkpoint that says it."""
        self.last: Checkpoint | None = None
        self._first = 0
        self._hash = ""

    @property
    def starts(self) -> dict[int, tuple[int, bytes]]:
        """By writer, the first event that is left, and the hash before it."""
        found = self.last.starts if self.last else ()
        return {writer: (number, bytes.fromhex(before)) for writer, number, before in found}

    def add(self, signed: Signed, *, good: bool) -> Iterator[Problem]:
        """Take the next checkpoint, of which `good` tells whether its signature is right, and give
        what is wrong with it.
        """
        place = f"checkpoint {signed.number}"
        checkpoint = read(signed) if good else None
        if checkpoint is None:
            kind = "malformed" if good else "unsigned"
            text = "it can't be read" if good else "its signature is not right"
            yield Problem(kind, place, text)
        if self._first == 0:
            self._first = signed.number
        elif signed.number != self._number + 1:
            yield Problem("removed", place, f"{self._number} is the one before")
        elif checkpoint is not None and checkpoint.previous != self._hash:
            yield Problem("changed", place, "the one before has another hash")
        self._number, self._hash = signed.number, signed.hash
        if checkpoint is None:
            return
        for writer, number, head in checkpoint.heads:
            self.heads.setdefault(writer, {})[number] = (head, checkpoint.number)
        self.last = checkpoint

    _number = 0

    def end(self) -> Iterator[Problem]:
        """Give what is wrong with all of them together."""
        if self.last is not None and self._first > self.last.first:
            text = f"those from {self.last.first} to {self._first - 1} must be there"
            yield Problem("removed", f"checkpoint {self._first}", text)

    def absent(self, present: Mapping[int, object]) -> Iterator[Problem]:
        """Give the writers of which nothing is left, though something must be."""
        starts = self.starts
        for writer, heads in self.heads.items():
            start = starts.get(writer, (1, FIRST))[0]
            if writer not in present and max(heads) >= start:
                yield Problem("truncated", f"writer {writer}", "the whole chain is gone")


class ChainCheck:
    """Checks the chain of one writer, event by event."""

    def __init__(self, ledger: Ledger, writer: int) -> None:
        self._writer = writer
        number, self._before = ledger.starts.get(writer, (1, FIRST))
        self._next = number
        self._heads = ledger.heads.get(writer, {})
        self._covered = max(self._heads, default=0)
        self._until = ledger.last.created_at - LATE if ledger.last else 0

    def add(self, record: Record) -> Iterator[Problem]:
        """Take the next event in the order of numbers, and give what is wrong with it."""
        place = f"event {self._writer}-{record.sequence}"
        if record.sequence > self._next:
            missing = f"{self._next}" + (
                f" to {record.sequence - 1}" if record.sequence > self._next + 1 else ""
            )
            yield Problem("removed", f"writer {self._writer}", f"missing before it: {missing}")
        elif record.sequence < self._next:
            yield Problem("inserted", place, "there is another one of this number, or it is gone")
        elif record.previous != self._before:
            yield Problem("changed", place, "the event before has another hash")
        if _computed(record) != record.hash:
            yield Problem("changed", place, "its hash is not that of what it says")
        head = self._heads.get(record.sequence)
        if head is not None and head[0] != record.hash.hex():
            yield Problem("rewritten", place, f"checkpoint {head[1]} knows another one")
        if record.sequence > self._covered and record.occurred_at < self._until:
            yield Problem("inserted", place, "it is older than the last checkpoint and in none")
        self._next, self._before = record.sequence + 1, record.hash

    def end(self) -> Iterator[Problem]:
        """Give what is missing at the end."""
        if self._covered >= self._next:
            number = self._heads[self._covered][1]
            text = f"checkpoint {number} knows events up to {self._covered}, here {self._next - 1}"
            yield Problem("truncated", f"writer {self._writer}", f"{text} is the last")


def _computed(record: Record) -> bytes:
    """Return the hash of a record; none if a column holds what was never written there."""
    try:
        return record.computed()
    except (TypeError, ValueError, AttributeError, msgspec.MsgspecError):
        return b""


def next_checkpoint(
    last: Signed | None,
    *,
    now: int,
    kid: str,
    heads: Sequence[tuple[int, int, bytes]],
    starts: Sequence[Mark] | None = None,
    first: int | None = None,
) -> Checkpoint:
    """Return the checkpoint after `last`; without `starts` and `first` they are what they were."""
    before = read(last) if last is not None else None
    return Checkpoint(
        number=last.number + 1 if last is not None else 1,
        previous=last.hash if last is not None else "",
        created_at=now,
        kid=kid,
        heads=tuple((writer, number, head.hex()) for writer, number, head in heads),
        starts=tuple(starts) if starts is not None else (before.starts if before else ()),
        first=first if first is not None else (before.first if before else 1),
    )
