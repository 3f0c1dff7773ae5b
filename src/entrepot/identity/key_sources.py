"""Where trusted keys come from: files that are read again, and servers that are asked again."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from entrepot.core.errors import UnreachableError
from entrepot.identity.errors import IdentityError
from entrepot.identity.jws import Header
from entrepot.identity.keys import LARGEST_SET, TrustedKeys, read_bundle, read_key_set

_ASK_AGAIN: Final = 10.0
"""Seconds between two readings at least, however many unknown keys tokens name."""

_log = structlog.get_logger("entrepot.identity")


class KeySource(Protocol):
    """Gives the keys that are trusted now."""

    async def keys(self, header: Header) -> TrustedKeys:
        """Return them; looks again if they are old, or lack the one that `header` names.

        Raises:
            UnreachableError: there are none, because where they come from is away.
        """


class Refreshed:
    """Keys that `load` brings: at first, after `every` seconds, and for a key that isn't known.
    While that fails, the keys that were known go on.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[TrustedKeys]],
        *,
        name: str,
        every: float,
        known: TrustedKeys | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._name = name
        self._every = every
        self._clock = clock
        self._known = known
        self._loaded = self._tried = clock() if known is not None else float("-inf")
        self._loading = asyncio.Lock()

    async def keys(self, header: Header) -> TrustedKeys:
        """See `KeySource.keys`."""
        async with self._loading:
            if self._wants(header) and self._clock() >= self._tried + _ASK_AGAIN:
                self._tried = self._clock()
                try:
                    self._known = await self._load()
                    self._loaded = self._clock()
                except (IdentityError, UnreachableError, OSError) as error:
                    _log.error("keys can't be read", source=self._name, error=error)
        if self._known is None:
            raise UnreachableError(f"the keys of {self._name} can't be read")
        return self._known

    def _wants(self, header: Header) -> bool:
        if self._known is None or self._clock() >= self._loaded + self._every:
            return True
        return not self._known.knows(header)


class Joined:
    """The keys of several sources."""

    def __init__(self, sources: Sequence[KeySource]) -> None:
        self._sources = sources
        self._parts: list[TrustedKeys] = []
        self._joined = TrustedKeys()

    async def keys(self, header: Header) -> TrustedKeys:
        """See `KeySource.keys`."""
        parts = [await source.keys(header) for source in self._sources]
        if [*map(id, parts)] != [*map(id, self._parts)]:
            self._parts, self._joined = parts, TrustedKeys()
            for part in parts:
                self._joined |= part
        return self._joined


def bundle_file(path: Path, *, every: float) -> KeySource:
    """Return the certificates of a PEM file. Raises `IdentityError` if it can't be used."""
    return _file(path, read_bundle, every=every)


def key_set_file(path: Path, *, every: float) -> KeySource:
    """Return the keys of a file with a key set. Raises `IdentityError` if it can't be used."""
    return _file(path, read_key_set, every=every)


def _file(path: Path, read: Callable[[bytes], TrustedKeys], *, every: float) -> KeySource:
    def load() -> TrustedKeys:
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_SET + 1)
        except OSError as error:
            raise IdentityError(f"{path} can't be read: {error.strerror}") from error
        try:
            keys = read(content)
        except IdentityError as error:
            raise IdentityError(f"{path}: {error}") from error
        if not keys.keys:
            raise IdentityError(f"{path} holds no key that signs tokens")
        return keys

    async def load_again() -> TrustedKeys:
        return await asyncio.to_thread(load)

    return Refreshed(load_again, name=str(path), every=every, known=load())
