"""Secrets of robots and personal access tokens, as passwords for whatever name is given."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from entrepot.core.access import Identity
from entrepot.core.accounts import Holder
from entrepot.core.credentials import fingerprint, is_meant_as_secret, secret_kind
from entrepot.identity.directory import Directory
from entrepot.identity.sources import Proof

METHOD: Final = "secret"


class _Stamp(Struct, frozen=True):
    fingerprint: bytes
    holder: Holder


class Secrets:
    """A source (see `identity.sources.Source`). `used` is told the id of a credential and the time
    whenever one is used.
    """

    method = METHOD

    def __init__(
        self,
        directory: Directory,
        *,
        now: Callable[[], int],
        used: Callable[[int, int], None],
    ) -> None:
        self._directory = directory
        self._now = now
        self._used = used

    def has_form(self, password: bytes) -> bool:
        """Tell whether a password is meant as one of our secrets."""
        return is_meant_as_secret(password.decode("latin-1"))

    def account_of(self, name: bytes) -> bytes:
        """See `Source.account_of`: every name is one of its own."""
        return name

    async def verify(self, name: bytes, password: bytes) -> Proof | None:  # noqa: ARG002 - the contract
        """See `Source.verify`; what can be no secret is refused at once."""
        secret = password.decode("latin-1")
        if secret_kind(secret) is None:
            return None
        mark = fingerprint(secret)
        holder = await self._directory.holder(mark)
        if holder is None or not self._is_good(holder):
            return None
        return Proof(holder.identity(), _Stamp(mark, holder))

    async def renew(self, proof: Proof) -> Identity | None:
        """See `Source.renew`."""
        then = proof.stamp
        if not isinstance(then, _Stamp):
            return None
        holder = await self._directory.holder(then.fingerprint)
        if holder is None:
            return None
        if not self._is_good(holder):
            return None
        return proof.identity if holder is then.holder else holder.identity()

    def close(self) -> None:
        """See `Source.close`."""

    def _is_good(self, holder: Holder) -> bool:
        """Tell whether a secret lets its holder in now, and note the use if it does."""
        now = self._now()
        good = holder.is_good(now)
        if good:
            self._used(holder.credential.id, now)
        return good
