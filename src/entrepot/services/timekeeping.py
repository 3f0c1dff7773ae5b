"""The time by which content goes, kept in the index for whoever deletes next (docs/collection.md,
"The clock").
"""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from entrepot.core.keeping import Keeping
from entrepot.core.timekeeping import Reading, Timekeeping, keep_time
from entrepot.db import Database, Reader
from entrepot.db.settings import find_setting, replace_setting

_SECOND: Final = 1_000_000
_SETTING: Final = "collection.clock"
_WRITTEN_EVERY: Final = 60 * _SECOND
"""Microseconds after which what the clock says is written down again; or a twentieth of the grace
period."""

_log = structlog.get_logger("entrepot.collection")


class Clock:
    """Tells the time that no step of the machine's clock brings forward."""

    def __init__(
        self, index: Database, keeping: Keeping, read_clocks: Callable[[], Reading]
    ) -> None:
        self._index = index
        self._keeping = keeping
        self.read = read_clocks
        self._kept: Timekeeping | None = None
        self._written_at = -(2**62)

    def forget(self) -> None:
        """Read again what is kept: another may have told the time meanwhile."""
        self._kept = None

    async def tell_time(self) -> int:
        """Return the time in microseconds since 1970; it is never later than the clock says."""
        reading, kept, jumped = await self._keep()
        if jumped:
            _log.warning(
                "the clock was set, or nobody collected for a while: what is due is put off by it",
                seconds=(kept.last.wall - kept.now) // _SECOND,
            )
        self._kept = kept
        every = min(_WRITTEN_EVERY, self._keeping.grace // 20)
        if jumped or reading.ran - self._written_at >= every:
            text = msgspec.json.encode(kept).decode()
            await self._index.write_lazily(lambda t: replace_setting(t, _SETTING, value=text))
            self._written_at = reading.ran
        return kept.now

    async def read_time(self) -> int:
        """Return the time as `tell_time` does, and change nothing."""
        return (await self._keep())[1].now

    async def _keep(self) -> tuple[Reading, Timekeeping, bool]:
        """Read the clocks; return what is to be kept, and whether the clock was set."""
        reading = self.read()
        known = self._kept
        if known is None:
            known = await find_kept_time(self._index)
        kept = keep_time(
            known,
            reading,
            horizon=self._keeping.deleted,
            tolerance=min(10 * _SECOND, self._keeping.grace // 100),
        )
        return reading, kept, known is not None and kept.jumps != known.jumps


async def find_kept_time(reader: Reader) -> Timekeeping | None:
    """Return what was last written down of the time, None if nobody ever told it."""
    text = await find_setting(reader, _SETTING)
    return msgspec.json.decode(text, type=Timekeeping) if text else None
