"""Receiving blobs (distribution-spec 1.1.1, "Pushing blobs").

An upload begins with nothing: its address carries its signed state. The first byte makes a file of
it, any worker may go on with it, and the digest of what is held so far is known again and again
without reading: in this process by a running hash, elsewhere from the signed state.
"""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from entrepot.core.audit import NOBODY, Actor, event
from entrepot.core.digest import Digest
from entrepot.core.errors import (
    BlobUploadInvalidError,
    BlobUploadUnknownError,
    DigestInvalidError,
    QuotaExceededError,
    RangeInvalidError,
    SizeInvalidError,
    UnavailableError,
)
from entrepot.core.names import RepositoryName
from entrepot.core.ranges import ByteRange
from entrepot.core.upload_state import UploadState, sign, verify
from entrepot.db import Transaction
from entrepot.db.blobs import BlobRow, find_blob_size, is_linked_anywhere, keep_bytes, link_blob
from entrepot.db.doomed import find_blob_state
from entrepot.db.repositories import ensure_repository
from entrepot.db.uploads import end_upload, has_ended
from entrepot.services.allowance import room_for_repository, room_for_upload
from entrepot.services.audit import Notes
from entrepot.services.stores import Stores
from entrepot.services.storing import PAUSES, Received, add_stored, store_blob
from entrepot.services.takeover import take_over_blob
from entrepot.storage import BlobStore, StorageError, UploadBusyError, UploadWriter

if TYPE_CHECKING:
    from hashlib import _Hash

BEGIN_WITHIN: Final = 24 * 3600 * 1_000_000
"""Microseconds within which an upload must receive its first byte."""

SMALL: Final = 1_048_576
"""Bytes up to which a blob that arrives in one piece is held in memory and written at once."""

KEPT: Final = 16_384
"""Bytes up to which a blob is kept in the index until its file is synced: its manifest needs no
sync but the index's own then."""

_HASHES: Final = 1024


@dataclass(frozen=True, slots=True)
class Part:
    """What a request adds to an upload: its bytes, where they belong, how many are announced.
    Without a range they belong at `begin`, wherever the upload ends if that is None.
    """

    body: AsyncIterator[bytes]
    position: ByteRange | None
    length: int | None
    begin: int | None = None

    def check(self) -> None:
        """Raise `SizeInvalidError` if the announced length and the claimed range differ."""
        if self.position is None or self.length is None:
            return
        claimed = self.position.stop - self.position.start
        if claimed != self.length:
            raise SizeInvalidError({"content-range": str(self.position), "length": self.length})


class RunningHashes:
    """The SHA-256 of uploads that this process received, by upload, with how far each has come."""

    def __init__(self) -> None:
        self._hashes: OrderedDict[UUID, tuple[int, _Hash]] = OrderedDict()

    def take(self, upload: UUID, *, size: int) -> "_Hash | None":
        """Return the hash of the first `size` bytes of an upload, if it is known here."""
        if size == 0:
            return hashlib.sha256()
        known, running = self._hashes.pop(upload, (0, None))
        return running if known == size else None

    def keep(self, upload: UUID, *, size: int, running: "_Hash") -> None:
        """Remember a hash until the upload goes on; the oldest is forgotten when there are many."""
        self._hashes[upload] = (size, running)
        if len(self._hashes) > _HASHES:
            self._hashes.popitem(last=False)


