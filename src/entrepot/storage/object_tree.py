"""Objects below a prefix, as an `OwnTree`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Final, TypeVar

from entrepot.storage.errors import StorageError
from entrepot.storage.objects import ObjectDriver
from entrepot.storage.tree import File

T = TypeVar("T")

_PAGE: Final = 512
_PIECE: Final = 4 * 1_048_576
_AT_ONCE: Final = 16
"""Requests at the same time."""

_SKIP: Final = 500
"""Objects of one folder after which a new listing behind it is cheaper than reading on."""


class ObjectTree:
    """An `OwnTree` of the objects whose keys begin with `prefix`: empty, or with `/` at its end."""

    def __init__(self, client: ObjectDriver, *, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def _key(self, path: str) -> str:
        return f"{self._prefix}{path}"

    async def names(self, path: str) -> AsyncIterator[list[str]]:
        folder, after = f"{self._key(path)}/", ""
        page: list[str] = []
        while True:
            name, count = "", 0
            entries = self._client.entries(folder, after=after)
            async for entry in entries:
                first, slash, _ = entry.key[len(folder) :].partition("/")
                count = count + 1 if first == name else 0
                if slash and first != name:
                    name = first
                    page.append(name)
                if count > _SKIP or len(page) == _PAGE:
                    await entries.aclose()  # type: ignore[attr-defined]
                    break
            else:
                if page:
                    yield page
                return
            if len(page) == _PAGE:
                yield page
                page = []
            after = f"{folder}{name}0"  # "0" follows "/": behind all that is in the folder

    async def files(self, path: str) -> AsyncIterator[list[File]]:
        page: list[File] = []
        start = len(self._prefix)
        async for entry in self._client.entries(f"{self._key(path)}/"):
            page.append(File(entry.key[start:], entry.size, int(entry.modified * 1_000_000)))
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    async def read_many(
        self, paths: Sequence[str], *, most: int
    ) -> list[bytes | StorageError | None]:
        return await _together(self._read(path, most) for path in paths)

    async def _read(self, path: str, most: int) -> bytes | StorageError | None:
        data = await self._client.read(self._key(path), length=most + 1)
        if data is not None and len(data) > most:
            return StorageError(f"{path} has more than {most} bytes")
        return data

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        return await _together(self._client.size(self._key(path)) for path in paths)

    async def pieces(self, path: str) -> AsyncIterator[bytes]:
        key, start = self._key(path), 0
        size = await self._client.size(key)
        if size is None:
            raise StorageError(f"there is no object {key}")
        while start < size:
            data = await self._client.read(key, start=start, length=_PIECE)
            if not data:
                raise StorageError(f"object {key} ended at {start} of {size} bytes")
            start += len(data)
            yield data

    async def write_many(self, files: Sequence[tuple[str, bytes, int]]) -> None:
        await _together(self._client.put(self._key(path), data) for path, data, _ in files)

    async def create(self, path: str, data: bytes) -> None:
        await self._client.create(self._key(path), data)

    async def settle(self) -> None:
        """What a store has acknowledged is settled."""

    async def delete_many(self, paths: Sequence[str]) -> None:
        await self._client.delete([self._key(path) for path in paths])


async def _together(calls: Iterable[Awaitable[T]]) -> list[T]:
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Awaitable[T]) -> T:
        async with free:
            return await call

    return list(await asyncio.gather(*(one(call) for call in calls)))
