"""Where somebody may have rights: ranges of repositories' names, so that an index can look there
and nowhere else.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from entrepot.core.access import Action, Identity
from entrepot.core.decision import Grant, Policy

_LAST: Final = "~"
"""Comes after every letter that names have, in the order of their bytes."""


class Area(Struct, frozen=True, order=True):
    """The names from `first` to `end`, both included, in the order of their bytes."""

    first: str
    end: str

    def __contains__(self, name: str) -> bool:
        return self.first <= name <= self.end


EVERYWHERE: Final = (Area("", _LAST),)
NOWHERE: Final = Area(_LAST, "")


def areas_of(
    identity: Identity, action: Action, *, policy: Policy, grants: Iterable[Grant]
) -> Sequence[Area]:
    """Return areas, in order and with nothing in common, outside which there is no repository on
    which `identity` may do `action`, which is pulling or listing. Inside them each repository is
    decided for itself.
    """
    if identity.administrator:
        return EVERYWHERE
    shown = {"public"} if identity.kind == "anonymous" else {"public", "internal"}
    found: list[Area] = []
    for namespace in policy.namespaces.values():
        if namespace.visibility in shown:
            found += _below(namespace.name)
    for grant in grants:
        if grant.effect == "allow" and action in policy.actions(grant.role):
            found += _of_grant(grant)
    return _merged(found)


def _of_grant(grant: Grant) -> list[Area]:
    pattern = grant.repositories
    name = "/".join([grant.namespace] * bool(grant.namespace) + [*pattern.literal])
    if pattern.literal == pattern.components:
        return [Area(name, name)]
    return _below(name)


def _below(name: str) -> list[Area]:
    return [Area(name, name), Area(f"{name}/", f"{name}/{_LAST}")] if name else [*EVERYWHERE]


def _merged(areas: Iterable[Area]) -> list[Area]:
    merged: list[Area] = []
    for area in sorted(areas):
        if merged and area.first <= merged[-1].end:
            merged[-1] = Area(merged[-1].first, max(merged[-1].end, area.end))
        else:
            merged.append(area)
    return merged
