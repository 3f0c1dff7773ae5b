"""Checkpoints of the audit log: signing them, deleting what is old, and verifying all of it.

The key is an Ed25519 key of its own, sealed in the index (`core.sealing`) by the secret of the
configuration: whoever can write to the index but doesn't know `http.secret` can't sign. A key is
believed if that secret opens it. When the secret is another one, a new key is made; checkpoints of
the old one are believed by whoever names it.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Collection, Iterable
from typing import Final

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from msgspec import Struct

from entrepot.core.audit import REGISTRY, event
from entrepot.core.checkpoints import (
    LATE,
    ChainCheck,
    Checkpoint,
    Ledger,
    Mark,
    Problem,
    Signed,
    next_checkpoint,
    read,
)
from entrepot.core.sealing import NONCE_BYTES, SealBrokenError, seal, unseal
from entrepot.db.audit import list_audit_chain, list_audit_chains, list_audit_heads
from entrepot.db.checkpoints import (
    AuditKey,
    add_audit_key,
    add_checkpoint,
    find_last_checkpoint,
    find_oldest_audit_event,
    forget_audit_events,
    forget_checkpoints,
    has_audit_events,
    list_audit_keys,
    list_checkpoints,
    list_checkpoints_since,
)
from entrepot.db.engine import Database, Reader, Transaction
from entrepot.services.audit import Notes, Trail

_PURPOSE: Final = "audit checkpoint key"
_STEP: Final = 6 * 3600 * 1_000_000
"""Microseconds whose events one transaction deletes."""

_BATCH: Final = 250
_FEW: Final = 50
_MOST_TOLD: Final = 1000
"""Problems that are told one by one."""


_log = structlog.get_logger("entrepot.audit")


class _Key(Struct, frozen=True):
    kid: str
    private: Ed25519PrivateKey


class Checkpoints:
    """Signs for one process; any number of them may. `now` and `keep` (None: for ever) are in
    microseconds.
    """

    def __init__(
        self,
        index: Database,
        *,
        trail: Trail,
        secret: bytes,
        now: Callable[[], int],
        keep: int | None = None,
    ) -> None:
        self._index = index
        self._trail = trail
        self._secret = secret
        self._now = now
        self._keep = keep
        self._key: _Key | None = None

    async def sign(self) -> int | None:
        """Sign a checkpoint if any chain has grown, and return its number."""
        last = await find_last_checkpoint(self._index)
        since = last.created_at - LATE if last is not None else 0
        if not await self._grown(since):
            return None
        key = await self._own_key()  # if it is made now, that is an event as well
        grown = await self._grown(since)

        async def work(transaction: Transaction) -> Signed | None:
            latest = await find_last_checkpoint(transaction)
            if latest != last:
                return None  # another process was faster
            made = _signed(next_checkpoint(last, now=self._now(), kid=key.kid, heads=grown), key)
            await add_checkpoint(transaction, made)
            return made

        made = await self._index.write(work)
        if made is None:
            return None
        _log.info("audit checkpoint", number=made.number, hash=made.hash, chains=len(grown))
        return made.number

    async def prune(self) -> int:
        """Delete events that are older than they are kept, some at a time, and sign where the
        chains begin then; return how many chains were cut.
        """
        oldest = await find_oldest_audit_event(self._index)
        if self._keep is None or oldest is None:
            return 0
        before = min(self._now() - self._keep, oldest + _STEP)
        if oldest >= before:
            return 0
        await self.sign()
        key = await self._own_key()

        async def work(transaction: Transaction) -> int:
            last = await find_last_checkpoint(transaction)
            if last is None:
                return 0
            gone = await forget_audit_events(transaction, before=before)
            await forget_checkpoints(transaction, before=before, last=last.number)
            kept = await _list_until(transaction, before + LATE)
            known = {mark[0] for checkpoint in kept for mark in _heads(checkpoint)}
            before_that = read(last)
            starts = {mark[0]: mark for mark in (before_that.starts if before_that else ())}
            for writer, number, digest in gone:
                starts[writer] = (writer, number + 1, digest.hex())
            needed = [
                mark
                for mark in starts.values()
                if mark[0] in known or await has_audit_events(transaction, mark[0])
            ]
            checkpoint = next_checkpoint(
                last,
                now=self._now(),
                kid=key.kid,
                heads=(),
                starts=needed,
                first=kept[0].number,
            )
            await add_checkpoint(transaction, _signed(checkpoint, key))
            return len(gone)

        return await self._index.write(work)

    async def verify(
        self, *, trusted: Collection[str] = (), expected: tuple[int, str] | None = None
    ) -> "Report":
        """Look at every checkpoint and every event. `trusted` are ids of keys to believe besides
        our own; `expected` is the number and hash of a checkpoint that must be there.
        """
        report = Report()
        ledger = Ledger()
        keys = self._believed(await list_audit_keys(self._index), trusted)
        after = 0
        while batch := await list_checkpoints(self._index, after=after, limit=_BATCH):
            for signed in batch:
                report.take(ledger.add(signed, good=_is_good(signed, keys)))
                report.checkpoints += 1
                if expected is not None and expected[0] == signed.number:
                    report.expected = signed.hash == expected[1]
            after = batch[-1].number
        report.take(ledger.end())
        chains = await list_audit_chains(self._index)
        for writer in chains:
            await self._verify_chain(ledger, writer, report)
        report.take(ledger.absent(dict.fromkeys(chains)))
        if expected is not None and not report.expected:
            text = "it is not there, or another one is in its place"
            report.take([Problem("truncated", f"checkpoint {expected[0]}", text)])
        report.chains = len(chains)
        report.last = after
        return report

    async def _verify_chain(self, ledger: Ledger, writer: int, report: "Report") -> None:
        check, after = ChainCheck(ledger, writer), -(2**62)
        while records := await list_audit_chain(self._index, writer, after=after, limit=_BATCH):
            for record in records:
                report.take(check.add(record))
            report.events += len(records)
            after = records[-1].sequence
            await asyncio.sleep(0)  # others are answered in between
        report.take(check.end())

    def _believed(
        self, rows: Collection[AuditKey], trusted: Collection[str]
    ) -> dict[str, Ed25519PublicKey]:
        """Return the keys that our secret opens, and those that are trusted."""
        found = {}
        for row in rows:
            if row.kid in trusted and _kid(row.public) == row.kid:
                found[row.kid] = Ed25519PublicKey.from_public_bytes(row.public)
                continue
            key = self._opened(row)
            if key is not None:
                found[row.kid] = key.private.public_key()
        return found

    def _opened(self, row: AuditKey) -> _Key | None:
        try:
            plain = unseal(row.sealed, secret=self._secret, purpose=_PURPOSE)
        except SealBrokenError:
            return None
        private = Ed25519PrivateKey.from_private_bytes(plain)
        kid = _kid(private.public_key().public_bytes_raw())
        return _Key(kid, private) if kid == row.kid else None

    async def _own_key(self) -> _Key:
        """Return a key that our secret opens; make one if there is none."""
        if self._key is not None:
            return self._key
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = seal(
            private.private_bytes_raw(), secret=self._secret, purpose=_PURPOSE, nonce=nonce
        )
        spare = AuditKey(_kid(public), public, sealed, self._now())

        async def work(transaction: Transaction, notes: Notes) -> _Key:
            for row in reversed(await list_audit_keys(transaction)):
                known = self._opened(row)
                if known is not None:
                    return known
            await add_audit_key(transaction, spare)
            notes.add(event("key.create", target=spare.kid, purpose=_PURPOSE))
            return _Key(spare.kid, private)

        self._key = await self._trail.write(work, by=REGISTRY)
        return self._key

    async def _grown(self, since: int) -> list[tuple[int, int, bytes]]:
        """Return the ends of those chains that no checkpoint knows, if they grew since a time."""
        known = await self._known(since)
        return [
            head
            for head in await list_audit_heads(self._index, since=since)
            if head[1] > known.get(head[0], 0)
        ]

    async def _known(self, since: int) -> dict[int, int]:
        """Return how far checkpoints know the chains that have events since a time: such an event
        is in a checkpoint that was made after it.
        """
        known: dict[int, int] = {}
        for checkpoint in await list_checkpoints_since(self._index, since):
            for writer, number, _ in _heads(checkpoint):
                known[writer] = max(known.get(writer, 0), number)
        return known


class Report:
    """What was found when all of the log was looked at."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        """The first of them, a thousand at most."""
        self.found = 0
        """How many problems there are."""
        self.events = 0
        self.chains = 0
        self.checkpoints = 0
        self.last = 0
        """The number of the last checkpoint."""
        self.expected = False

    def take(self, problems: Iterable[Problem]) -> None:
        """Add to what was found."""
        for problem in problems:
            self.found += 1
            if self.found <= _MOST_TOLD:
                self.problems.append(problem)


def _kid(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:32]


def _signed(checkpoint: Checkpoint, key: _Key) -> Signed:
    payload = checkpoint.payload()
    signature = key.private.sign(payload)
    return Signed(checkpoint.number, payload, checkpoint.created_at, signature)


def _is_good(signed: Signed, keys: dict[str, Ed25519PublicKey]) -> bool:
    for key in keys.values():
        try:
            key.verify(signed.signature, signed.payload)
        except InvalidSignature:
            continue
        return True
    return False


def _heads(signed: Signed) -> tuple[Mark, ...]:
    checkpoint = read(signed)
    return checkpoint.heads if checkpoint is not None else ()


async def _list_until(reader: Reader, time: int) -> list[Signed]:
    """Return the checkpoints up to the first that was made after a time: no later one names a
    chain that had ended `LATE` before.
    """
    found: list[Signed] = []
    while batch := await list_checkpoints(
        reader, after=found[-1].number if found else 0, limit=_FEW
    ):
        for signed in batch:
            found.append(signed)
            if signed.created_at > time:
                return found
    return found
