"""Credentials that were verified lately, so that each request need not cost a slow hash.

Of a credential only a hash with a key is kept that was made when the process started: reading the
memory tells no password. Whether what is remembered still counts is for its source to say.
"""

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from entrepot.core.access import Identity
from entrepot.identity.sources import Proof, Source

_MOST: Final = 4096
_SECONDS: Final = 600.0
_MOMENT: Final = 0.5
"""Seconds for which a source need not be asked whether what it verified still counts."""


class Known(Struct, frozen=True):
    """A credential that its source has verified, and until when that is remembered."""

    source: Source
    proof: Proof
    until: float


class Remembered:
    """Remembers credentials by their marks; the oldest are forgotten when there are too many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._keyed = hashlib.blake2b(key=secrets.token_bytes(32), digest_size=32)
        self._known: dict[bytes, Known] = {}
        self._recent: dict[bytes, Identity] = {}
        self._recent_until = 0.0

    def mark(self, credential: str) -> bytes:
        """Return what stands for an ASCII credential here, and leads nobody back to it."""
        keyed = self._keyed.copy()
        keyed.update(credential.encode("ascii"))
        return keyed.digest()

    def find(self, mark: bytes) -> Known | None:
        """Return what is remembered of a credential, or None."""
        known = self._known.get(mark)
        return known if known is not None and self._clock() < known.until else None

    def keep(self, mark: bytes, source: Source, proof: Proof) -> None:
        """Remember that a credential was verified."""
        self._known.pop(mark, None)
        while len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[mark] = Known(source, proof, self._clock() + _SECONDS)

    def keep_for_a_moment(self, mark: bytes, identity: Identity) -> None:
        """Remember whom a credential stands for, as its source has just said."""
        now = self._clock()
        if now >= self._recent_until:
            self._recent = {}
            self._recent_until = now + _MOMENT
        if len(self._recent) < _MOST:
            self._recent[mark] = identity

    def recall(self, mark: bytes) -> Identity | None:
        """Return whom a credential stood for less than a second ago, or None."""
        identity = self._recent.get(mark)
        return identity if identity is not None and self._clock() < self._recent_until else None

    def forget(self, mark: bytes) -> None:
        """Forget a credential that doesn't count any more."""
        self._known.pop(mark, None)
