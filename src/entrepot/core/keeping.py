"""How long content that nothing needs any more is kept before it goes."""

from typing import Final

from msgspec import Struct

_DAY: Final = 24 * 3600 * 1_000_000


class Keeping(Struct, frozen=True):
    """Times in microseconds."""

    grace: int = _DAY
    """Between the moment when something may have lost its last user and the look at whether it has.
    What a client was told exists stays for at least half of it."""

    trash: int = 7 * _DAY
    """For which a deleted tag or manifest can be restored."""

    history: int = 365 * _DAY
    """For which it is remembered where a tag pointed; 0 is for ever."""

    untagged: bool = True
    """Whether manifests go that have no tag, no index and no subject any more."""

    @property
    def told(self) -> int:
        """For how long at least something stays of which somebody was just told that it exists."""
        return self.grace // 2

    @property
    def deleted(self) -> int:
        """How long something stays whose user was deleted or replaced, which may be undone."""
        return max(self.grace, self.trash)


USUAL: Final = Keeping()
