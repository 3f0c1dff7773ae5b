"""Questions about sessions in a browser, of which only fingerprints are here, and about the groups
that somebody had by their provider when they last began one.
"""

from collections.abc import Iterable, Sequence

from entrepot.core.accounts import BrowserSession
from entrepot.db.engine import Reader, Transaction, required

_COLUMNS = """
    SELECT s.id, u.name, s.holder, s.provider, s.address, s.created_at, s.seen_at, s.expires_at
    FROM browser_sessions s JOIN users u ON u.id = s.user_id
"""
_FIND = f"{_COLUMNS} WHERE s.fingerprint = :fingerprint"
_LIST = f"{_COLUMNS} WHERE u.name = :user AND s.expires_at > :now ORDER BY s.id"
_ADD = """
    INSERT INTO browser_sessions
        (fingerprint, user_id, holder, provider, address, created_at, seen_at, expires_at)
    VALUES (:fingerprint, :user, :holder, :provider, :address, :now, :now, :expires_at)
    RETURNING id
"""
_SEEN = """
    UPDATE browser_sessions SET seen_at = :seen_at WHERE id = :id AND seen_at < :seen_at
"""
_REMOVE = "DELETE FROM browser_sessions WHERE id = :id"
_REMOVE_OF = """
    DELETE FROM browser_sessions WHERE user_id IN (SELECT id FROM users WHERE name = :user)
"""
_FORGET = "DELETE FROM browser_sessions WHERE expires_at <= :now OR seen_at <= :idle_since"
_LIST_GROUPS = "SELECT name FROM claimed_groups WHERE user_id = :user ORDER BY name"
_LEAVE_GROUPS = "DELETE FROM claimed_groups WHERE user_id = :user"
_JOIN_GROUP = "INSERT INTO claimed_groups (user_id, name) VALUES (:user, :name)"


async def find_browser_session(reader: Reader, fingerprint: bytes) -> BrowserSession | None:
    """Return the session that a browser has, or None."""
    row = await reader.fetch_one(_FIND, {"fingerprint": fingerprint})
    return None if row is None else BrowserSession(*row)


async def list_browser_sessions(reader: Reader, user: str, *, now: int) -> Sequence[BrowserSession]:
    """Return the sessions of a user that have not expired, the oldest first."""
    rows = await reader.fetch_all(_LIST, {"user": user, "now": now})
    return [BrowserSession(*row) for row in rows]


async def add_browser_session(
    transaction: Transaction, fingerprint: bytes, session: BrowserSession, *, user: int
) -> int:
    """Add a session of the user with this id, which begins now; return its own id."""
    values = {
        "fingerprint": fingerprint,
        "user": user,
        "holder": session.holder,
        "provider": session.provider,
        "address": session.address,
        "now": session.created_at,
        "expires_at": session.expires_at,
    }
    return int(required(await transaction.fetch_one(_ADD, values))[0])


async def note_seen(transaction: Transaction, seen: Iterable[tuple[int, int]]) -> None:
    """Note when sessions were last used, by their ids."""
    values = [{"id": session, "seen_at": moment} for session, moment in seen]
    await transaction.execute_many(_SEEN, values)


async def remove_browser_session(transaction: Transaction, session: int) -> bool:
    """Remove a session; return whether there was one."""
    return await transaction.execute(_REMOVE, {"id": session}) == 1


async def remove_browser_sessions_of(transaction: Transaction, user: str) -> int:
    """Remove all sessions of a user; return how many."""
    return await transaction.execute(_REMOVE_OF, {"user": user})


async def forget_browser_sessions(transaction: Transaction, *, now: int, idle_since: int) -> None:
    """Remove sessions that have expired, and those that were last used before `idle_since`."""
    await transaction.execute(_FORGET, {"now": now, "idle_since": idle_since})


async def replace_claimed_groups(
    transaction: Transaction, user: int, groups: Sequence[str]
) -> bool:
    """Note the groups of the user with this id by their provider; return whether they changed."""
    known = [row[0] for row in await transaction.fetch_all(_LIST_GROUPS, {"user": user})]
    if known == sorted(groups):
        return False
    await transaction.execute(_LEAVE_GROUPS, {"user": user})
    await transaction.execute_many(_JOIN_GROUP, [{"user": user, "name": name} for name in groups])
    return True
