"""Where an object store keeps what must be known of an upload on every node."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Session:
    """An upload, as it was last written down.

    `mark` changes with every writing and is 0 for what was never written. `busy_until` is the time
    (seconds since 1970) until which its writer may be at work, 0 if there is none.
    """

    state: bytes
    size: int
    mark: int
    busy_until: float


class UploadSessions(Protocol):
    """The uploads that hold something. Whoever writes says what it knew; of two who knew the same
    only the first is heard, so nobody writes over what another one did meanwhile.
    """

    async def find(self, upload: UUID) -> Session | None:
        """Return what was last written of an upload, or None."""

    async def save(self, upload: UUID, session: Session) -> int | None:
        """Write an upload down, if `session.mark` is still what is there, and return its new mark;
        None if somebody else wrote it, or ended it, in the meantime.
        """

    async def remove(self, upload: UUID, *, mark: int) -> bool:
        """Forget an upload, if `mark` is still what is there; return whether it was."""

    async def stale(self, *, before: float) -> Sequence[UUID]:
        """Return the uploads that were last written before a time (seconds since 1970)."""
