"""Durations as Go writes them: "1h30m", "168h", "1.5s", "300ms"."""

import re
from decimal import Decimal

_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # U+00B5, micro sign
    "μs": Decimal("1e-6"),  # U+03BC, Greek letter
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART = re.compile(r"([0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = Decimal(2**63 - 1) / 10**9
"""What Go can hold, some 292 years."""


def parse_duration(text: str) -> float:
    """Seconds; ValueError if Go's time.ParseDuration would refuse the text."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, position = Decimal(0), 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            raise ValueError(f"not a duration: {text!r}")
        total += Decimal(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not rest or total > _LONGEST:
        raise ValueError(f"not a duration: {text!r}")
    return float(sign * total)


def from_nanoseconds(count: int) -> float:
    """Seconds; ValueError beyond what Go can hold."""
    if abs(count) >= 2**63:
        raise ValueError("too long for a duration")
    return count / 1e9


def format_duration(seconds: float) -> str:
    """The shortest common form: 5400.0 is "1h30m", 0.1 is "100ms", 0 is "0s"."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    nanoseconds = round(seconds * 1e9)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000_000_000:
        for size, unit in ((1_000_000, "ms"), (1_000, "us")):
            if nanoseconds % size == 0:
                return f"{nanoseconds // size}{unit}"
        return f"{nanoseconds}ns"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    number = f"{Decimal(rest) / 1_000_000_000:f}"
    text = number.rstrip("0").rstrip(".") if "." in number else number
    parts = [(f"{hours}h", hours), (f"{minutes}m", minutes), (f"{text}s", rest)]
    return "".join(part for part, count in parts if count)