class Uploads:
    """The uploads of one registry. `key` signs their states; `pauses` are between two looks at a
    blob that is being deleted.
    """

    def __init__(self, stores: Stores, *, key: bytes, pauses: Sequence[float] = PAUSES) -> None:
        self._stores = stores
        self._pauses = pauses
        self._key = key
        self._hashes = RunningHashes()

    async def check(self, name: RepositoryName) -> None:
        """Raise `QuotaExceededError` if there may not be such a repository."""
        await room_for_repository(self._stores, name)

    def begin(self, name: RepositoryName) -> UploadState:
        """Return the state of a new upload. Nothing is written."""
        return UploadState(name=name, upload=uuid4(), offset=0, started=self._stores.now())

    def sign(self, state: UploadState) -> str:
        """Return the text that stands for the state in an address."""
        return sign(state, key=self._key)

    async def find(
        self, name: RepositoryName, upload: UUID, *, signed: str | None
    ) -> tuple[UploadState, int | None]:
        """Return the present state of an upload, and where it ended when `signed` was handed out.

        A state that was handed out earlier, or none at all, is good enough for an upload that holds
        bytes; one that holds none is known by its state alone. Whether it has ended is asked by
        those who go on with it.

        Raises:
            BlobUploadInvalidError: the state was not made by this registry for this upload.
            BlobUploadUnknownError: the upload was never begun, or began too long ago.
        """
        known = verify(signed, key=self._key, name=name, upload=upload) if signed else None
        if signed and known is None:
            raise BlobUploadInvalidError({"upload": str(upload), "reason": "not its address"})
        held = await self._stores.uploads.held(upload)
        if not held:
            return self._untouched(upload, known), 0
        if known is None:
            return UploadState(name=name, upload=upload, offset=held, started=0), None
        digest = known.digest if known.offset == held else ""
        state = UploadState(
            name=name, upload=upload, offset=held, started=known.started, digest=digest
        )
        return state, known.offset

    def _untouched(self, upload: UUID, known: UploadState | None) -> UploadState:
        if known is None or known.offset > 0 or self._stores.now() - known.started > BEGIN_WITHIN:
            raise BlobUploadUnknownError({"upload": str(upload)})
        return known

    async def check_going_on(self, state: UploadState) -> None:
        """Raise `BlobUploadUnknownError` for an upload that holds nothing because it has ended."""
        if state.offset == 0 and await has_ended(self._stores.index, state.upload):
            raise BlobUploadUnknownError({"upload": str(state.upload)})

    async def append(self, state: UploadState, part: Part) -> UploadState:
        """Add bytes to an upload and return its new state.

        What arrived before the client went away is kept, so that it may go on from there.

        Raises:
            RangeInvalidError: the bytes do not belong at the upload's end, or another request is
                writing to it (416).
            SizeInvalidError: there are more or fewer bytes than announced (400).
            QuotaExceededError: a quota leaves no room for them (403); the upload is as it was.
        """
        part.check()
        room = await self._room(state, part)
        try:
            async with self._stores.uploads.append(state.upload) as writer:
                return await self._receive(writer, state, part, room)
        except UploadBusyError:
            raise _out_of_order(state, "another request is writing to this upload") from None

    async def finish(
        self, state: UploadState, part: Part, digest: Digest, *, by: Actor = NOBODY
    ) -> None:
        """Add the last bytes, if any, and make a blob of the upload, in the repository.

        Raises:
            DigestInvalidError: the content has another digest; the upload is gone.
            RangeInvalidError, SizeInvalidError, QuotaExceededError: as `append`; the upload is as
                it was.
            StorageError: the store failed; the upload is as it was.
            UnavailableError: that very blob is being removed (503); the upload is as it was, or
                gone if that began in the last moment.
        """
        part.check()
        room = await self._room(state, part, digest)
        if state.offset == 0 and part.length is not None and part.length <= SMALL:
            _check_position(state, part)
            await self._finish_small(state, await _gather(part), digest, by)
            return
        try:
            async with self._stores.uploads.append(state.upload) as writer:
                await self._finish_in(writer, state, part, digest, by, room)
        except UploadBusyError:
            raise _out_of_order(state, "another request is writing to this upload") from None

    async def cancel(self, state: UploadState) -> None:
        """End an upload and drop what it holds.

        Raises:
            BlobUploadUnknownError: it has ended already.
            RangeInvalidError: a request is writing to it.
        """
        await self.check_going_on(state)
        try:
            async with self._stores.uploads.append(state.upload) as writer:
                await writer.discard()
        except UploadBusyError:
            raise _out_of_order(state, "another request is writing to this upload") from None
        await self._end(state)

    async def mount(
        self,
        name: RepositoryName,
        digest: Digest,
        *,
        source: RepositoryName | None,
        by: Actor = NOBODY,
    ) -> bool:
        """Link a blob that `source` links, or any repository if it is None, and return whether
        there is one.

        Raises:
            QuotaExceededError: a quota leaves no room for it.
        """
        now = self._stores.now()
        if source is not None:
            await take_over_blob(self._stores, source, digest)
        if await self._stores.limits.over(self._stores.index, name):
            known = await find_blob_state(self._stores.index, digest)
            await room_for_upload(self._stores, name, size=known.size or 0, digest=digest)

        async def work(transaction: Transaction, notes: Notes) -> bool:
            if source is None:
                found = await is_linked_anywhere(transaction, digest)
            else:
                found = await find_blob_size(transaction, source, digest) is not None
            if found:
                home = await ensure_repository(transaction, name, now=now)
                await link_blob(transaction, home, digest, now=now)
                if self._stores.trail.blobs:
                    told = event("blob.mount", repository=name, digest=digest, source=source)
                    notes.add(told)
            return found

        return await self._stores.trail.write_lazily(work, by=by)

    # Inside -------------------------------------------------------------------------------------

    async def _room(
        self, state: UploadState, part: Part, digest: Digest | None = None
    ) -> int | None:
        """Return how many bytes the whole upload may have, None if any number."""
        size = state.offset + (part.length or 0)
        name = RepositoryName(state.name)
        return await room_for_upload(self._stores, name, size=size, digest=digest)

    async def _receive(
        self, writer: UploadWriter, state: UploadState, part: Part, room: int | None
    ) -> UploadState:
        if writer.size != state.offset:
            state = UploadState(
                name=state.name, upload=state.upload, offset=writer.size, started=state.started
            )
        if writer.size == 0 and await has_ended(self._stores.index, state.upload):
            # It ended after it was found: what was opened here is a new file of the same name.
            await writer.discard()
            raise BlobUploadUnknownError({"upload": str(state.upload)})
        _check_position(state, part)
        running = self._hashes.take(state.upload, size=writer.size)
        writer.hasher = running
        expected = part.position.stop if part.position else None
        try:
            async for data in part.body:
                await writer.write(data)
                if expected is not None and writer.size > expected:
                    break
                if room is not None and writer.size > room:
                    room = await room_for_upload(
                        self._stores, RepositoryName(state.name), size=writer.size
                    )
            await writer.flush()
            if expected is not None and writer.size != expected:
                received = writer.size - state.offset
                running = None
                await writer.rollback()
                raise SizeInvalidError({"content-range": str(part.position), "received": received})
        except QuotaExceededError:
            running = None
            await writer.rollback()
            raise
        except StorageError:
            running = None  # it may have seen what is not held
            raise
        finally:
            if running is not None:
                await writer.flush()
                self._hashes.keep(state.upload, size=writer.size, running=running)
        digest = state.digest if writer.size == state.offset else ""
        if running is not None:
            digest = f"sha256:{running.hexdigest()}"
        return UploadState(
            name=state.name,
            upload=state.upload,
            offset=writer.size,
            started=state.started,
            digest=digest,
        )

    async def _finish_in(
        self,
        writer: UploadWriter,
        state: UploadState,
        part: Part,
        digest: Digest,
        by: Actor,
        room: int | None,
    ) -> None:
        """Receive the rest and publish. If the store fails, or a quota does not allow it, the
        request may be repeated as it is.
        """
        try:
            state = await self._receive(writer, state, part, room)
            if part.length != 0:
                # Others may have used the room while it came.
                name = RepositoryName(state.name)
                await room_for_upload(self._stores, name, size=writer.size, digest=digest)
            await self._publish(writer, state, digest, by)
        except (StorageError, UnavailableError, QuotaExceededError):
            with suppress(StorageError):
                await writer.rollback()
            raise

    async def _publish(
        self, writer: UploadWriter, state: UploadState, digest: Digest, by: Actor
    ) -> None:
        actual = state.known_digest(size=writer.size)
        if actual is None or digest.algorithm != actual.algorithm:
            actual = await writer.digest(digest.algorithm)
        self._hashes.take(state.upload, size=-1)
        if actual != digest:
            await writer.discard()
            await self._end(state)
            raise DigestInvalidError({"digest": digest, "content": actual})
        received = _Upload(writer, digest, self._stores.blobs)
        await self._store(state, digest, writer.size, received, by)

    async def _finish_small(
        self, state: UploadState, data: bytes, digest: Digest, by: Actor
    ) -> None:
        actual = Digest.of(data, algorithm=digest.algorithm)
        if actual != digest:
            await self.check_going_on(state)
            await self._end(state)
            raise DigestInvalidError({"digest": digest, "content": actual})
        received = _Small(data, digest, self._stores.blobs)
        keep = data if self._stores.blobs.syncs and len(data) <= KEPT else None
        await self._store(state, digest, len(data), received, by, keep=keep)

    async def _store(
        self,
        state: UploadState,
        digest: Digest,
        size: int,
        received: Received,
        by: Actor,
        *,
        keep: bytes | None = None,
    ) -> None:
        async def record(stored: int | None, seen: int | None) -> bool:
            return await self._record(state, digest, stored=stored, seen=seen, by=by, keep=keep)

        await store_blob(
            self._stores, digest, size, received=received, record=record, pauses=self._pauses
        )

    async def _record(
        self,
        state: UploadState,
        digest: Digest,
        *,
        stored: int | None,
        seen: int | None,
        by: Actor,
        keep: bytes | None,
    ) -> bool:
        """Link the blob to the repository, as `storing.Record`."""
        now, synced = self._stores.now(), self._stores.blobs.durable_at_once

        async def work(transaction: Transaction, notes: Notes) -> bool:
            name = RepositoryName(state.name)
            if stored is not None:
                if not await add_stored(
                    transaction, digest, BlobRow(stored, synced, now), seen=seen
                ):
                    return False
                if keep is not None:
                    await keep_bytes(transaction, digest, keep)
            home = await ensure_repository(transaction, name, now=now)
            if not await link_blob(transaction, home, digest, now=now):
                return False
            if not await end_upload(transaction, state.upload, now=now):
                raise BlobUploadUnknownError({"upload": str(state.upload)})
            if self._stores.trail.blobs:
                notes.add(event("blob.push", repository=name, digest=digest, size=stored))
            return True

        return await self._stores.trail.write_lazily(work, by=by)

    async def _end(self, state: UploadState) -> None:
        now = self._stores.now()

        async def work(transaction: Transaction) -> None:
            await end_upload(transaction, state.upload, now=now)

        await self._stores.index.write_lazily(work)


