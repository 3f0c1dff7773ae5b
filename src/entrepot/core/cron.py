"""Cron lines: five fields, minute, hour, day of the month, month and day of the week, or a name
such as `@daily`, as Debian's cron reads them (cronsim does).

When clocks are put forward, what would be at a time that does not exist is at the end of the gap;
when they are put back, a time that comes twice counts once. Lines whose minute or hour begins with
`*` go by real time instead: they skip nothing and come in both hours.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from cronsim import CronSim, CronSimError

from entrepot.core.errors import EntrepotError

NAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_LONGEST: Final = 256
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CronError(EntrepotError):
    """This is no cron line; the text says what is wrong and at which column."""


class _Field(NamedTuple):
    name: str
    allowed: str
    template: str
    """A line in which only this field says anything."""


_FIELDS: Final = (
    _Field("minute", "0 to 59", "{} * * * *"),
    _Field("hour", "0 to 23", "* {} * * *"),
    _Field("day of the month", "1 to 31, or L for the last", "* * {} * *"),
    _Field("month", "1 to 12 or JAN to DEC", "* * * {} *"),
    _Field("day of the week", "0 to 7 (0 and 7 are Sunday) or SUN to SAT", "* * * * {}"),
)


class Cron(NamedTuple):
    """A cron line that is understood: as it was written, and its five fields."""

    line: str
    fields: str

    def after(self, moment: int, zone: tzinfo) -> int:
        """Return the first time after `moment` that the line names in a time zone; both in
        microseconds since 1970.
        """
        began = (_EPOCH + timedelta(microseconds=moment)).astimezone(zone)
        # After clocks were put back the line's time may be the first of two, which is over.
        return next(
            when for when in map(_microseconds, CronSim(self.fields, began)) if when > moment
        )


def parse_cron(line: str) -> Cron:
    """Return what a cron line says.

    Raises:
        CronError: it is none, or it names a day that never comes.
    """
    text = line.strip()
    if len(text) > _LONGEST:
        raise CronError(f"a cron line has {_LONGEST} characters at most")
    if text.startswith("@"):
        if text.lower() not in NAMES:
            raise CronError(f"{text!r}: column 1: there are {', '.join(NAMES)}")
        return Cron(text, NAMES[text.lower()])
    words = text.split()
    if len(words) != len(_FIELDS):
        raise CronError(
            f"{text!r}: a cron line has 5 fields (minute, hour, day of the month, month, day of "
            f"the week), or is a name such as @daily; this one has {len(words)}"
        )
    _check_fields(text, words)
    found = Cron(text, " ".join(words))
    try:
        next(CronSim(found.fields, _EPOCH))
    except (CronSimError, StopIteration) as error:
        column = _columns(text, words)[2]
        raise CronError(f"{text!r}: column {column}: no month has such a day") from error
    return found


def _check_fields(text: str, words: list[str]) -> None:
    """Raise CronError for the first part of a field that is wrong, with its place."""
    for field, word, begin in zip(_FIELDS, words, _columns(text, words), strict=True):
        column = begin
        for part in word.split(","):
            try:
                CronSim(field.template.format(part), _EPOCH)
            except CronSimError as error:
                raise CronError(
                    f"{text!r}: column {column}: {part!r} is no {field.name}: write {field.allowed}"
                    ", a range from low to high such as 1-5, * or a step such as */2"
                ) from error
            column += len(part) + 1


def _columns(text: str, words: list[str]) -> list[int]:
    """Return where each word begins, counted from 1."""
    columns, end = [], 0
    for word in words:
        begin = text.index(word, end)
        columns.append(begin + 1)
        end = begin + len(word)
    return columns


def _microseconds(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(microseconds=1)
