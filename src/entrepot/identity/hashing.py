"""Hashes of passwords: argon2id (RFC 9106)."""

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError


class Argon2:
    """Makes and checks hashes. `memory_cost` is in KiB; each check takes that much memory and,
    with the default of OWASP's recommendation, some 25 ms.
    """

    def __init__(
        self, *, time_cost: int = 2, memory_cost: int = 19_456, parallelism: int = 1
    ) -> None:
        self._hasher = PasswordHasher(time_cost, memory_cost, parallelism, type=Type.ID)

    def hash(self, password: str | bytes) -> str:
        """Return a new hash of a password."""
        return self._hasher.hash(password)

    def matches(self, password: bytes, hashed: str) -> bool:
        """Tell whether `hashed` is a hash of `password`, which may be any bytes."""
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, hashed: str) -> bool:
        """Tell whether `hashed` was made with other parameters."""
        return self._hasher.check_needs_rehash(hashed)
