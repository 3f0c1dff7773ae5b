"""What can go wrong with the index itself."""

from entrepot.core.errors import EntrepotError, NoSpaceError, UnreachableError


class DatabaseError(EntrepotError):
    """The index can't be read or written just now; nothing of the failed change remains."""


class DatabaseFullError(DatabaseError, NoSpaceError):
    """There is no room left for the index."""


class DatabaseUnavailableError(DatabaseError, UnreachableError):
    """The server that has the index doesn't answer, or is too busy to. What was being committed at
    that moment may have been kept."""


class SchemaError(DatabaseError):
    """The index was written by another version of the program, or is damaged."""
