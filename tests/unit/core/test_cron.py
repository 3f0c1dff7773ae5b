"""Cron lines: which times they name, over changes of clocks, and what is no cron line."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.cron import NAMES, CronError, parse_cron

BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")
SECOND = 1_000_000


def at(text: str, zone: ZoneInfo = UTC) -> int:
    """Microseconds of a time; one with an offset says so itself."""
    when = datetime.fromisoformat(text)
    return round((when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()) * SECOND


def times(line: str, after: str, count: int, zone: ZoneInfo = UTC) -> list[str]:
    """The next times, as clocks on the wall show them with their offset."""
    found, moment = [], at(after, zone)
    for _ in range(count):
        moment = parse_cron(line).after(moment, zone)
        found.append(datetime.fromtimestamp(moment / SECOND, zone).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    "line, expected",
    [
        ("0 3 * * *", ["2026-01-02T03:00", "2026-01-03T03:00"]),
        ("*/20 3-4 * * *", ["2026-01-01T03:40", "2026-01-01T04:00"]),
        ("5,10 3 * jan-feb mon", ["2026-01-05T03:05", "2026-01-05T03:10"]),
        ("0 0 L * *", ["2026-01-31T00:00", "2026-02-28T00:00"]),
        ("0 0 * * sun#1", ["2026-01-04T00:00", "2026-02-01T00:00"]),
        ("0 0 13 * fri", ["2026-01-02T00:00", "2026-01-09T00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("  0  3  *  *  7 ", ["2026-01-04T03:00", "2026-01-11T03:00"]),
        ("@daily", ["2026-01-02T00:00", "2026-01-03T00:00"]),
        ("@Hourly", ["2026-01-01T04:00", "2026-01-01T05:00"]),
        ("@weekly", ["2026-01-04T00:00", "2026-01-11T00:00"]),
        ("@monthly", ["2026-02-01T00:00", "2026-03-01T00:00"]),
        ("@yearly", ["2027-01-01T00:00", "2028-01-01T00:00"]),
    ],
)
def test_times(line: str, expected: list[str]) -> None:
    assert times(line, "2026-01-01T03:25", 2) == [f"{text}+00:00" for text in expected]


def test_a_time_that_does_not_exist_is_at_the_end_of_the_gap() -> None:
    assert times("30 2 * * *", "2026-03-28T12:00", 2, BERLIN) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_a_time_that_comes_twice_counts_once() -> None:
    expected = ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    assert times("30 2 * * *", "2026-10-24T12:00", 2, BERLIN) == expected
    between = "2026-10-25T02:10+01:00"  # the second time that it is ten past two
    assert times("30 2 * * *", between, 1, BERLIN) == expected[1:]


def test_what_comes_every_hour_goes_by_real_time() -> None:
    assert times("0 * * * *", "2026-10-25T01:30", 3, BERLIN) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]
    assert times("0 * * * *", "2026-03-29T01:30", 1, BERLIN) == ["2026-03-29T03:00+02:00"]


@pytest.mark.parametrize(
    "line, says",
    [
        ("0 25 * * *", "column 3: '25' is no hour"),
        ("0 3 1,32,2 * *", "column 7: '32' is no day of the month"),
        ("*/0 3 * * *", "column 1: '*/0' is no minute"),
        ("0 3 * foo *", "column 7: 'foo' is no month"),
        ("0 3 * * 5-1", "column 9: '5-1' is no day of the week"),
        ("0 3 * * ,", "column 9: '' is no day of the week"),
        ("60 3 * * *", "column 1: '60' is no minute"),
        ("0 3 ½ * *", "column 5: '½' is no day"),
        ("0 3 30 2 *", "column 5: no month has such a day"),
        ("0 3 31 feb,apr *", "column 5: no month has such a day"),
        ("0 3 * *", "this one has 4"),
        ("0 0 3 * * *", "this one has 6"),
        ("", "this one has 0"),
        ("@sometimes", "column 1: there are @yearly"),
        ("0 " * 200, "256 characters at most"),
    ],
)
def test_what_is_no_cron_line_is_refused_with_its_place(line: str, says: str) -> None:
    with pytest.raises(CronError) as refused:
        parse_cron(line)
    assert says in str(refused.value)


@given(st.text(alphabet="0123456789*/,-#L@ abcJANMON½\x00", max_size=40))
def test_nonsense_is_refused_and_nothing_else_happens(line: str) -> None:
    try:
        found = parse_cron(line)
    except CronError:
        return
    assert found.after(0, UTC) > 0


_NUMBERS = {0: 59, 1: 23, 2: 31, 3: 12, 4: 7}


@st.composite
def _lines(draw: st.DrawFn) -> str:
    words = []
    for place, most in _NUMBERS.items():
        low = 0 if place in {0, 1, 4} else 1
        first = draw(st.integers(low, most))
        last = draw(st.integers(first, most))
        words.append(draw(st.sampled_from(["*", f"{first}", f"{first}-{last}", f"*/{first + 1}"])))
    return " ".join(words)


@given(
    st.one_of(_lines(), st.sampled_from(sorted(NAMES))),
    st.integers(at("2020-01-01"), at("2035-01-01")),
    st.sampled_from([UTC, BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/St_Johns")]),
)
def test_time_only_goes_forward(line: str, moment: int, zone: ZoneInfo) -> None:
    """The next time is later, on a whole minute, and the same for whoever asks in between."""
    try:
        cron = parse_cron(line)
    except CronError:
        return
    first = cron.after(moment, zone)
    assert moment < first
    assert first % (60 * SECOND) == 0
    assert cron.after(first - 1, zone) == first
    assert cron.after((moment + first) // 2, zone) == first


def test_a_zone_without_a_name() -> None:
    found = parse_cron("0 3 * * *").after(0, timezone(timedelta(hours=2)))
    assert found == 1 * 3600 * SECOND
