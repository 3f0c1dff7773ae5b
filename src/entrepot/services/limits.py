"""The quotas that there are, as one process knows them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from entrepot.core.decision import prefixes
from entrepot.core.quotas import Quota
from entrepot.db.engine import Reader
from entrepot.db.quotas import list_quotas

KNOWN: Final = 2.0
"""Seconds for which a process relies on the quotas that it knows."""

_NONE: Final[Sequence[Quota]] = ()


class Limits:
    """Read at most every two seconds, so that what no quota is about costs nothing."""

    def __init__(self) -> None:
        self._quotas: Mapping[str, Sequence[Quota]] | None = None
        self._read_at = float("-inf")

    def changed(self) -> None:
        """Ask for the quotas again before the next push."""
        self._quotas = None

    async def over(self, reader: Reader, name: str) -> Sequence[Quota]:
        """Return the quotas of the namespaces that a repository of this name is in."""
        now = asyncio.get_running_loop().time()
        known = self._quotas
        if known is None or now - self._read_at > KNOWN:
            self._read_at = now  # others go on with what is known meanwhile, if anything is
            known = self._quotas = _by_namespace(await list_quotas(reader))
        if not known:
            return _NONE
        return [quota for prefix in prefixes(name) for quota in known.get(prefix, _NONE)]


def _by_namespace(quotas: Sequence[Quota]) -> Mapping[str, Sequence[Quota]]:
    found: dict[str, list[Quota]] = {}
    for quota in quotas:
        found.setdefault(quota.namespace, []).append(quota)
    return found
