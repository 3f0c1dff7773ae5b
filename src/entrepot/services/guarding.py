"""Failed logins, where every process and node sees them: in the index, written without waiting."""

from collections.abc import Callable, Sequence
from typing import Final

from entrepot.core.audit import Actor, event
from entrepot.core.guarding import FailureKind, Failures, Rule, after_failure
from entrepot.db.engine import Database, Transaction
from entrepot.db.guarding import (
    find_failures,
    forget_failures,
    list_failures,
    remove_all_failures,
    remove_failures,
    write_failures,
)
from entrepot.services.audit import Notes, Trail

_FORGET_AFTER: Final = 7 * 24 * 3600 * 1_000_000

Blamed = Sequence[tuple[tuple[FailureKind, str], Rule]]


class Lockouts:
    """Counts failed logins; `now` is in microseconds since 1970."""

    def __init__(
        self, index: Database, *, now: Callable[[], int], trail: Trail | None = None
    ) -> None:
        self._index = index
        self._now = now
        self._trail = trail or Trail(index, now=now)

    async def find(self, kind: FailureKind, subject: str) -> Failures | None:
        """Return what is known of an account or address, or None."""
        return await find_failures(self._index, kind, subject)

    async def add(self, blamed: Blamed) -> list[Failures]:
        """Note one more failure of each of some accounts and addresses, by their rules."""
        now = self._now()

        async def work(transaction: Transaction) -> list[Failures]:
            await forget_failures(transaction, before=now - _FORGET_AFTER)
            written = []
            for (kind, subject), rule in blamed:
                known = await find_failures(transaction, kind, subject)
                failures = after_failure(rule, known, kind=kind, subject=subject, now=now)
                await write_failures(transaction, failures)
                written.append(failures)
            return written

        written = await self._index.write_lazily(work)
        for failures in written:
            seconds = round(failures.seconds_left(now))
            if seconds > 0:
                told = event(
                    "login.lock",
                    outcome="denied",
                    reason=f"too many failed logins of this {failures.kind}",
                    failures=failures.count,
                    seconds=seconds,
                )
                self._trail.note(told, by=_locked(failures))
        return written

    async def clear(self, kind: FailureKind, subject: str) -> None:
        """Forget the failures of an account or address."""

        async def work(transaction: Transaction) -> None:
            await remove_failures(transaction, kind, subject)

        await self._index.write_lazily(work)

    async def list(self) -> Sequence[Failures]:
        """Return all that is known, the longest locked first."""
        return await list_failures(self._index)

    async def lift(self, subject: str, *, by: Actor | str) -> bool:
        """Forget the failures of an account or address of this name; return whether there were
        any.
        """

        async def work(transaction: Transaction, notes: Notes) -> bool:
            account = await remove_failures(transaction, "account", subject)
            lifted = await remove_failures(transaction, "address", subject) or account
            if lifted:
                notes.add(event("user.unlock", target=subject))
            return lifted

        return await self._trail.write(work, by=by)

    async def lift_all(self, *, by: Actor | str) -> int:
        """Forget all failures; return of how many accounts and addresses."""

        async def work(transaction: Transaction, notes: Notes) -> int:
            lifted = await remove_all_failures(transaction)
            notes.add(event("user.unlock", target="*", count=lifted))
            return lifted

        return await self._trail.write(work, by=by)


def _locked(failures: Failures) -> Actor:
    """Return whom a lock is about. A name as it was typed is no target: those are in the log of
    the program as well, and it may be a password in the wrong field.
    """
    if failures.kind == "address":
        return Actor(kind="unknown", method="", address=failures.subject)
    return Actor(failures.subject, "unknown", "")
