"""What is wrong with a configuration, what was ignored in it, and where its values come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from entrepot.core.errors import EntrepotError


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: a line of a file, a variable, or (neither) the built-in default."""

    file: str = ""
    line: int = 0
    variable: str = ""

    def __str__(self) -> str:
        if self.variable:
            return self.variable
        return f"{self.file}:{self.line}" if self.file else "default"


DEFAULT = Origin()
"""The origin of a value that was given nowhere."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    message: str
    origin: Origin = DEFAULT

    def __str__(self) -> str:
        return self.message if self.origin == DEFAULT else f"{self.origin}: {self.message}"


@dataclass(frozen=True, slots=True)
class Notice:
    """A key that was given and has no effect, or not the expected one, and why."""

    key: str
    message: str
    origin: Origin

    def __str__(self) -> str:
        return f"{self.origin}: {self.key}: {self.message}"


class ConfigError(EntrepotError):
    """The configuration can't be used; `problems` has everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        if len(lines) == 1:
            super().__init__(f"configuration error: {lines[0]}")
        else:
            super().__init__("\n  ".join([f"{len(lines)} configuration errors:", *lines]))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...]]]:
        return (ConfigError, (self.problems,))
