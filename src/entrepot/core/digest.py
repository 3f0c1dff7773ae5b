"""Digests: the names of content (OCI image-spec, descriptor.md, "Digests")."""

import hashlib
import re
from functools import lru_cache
from typing import Final, Self

from entrepot.core.errors import DigestInvalidError

ALGORITHMS: Final = {"sha256": 64, "sha512": 128}
"""The registered algorithms and how many hexadecimal digits each gives."""

_HASHES: Final = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}

_CODES: Final = {"sha256": b"\x01", "sha512": b"\x02"}
_NAMES: Final = {1: "sha256", 2: "sha512"}
_DIGEST: Final = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


class Digest(str):
    """`algorithm:hex`, in the only form in which the registry accepts it.

    Made by `parse`, `unpack` or `of`, and valid from then on.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest that `text` is.

        Raises:
            DigestInvalidError: the algorithm is not registered, or what follows is not lower-case
                hexadecimal of the algorithm's length.
        """
        if _DIGEST.fullmatch(text) is None:
            raise DigestInvalidError(
                {"digest": text[:256], "expected": "sha256:<64 hex> or sha512:<128 hex>"}
            )
        return cls(text)

    @classmethod
    def of(cls, data: bytes, *, algorithm: str = "sha256") -> Self:
        """Return the digest of `data`."""
        return cls(f"{algorithm}:{_HASHES[algorithm](data).hexdigest()}")

    @classmethod
    @lru_cache(maxsize=4096)
    def unpack(cls, packed: bytes) -> Self:
        """Return the digest that `packed` holds: the opposite of `packed`."""
        return cls(f"{_NAMES[packed[0]]}:{packed[1:].hex()}")

    @property
    def packed(self) -> bytes:
        """One byte for the algorithm and then the raw hash: the form the index keeps."""
        algorithm, _, encoded = self.partition(":")
        return _CODES[algorithm] + bytes.fromhex(encoded)

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]
