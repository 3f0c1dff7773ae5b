"""Undoing deletions and moves of tags: what can be wrong with that."""

from entrepot.core.errors import EntrepotError


class UndoError(EntrepotError):
    """What was deleted or moved can't be brought back as it was asked for; the text says why."""


class UndoConflictError(UndoError):
    """What there is stands against it: a tag was set again, something is held or protected."""


class UndoUnknownError(UndoError):
    """There is no such thing in the trash or the history."""