class _Small:
    """Bytes that are held in memory, as `storing.Received`."""

    def __init__(self, data: bytes, digest: Digest, blobs: BlobStore) -> None:
        self._data = data
        self._digest = digest
        self._blobs = blobs

    async def put_new(self) -> bool:
        return await self._blobs.put_new(self._digest, self._data)

    async def put(self) -> bool:
        await self._blobs.put(self._digest, self._data)
        return True

    async def drop(self) -> None:
        """They go with the request."""


class _Upload:
    """What an upload holds, as `storing.Received`: it moves to become the blob."""

    def __init__(self, writer: UploadWriter, digest: Digest, blobs: BlobStore) -> None:
        self._writer = writer
        self._digest = digest
        self._blobs = blobs
        self._size = writer.size
        self._moved = False

    async def put_new(self) -> bool:
        return False  # it is worth a question whether they are needed

    async def put(self) -> bool:
        if self._moved:
            return await self._blobs.size(self._digest) == self._size
        await self._writer.publish(self._digest)
        self._moved = True
        return True

    async def drop(self) -> None:
        if not self._moved:
            with suppress(StorageError):  # the upload has ended, and what it left is purged
                await self._writer.discard()


def held_range(size: int) -> str:
    """Return the `Range` header for an upload that holds `size` bytes ("0-0" for none, too)."""
    return f"0-{max(size - 1, 0)}"


def _check_position(state: UploadState, part: Part) -> None:
    begin = part.position.start if part.position is not None else part.begin
    if begin is not None and begin != state.offset:
        raise _out_of_order(state, "the chunk does not begin where the upload ends")


def _out_of_order(state: UploadState, reason: str) -> RangeInvalidError:
    return RangeInvalidError(
        {"reason": reason, "held": state.offset}, headers={"Range": held_range(state.offset)}
    )


async def _gather(part: Part) -> bytes:
    data = b"".join([piece async for piece in part.body])
    if len(data) != part.length:
        raise SizeInvalidError({"announced": part.length, "received": len(data)})
    return data
