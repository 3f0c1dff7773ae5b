"""Questions about the secrets of robots and people; only their fingerprints are here."""

from collections.abc import Iterable, Sequence

from entrepot.core.access import Scope
from entrepot.core.accounts import Credential, Holder
from entrepot.db.engine import Reader, Row, Transaction, required
from entrepot.db.scopes import decode_scopes, encode_scopes

_COLUMNS = """
    SELECT c.id, COALESCE(r.name, u.name), c.robot_id, c.name, COALESCE(c.scopes, r.scopes),
        c.created_at, c.expires_at, c.used_at, r.expires_at, u.disabled, u.administrator
    FROM credentials c LEFT JOIN robots r ON r.id = c.robot_id
        LEFT JOIN users u ON u.id = c.user_id
"""
_FIND = f"{_COLUMNS} WHERE c.fingerprint = :fingerprint"
_FIND_BY_ID = f"{_COLUMNS} WHERE c.id = :id"
_LIST = f"""
    {_COLUMNS} WHERE c.robot_id = :robot OR c.user_id = :user ORDER BY c.created_at, c.id
"""
_GROUPS = """
    SELECT g.name FROM user_groups g JOIN users u ON u.id = g.user_id
    WHERE u.name = :name
    UNION SELECT c.name FROM claimed_groups c JOIN users u ON u.id = c.user_id
    WHERE u.name = :name ORDER BY 1
"""
_ADD = """
    INSERT INTO credentials
        (robot_id, user_id, name, fingerprint, scopes, created_at, expires_at)
    VALUES (:robot, :user, :name, :fingerprint, :scopes, :now, :expires_at)
    RETURNING id
"""
_EXPIRE = """
    UPDATE credentials SET expires_at = :expires_at
    WHERE id = :id AND (expires_at IS NULL OR expires_at > :expires_at)
"""
_FORGET = "DELETE FROM credentials WHERE robot_id = :robot AND expires_at <= :now"
_REMOVE = "DELETE FROM credentials WHERE id = :id"
_USE = """
    UPDATE credentials SET used_at = :used_at
    WHERE id = :id AND (used_at IS NULL OR used_at < :used_at)
"""


async def find_holder(reader: Reader, fingerprint: bytes) -> Holder | None:
    """Return whom a secret stands for, or None."""
    return await _holder(reader, await reader.fetch_one(_FIND, {"fingerprint": fingerprint}))


async def find_holder_by_id(reader: Reader, credential: int) -> Holder | None:
    """Return whom the secret with an id stands for, or None."""
    return await _holder(reader, await reader.fetch_one(_FIND_BY_ID, {"id": credential}))


async def _holder(reader: Reader, row: Row | None) -> Holder | None:
    if row is None:
        return None
    credential = _credential(row)
    groups: list[Row] = []
    if credential.kind == "user":
        groups = await reader.fetch_all(_GROUPS, {"name": credential.owner})
    return Holder(credential, bool(row[9]), bool(row[10]), tuple(group[0] for group in groups))


async def list_credentials(
    reader: Reader, *, robot: int | None = None, user: int | None = None
) -> Sequence[Credential]:
    """Return the secrets of a robot or a user, the oldest first."""
    rows = await reader.fetch_all(_LIST, {"robot": robot, "user": user})
    return [_credential(row) for row in rows]


async def add_credential(
    transaction: Transaction,
    fingerprint: bytes,
    *,
    owner: tuple[int | None, int | None],
    name: str,
    scopes: tuple[Scope, ...] | None,
    now: int,
    expires_at: int | None,
) -> int:
    """Add a secret of `owner`, the id of a robot or else of a user; return its id."""
    values = {
        "robot": owner[0],
        "user": owner[1],
        "name": name,
        "fingerprint": fingerprint,
        "scopes": encode_scopes(scopes),
        "now": now,
        "expires_at": expires_at,
    }
    return int(required(await transaction.fetch_one(_ADD, values))[0])


async def expire_credential(transaction: Transaction, credential: int, *, at: int) -> None:
    """Let a secret end at `at`, unless it ends before."""
    await transaction.execute(_EXPIRE, {"id": credential, "expires_at": at})


async def forget_expired(transaction: Transaction, robot: int, *, now: int) -> None:
    """Remove a robot's secrets that have ended."""
    await transaction.execute(_FORGET, {"robot": robot, "now": now})


async def remove_credential(transaction: Transaction, credential: int) -> bool:
    """Remove a secret; return whether there was one."""
    return await transaction.execute(_REMOVE, {"id": credential}) == 1


async def note_uses(transaction: Transaction, uses: Iterable[tuple[int, int]]) -> None:
    """Note when secrets were last used, by their ids."""
    values = [{"id": credential, "used_at": used_at} for credential, used_at in uses]
    await transaction.execute_many(_USE, values)


def _credential(row: Row) -> Credential:
    """A secret ends with its robot at the latest."""
    ends = [moment for moment in (row[6], row[8]) if moment is not None]
    return Credential(
        id=row[0],
        owner=row[1],
        kind="user" if row[2] is None else "robot",
        name=row[3],
        scopes=decode_scopes(row[4]),
        created_at=row[5],
        expires_at=min(ends, default=None),
        used_at=row[7],
    )
