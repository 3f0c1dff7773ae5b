"""All that can be done about accounts and their rights, and who did it, in one place."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from entrepot.core.access import Identity
from entrepot.core.accounts import LOCAL, ROBOT, ROBOT_PREFIX, AccountUnknownError
from entrepot.services.access import Access
from entrepot.services.accounts import Accounts
from entrepot.services.auditing import AuditLog
from entrepot.services.grants import Grants
from entrepot.services.guarding import Lockouts
from entrepot.services.namespaces import Namespaces
from entrepot.services.quotas import Quotas
from entrepot.services.retention import Policies
from entrepot.services.robots import Robots, Tokens
from entrepot.services.runs import Runs
from entrepot.services.schedules import Schedules
from entrepot.services.stores import Stores

if TYPE_CHECKING:
    from entrepot.services.checkpoints import Checkpoints


@dataclass(frozen=True, slots=True)
class Administration:
    """What can be done about accounts and their rights, and who did it. `now` gives
    microseconds since 1970, `read_time` the time by which content goes, which no step of a clock
    brings forward; `checkpoints` what verifies the audit log, for which cryptography is
    loaded then; `configured` says what the configuration makes of a name, such as one in an
    htpasswd file.
    """

    users: Accounts
    robots: Robots
    tokens: Tokens
    lockouts: Lockouts
    namespaces: Namespaces
    grants: Grants
    quotas: Quotas
    access: Access
    schedules: Schedules
    runs: Runs
    audit: AuditLog
    checkpoints: "Callable[[], Awaitable[Checkpoints]]"
    retention: Policies
    configured: Callable[[str], Identity]
    now: Callable[[], int]
    read_time: Callable[[], Awaitable[int]]
    stores: Stores | None = None
    """Content, for commands on the host."""

    async def identity(self, name: str, *, groups: Sequence[str]) -> Identity:
        """Return whom a name stands for, as far as can be told without a login: somebody of whom
        the index and the configuration know nothing is in `groups` alone.
        """
        if not name:
            return Identity("", "anonymous", kind="anonymous")
        if name.startswith(ROBOT_PREFIX):
            return Identity(name, ROBOT, kind="robot")
        known = self.configured(name)
        with suppress(AccountUnknownError):
            known = (await self.users.find(name)).identity(LOCAL)
        return msgspec.structs.replace(known, groups=tuple(sorted({*known.groups, *groups})))
