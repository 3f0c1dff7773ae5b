"""What `entrepot config check` finds."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: `what` is the key or subject, `message` one line."""

    level: Literal["ok", "warning", "error"]
    what: str
    message: str

    def __str__(self) -> str:
        return f"{self.level:7} {self.what}: {self.message}"


def ok(what: str, message: str) -> Finding:
    """It works."""
    return Finding("ok", what, message)


def warning(what: str, message: str) -> Finding:
    """It works, but should be looked at."""
    return Finding("warning", what, message)


def error(what: str, message: str) -> Finding:
    """It doesn't work."""
    return Finding("error", what, message)
