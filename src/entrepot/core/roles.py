"""Roles: named sets of actions. Those that are built in, and the form of those that are not."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from entrepot.core.access import Action
from entrepot.core.errors import EntrepotError

CONTENT: Final = frozenset({Action.PULL, Action.LIST, Action.PUSH, Action.DELETE, Action.TAG})
"""Actions on a repository."""

NAMESPACE: Final = frozenset({Action.RETENTION, Action.ROBOTS, Action.MEMBERS, Action.SETTINGS})
"""Actions on a namespace, and on those below it."""

SYSTEM: Final = frozenset({Action.OBSERVE, Action.AUDIT, Action.ADMINISTER})
"""Actions on the registry as a whole: what a role gives of them counts in the root only."""

OPEN: Final = frozenset({Action.PROBE, Action.LOGIN, Action.CONNECT})
"""Actions that no role gives: two are for anybody, the last for whoever is known."""

_READER: Final = frozenset({Action.PULL, Action.LIST})
_DEVELOPER: Final = _READER | {Action.PUSH}
_OPERATOR: Final = _DEVELOPER | {Action.DELETE, Action.TAG, Action.RETENTION, Action.ROBOTS}

BUILT_IN: Final[Mapping[str, frozenset[Action]]] = {
    "reader": _READER,
    "developer": _DEVELOPER,
    "operator": _OPERATOR,
    "admin": _OPERATOR | {Action.MEMBERS, Action.SETTINGS},
}

_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_LONGEST: Final = 64


class RoleInvalidError(EntrepotError):
    """A role can't be as it was asked for; the text says why."""


def check_role_name(name: str) -> str:
    """Return `name` if a custom role may be called so, or raise `RoleInvalidError`."""
    if name in BUILT_IN:
        raise RoleInvalidError(f"the role {name} is built in and can't be changed")
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise RoleInvalidError(
            f"{name!r} can't be a role's name: it has lower-case letters and digits with single "
            f". _ - between them, {_LONGEST} characters at most"
        )
    return name


def parse_action(word: str) -> Action:
    """Return the action that `word` names, or raise `RoleInvalidError`; `list` is `catalog`, too.

    What no role can give (`OPEN`) is no action here.
    """
    known = {action.value: action for action in Action if action not in OPEN}
    known["list"] = Action.LIST
    if word not in known:
        raise RoleInvalidError(f"{word!r} is no action; there are {', '.join(sorted(known))}")
    return known[word]


def parse_actions(words: Iterable[str]) -> frozenset[Action]:
    """Return the actions that `words` name, or raise `RoleInvalidError`, also if there are none."""
    actions = frozenset(map(parse_action, words))
    if not actions:
        raise RoleInvalidError("a role needs at least one action")
    return actions
