"""Time that no step of a clock can bring forward: what collection goes by (docs/collection.md).

A clock that is set ahead by a day would make everything due that is not. So time is what the clock
says, less all that it jumped ahead lately. A jump is forgotten when so much time has passed since
that nothing is still waited for from before it. Times are in microseconds.
"""

from typing import Final

from msgspec import Struct

_MOST: Final = 32
"""Jumps that are told apart."""


class Jump(Struct, frozen=True):
    """The clock went ahead by `lag`; `until` is the time at which that does not matter any more."""

    lag: int
    until: int


class Reading(Struct, frozen=True):
    """What the clocks of a machine say: the one that can be set, and one that goes evenly since the
    machine's start, which `boot` names.
    """

    wall: int
    ran: int
    boot: str


class Timekeeping(Struct, frozen=True):
    """The last reading, and by how much the clock was ahead then."""

    last: Reading
    jumps: tuple[Jump, ...] = ()

    @property
    def now(self) -> int:
        """The time, which is never later than the clock says."""
        return self.last.wall - sum(jump.lag for jump in self.jumps)


def keep_time(
    known: Timekeeping | None, reading: Reading, *, horizon: int, tolerance: int
) -> Timekeeping:
    """Return the time by a new reading. Nothing is waited for longer than `horizon`; a difference
    of up to `tolerance` between the two clocks is none. What passed while nobody looked, and no
    clock counted evenly, counts as a jump.
    """
    if known is None:
        return Timekeeping(reading)
    last, jumps = known.last, known.jumps
    even = reading.boot == last.boot and reading.ran >= last.ran
    expected = last.wall + (reading.ran - last.ran if even else 0)
    ahead = reading.wall - expected
    if ahead > tolerance:
        before = expected - sum(jump.lag for jump in jumps)
        jumps = (*jumps, Jump(ahead, before + horizon))
    elif ahead < -tolerance:
        jumps = _taken_back(jumps, -ahead)
    return _without_old(Timekeeping(reading, _fewer(jumps)))


def _taken_back(jumps: tuple[Jump, ...], back: int) -> tuple[Jump, ...]:
    """Return what is left of jumps ahead when the clock went back again, the last one first."""
    left: list[Jump] = []
    for jump in reversed(jumps):
        taken = min(jump.lag, back)
        back -= taken
        if jump.lag > taken:
            left.append(Jump(jump.lag - taken, jump.until))
    return tuple(reversed(left))


def _fewer(jumps: tuple[Jump, ...]) -> tuple[Jump, ...]:
    if len(jumps) <= _MOST:
        return jumps
    first, second, *rest = jumps
    return (Jump(first.lag + second.lag, max(first.until, second.until)), *rest)


def _without_old(kept: Timekeeping) -> Timekeeping:
    """Forget jumps whose time has come, each of which may let that of another come."""
    while True:
        now = kept.now
        jumps = tuple(jump for jump in kept.jumps if jump.until > now)
        if len(jumps) == len(kept.jumps):
            return kept
        kept = Timekeeping(kept.last, jumps)
