"""What a source of names and passwords promises."""

from typing import Protocol

from msgspec import Struct

from entrepot.core.access import Identity


class Proof(Struct, frozen=True):
    """Somebody's name and password were right."""

    identity: Identity
    stamp: object
    """By which the source can tell later whether they still are; what it is, is its own affair."""


class Source(Protocol):
    """Knows people by name and password."""

    @property
    def method(self) -> str:
        """The word for it in `Identity.method` and in metrics."""

    def account_of(self, name: bytes) -> bytes:
        """Return what stands for an account in place of a name as it was typed: the same for all
        names that may be the same account to the source, whether there is one or not. Failed logins
        are counted by it.
        """

    async def verify(self, name: bytes, password: bytes) -> Proof | None:
        """Return the proof if `name` has this `password`, None if not; both may be any bytes.

        Whether the name is known does not show in the time that takes, nor whether its account is
        disabled. Never holds up the event loop.

        Raises:
            EntrepotError: the source can't tell, because something that it needs is away.
        """

    async def renew(self, proof: Proof) -> Identity | None:
        """Return whom an earlier proof stands for by what is known now; None if it doesn't count
        any more. A change that shows here counts within five seconds, one in a directory service
        when it is asked again. Costs next to nothing.
        """

    def close(self) -> None:
        """End its threads."""
