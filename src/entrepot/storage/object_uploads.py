"""An upload in pieces: what a node must know of it to go on where another one stopped.

Small ends of requests are objects of their own (the tail), which never change once they are named
in the session. When they and what arrives are more than a part, they become parts of a multipart
upload. What was put but not written down in the session is overwritten or purged, never counted.

    UPLOADS/UUID/data       the multipart upload, and the object when its parts are joined
    UPLOADS/UUID/OFFSET-…   one object of the tail, by where its first byte belongs
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError
from entrepot.storage.errors import StorageError, UploadBusyError
from entrepot.storage.objects import MultipartClient, ObjectClient
from entrepot.storage.sessions import Session, UploadSessions
from entrepot.storage.store import Hasher

if TYPE_CHECKING:
    from hashlib import _Hash

LEASE: Final = 15.0
RENEWAL: Final = 5.0
"""Seconds for which a writer of parts has an upload for itself, and after which it says so again:
when its node dies another one may go on after the first.
"""

_BATCH: Final = 1_048_576
"""Bytes that are gathered before a thread is asked to hash them."""

_HASHED_HERE: Final = 65_536
"""Bytes up to which hashing takes less time than asking a thread."""

_TAIL: Final = 16
"""Objects of the tail; with one more they are put together."""

_GROW: Final = 16
"""In the last half of the parts that an upload may have, parts are larger by this factor."""

_READ: Final = 8 * 1_048_576


@dataclass(frozen=True, slots=True)
class Place:
    """Where an upload is written; `prefix` begins the keys of its own objects."""

    upload: UUID
    client: ObjectClient
    parts: MultipartClient
    sessions: UploadSessions
    run: Callable[[Callable[[], None]], Awaitable[None]]
    blob_key: Callable[[Digest], str]
    prefix: str
    part_size: int

    @property
    def data(self) -> str:
        """The key of the multipart upload."""
        return f"{self.prefix}data"


class _State(msgspec.Struct, frozen=True):
    """What an upload holds: `joined` bytes in parts, of which `whole` tells whether they are one
    object by now, and then those of the tail, each with its name and size.
    """

    token: str = ""
    marks: tuple[str, ...] = ()
    joined: int = 0
    whole: bool = False
    tail: tuple[tuple[str, int], ...] = ()

    @property
    def tail_size(self) -> int:
        return sum(size for _, size in self.tail)

    @property
    def size(self) -> int:
        return self.joined + self.tail_size


_decoder: Final = msgspec.json.Decoder(_State)


class ObjectWriter:
    """An `UploadWriter`. Invariant: what is neither in parts nor whole fits into one part, so
    memory holds that much, the part that is being sent, and what is about to follow.
    """

    hasher: Hasher | None = None

    def __init__(self, place: Place, session: Session | None) -> None:
        self._place = place
        self._state = _decoder.decode(session.state) if session else _State()
        self._began = self._state
        self._saved = self._state if session else None
        self._mark = session.mark if session else 0
        self._saving = asyncio.Lock()
        self.size = self._state.size
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._loaded = 0
        """How much of what is buffered comes from the tail."""
        self._objects = {name for name, _ in self._state.tail}
        """Every object of the tail that there was since this began."""
        self._unhashed: list[bytes] = []
        self._unhashed_size = 0
        self._hashing: Awaitable[None] | None = None
        self._sending: tuple[asyncio.Task[str], int] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._broken = self._ended = False

    # What a service calls -----------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        if not data:
            return
        if self._state.whole:
            raise UploadBusyError(f"upload {self._place.upload} is being finished")
        self._pieces.append(data)
        self._buffered += len(data)
        self.size += len(data)
        self._unhashed.append(data)
        self._unhashed_size += len(data)
        if self._unhashed_size >= _BATCH:
            await self._hash()
        while self._loose() > self._part_size():
            await self._send_part()

    async def flush(self) -> None:
        if self._unhashed:
            await self._hash()
        await self._hashed()

    async def rollback(self) -> None:
        """Parts that were joined stay: they can't be parted again."""
        await self._abandon()
        token = self._state.token
        if not self._state.whole:
            self._state = self._began
        self.size = self._state.size
        if self._saved not in (None, self._state):
            await self._save(busy=True)
        if token != self._began.token and not self._state.whole:
            await self._place.parts.abort(self._place.data, token)

    async def digest(self, algorithm: str) -> Digest:
        await self.flush()
        if self._state.token:
            await self._join()
        running = hashlib.new(algorithm)
        if self._state.whole:
            await self._hash_object(running, self._place.data, self._state.joined)
        for name, size in self._state.tail:
            await self._hash_object(running, self._place.prefix + name, size)
        for piece in self._pieces:
            await self._place.run(partial(running.update, piece))
        return Digest(f"{algorithm}:{running.hexdigest()}")

    async def publish(self, digest: Digest) -> None:
        """With one request, if nothing was held before and it fits into a part."""
        await self.flush()
        state, client, key = self._state, self._place.client, self._place.blob_key(digest)
        if state.token:
            await self._join()
        if self._state.whole:
            await client.copy(self._place.data, key, size=self._state.joined)
        elif len(state.tail) == 1 and not self._buffered:
            ((name, size),) = state.tail
            await client.copy(self._place.prefix + name, key, size=size)
        else:
            await self._load()
            await client.put(key, b"".join(self._pieces))
        await self._finish()

    async def discard(self) -> None:
        await self._abandon()
        await self._finish()
        if self._state.token:
            await self._place.parts.abort(self._place.data, self._state.token)

    # The end of a block -------------------------------------------------------------------------

    async def close(self) -> None:
        """Make sure that what was written is held, and leave the upload to others."""
        if self._ended:
            return
        await self.flush()
        await self._sent()
        added = ""
        if self._buffered and not self._broken:
            added = await self._add_to_tail()
        if self._state is self._saved and self._renewing is None:
            return
        await self._stop_renewing()
        try:
            await self._save()
        except UploadBusyError:
            await self._remove({added} if added else set())
            raise
        await self._remove(self._objects - {name for name, _ in self._state.tail})

    def end(self) -> None:
        """Do nothing more in the background."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self._sending is not None:
            self._sending[0].cancel()

    async def _stop_renewing(self) -> None:
        async with self._saving:  # one that is under way gives the upload a new mark
            if self._renewing is not None:
                self._renewing.cancel()
                self._renewing = None

    async def _add_to_tail(self) -> str:
        if len(self._state.tail) >= _TAIL:
            await self._load()
        state, data = self._state, b"".join(self._pieces)
        kept = () if self._loaded else state.tail
        offset = state.joined + sum(size for _, size in kept)
        name = f"{offset:016}-{token_hex(4)}"
        await self._place.client.put(self._place.prefix + name, data)
        self._objects.add(name)
        self._state = msgspec.structs.replace(state, tail=(*kept, (name, len(data))))
        self._pieces, self._buffered, self._loaded = [], 0, 0
        return name

    async def _finish(self) -> None:
        """End the upload; what remains of it in the store is removed, now or by the purge."""
        self._ended = True
        await self._stop_renewing()
        upload, sessions = self._place.upload, self._place.sessions
        if self._mark and not await sessions.remove(upload, mark=self._mark):
            raise UploadBusyError(f"upload {upload} was taken over")
        await self._remove(self._objects | {"data"} if self._state.whole else self._objects)

    async def _remove(self, names: set[str]) -> None:
        if names:
            with suppress(StorageError):
                await self._place.client.delete([self._place.prefix + name for name in names])

    async def _abandon(self) -> None:
        """Give up what is only in memory or on its way."""
        with suppress(StorageError):
            await self._hashed()
        with suppress(StorageError):
            await self._sent()
        self._pieces, self._buffered, self._loaded = [], 0, 0
        self._unhashed, self._unhashed_size = [], 0
        self._broken = False

    # Hashing ------------------------------------------------------------------------------------

    async def _hash(self) -> None:
        await self._hashed()
        batch, size = self._unhashed, self._unhashed_size
        self._unhashed, self._unhashed_size = [], 0
        if self.hasher is None:
            return
        if size <= _HASHED_HERE:
            _update(self.hasher, batch)
        else:
            self._hashing = self._place.run(partial(_update, self.hasher, batch))

    async def _hashed(self) -> None:
        pending, self._hashing = self._hashing, None
        if pending is not None:
            await pending

    async def _hash_object(self, running: "_Hash", key: str, size: int) -> None:
        for start in range(0, size, _READ):
            length = min(_READ, size - start)
            data = await self._read(key, start, length)
            await self._place.run(partial(running.update, data))

    # Parts --------------------------------------------------------------------------------------

    def _loose(self) -> int:
        """Bytes that are in no part, sent or being sent."""
        return self._buffered + (0 if self._loaded else self._tail_left())

    def _tail_left(self) -> int:
        return 0 if self._sending is not None else self._state.tail_size

    def _part_size(self) -> int:
        number = len(self._state.marks) + 1
        late = number > self._place.parts.most // 2
        return self._place.part_size * (_GROW if late else 1)

    async def _send_part(self) -> None:
        """Send the first bytes that are in no part, when the part before them has arrived."""
        await self._sent()
        if not self._state.token:
            token = await self._place.parts.begin(self._place.data)
            self._state = msgspec.structs.replace(self._state, token=token)
        if self._renewing is None:
            await self._save(busy=True)
            self._renewing = asyncio.create_task(self._renew())
        await self._load()
        data = self._cut(max(self._part_size(), self._loaded))
        self._loaded = 0
        number = len(self._state.marks) + 1
        work = self._place.parts.put_part(self._place.data, self._state.token, number, data)
        self._sending = asyncio.create_task(work), len(data)

    async def _sent(self) -> None:
        """Wait for the part that is on its way, and write it down. It held the whole tail."""
        if self._sending is None:
            return
        task, size = self._sending
        try:
            mark = await asyncio.shield(task)
        except EntrepotError:
            self._sending, self._broken = None, True
            raise
        state, self._sending = self._state, None
        self._state = msgspec.structs.replace(
            state, marks=(*state.marks, mark), joined=state.joined + size, tail=()
        )
        await self._save(busy=True)

    def _cut(self, length: int) -> bytes:
        """Take the first bytes of what is buffered, or all if there are fewer."""
        taken: list[bytes] = []
        missing = min(length, self._buffered)
        self._buffered -= missing
        while missing:
            piece = self._pieces.pop(0)
            if len(piece) > missing:
                self._pieces.insert(0, piece[missing:])
                piece = piece[:missing]
            taken.append(piece)
            missing -= len(piece)
        return b"".join(taken)

    async def _load(self) -> None:
        """Put the tail in front of what is buffered."""
        if self._loaded or not self._state.tail:
            return
        prefix = self._place.prefix
        tail = [await self._read(prefix + name, 0, size) for name, size in self._state.tail]
        self._pieces = tail + self._pieces
        self._loaded = self._state.tail_size
        self._buffered += self._loaded

    async def _join(self) -> None:
        """Make one object of the parts and the rest."""
        await self._sent()
        await self._load()
        while self._buffered:
            await self._send_part()
            await self._sent()
        state, place = self._state, self._place
        await place.parts.complete(place.data, state.token, state.marks)
        self._state = _State(joined=state.joined, whole=True)
        await self._save(busy=True)

    async def _read(self, key: str, start: int, length: int) -> bytes:
        data = await self._place.client.read(key, start=start, length=length)
        if data is None or len(data) != length:
            raise StorageError(f"{key} is gone, or not as long as it was")
        return data

    # The session --------------------------------------------------------------------------------

    async def _save(self, *, busy: bool = False) -> None:
        """Write down what is held; with `busy` say that more is to come.

        Raises:
            UploadBusyError: another process went on with the upload, or ended it.
        """
        async with self._saving:
            state = self._state
            until = time.time() + LEASE if busy else 0.0
            content = Session(msgspec.json.encode(state), state.size, self._mark, until)
            mark = await self._place.sessions.save(self._place.upload, content)
            if mark is None:
                self._ended = True
                raise UploadBusyError(f"upload {self._place.upload} was taken over")
            self._mark, self._saved = mark, state

    async def _renew(self) -> None:
        while not self._ended:
            await asyncio.sleep(RENEWAL)
            with suppress(EntrepotError):
                await self._save(busy=True)


def _update(hasher: Hasher, batch: list[bytes]) -> None:
    hasher.update(batch[0] if len(batch) == 1 else b"".join(batch))
