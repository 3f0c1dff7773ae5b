"""`/api/v1/users`, with their personal access tokens, and `/api/v1/locks`."""

import msgspec

from entrepot.api.v1.forms import (
    PAGE,
    After,
    Lifted,
    Limit,
    LockView,
    Page,
    PasswordMake,
    Rotate,
    TokenMade,
    TokenMake,
    TokenView,
    UserChange,
    UserMake,
    UserView,
    parse_scopes,
)
from entrepot.api.v1.operation import Call
from entrepot.core.accounts import AccountUnknownError


async def list_users(call: Call, *, limit: Limit = PAGE, after: After = "") -> Page[UserView]:
    """List the users, by name."""
    found = await call.services.users.list(after=after, limit=limit + 1)
    shown = [UserView.of(user) for user in found[:limit]]
    return Page(shown, shown[-1].name if len(found) > limit else None)


async def create_user(call: Call, body: UserMake) -> UserView:
    """Make a user."""
    user = await call.services.users.create(
        body.name,
        password=body.password,
        by=call.by,
        administrator=body.administrator,
        groups=body.groups,
        description=body.description,
    )
    return UserView.of(user)


async def show_user(call: Call, user: str) -> UserView:
    """Show a user."""
    return UserView.of(await call.services.users.find(user))


async def change_user(call: Call, user: str, body: UserChange) -> UserView:
    """Change a user; one that is `disabled` gets in no more, nor do the personal access tokens."""
    changed = await call.services.users.change(
        user,
        by=call.by,
        administrator=body.administrator,
        disabled=body.disabled,
        description=body.description,
        join=body.join,
        leave=body.leave,
    )
    return UserView.of(changed)


async def delete_user(call: Call, user: str) -> None:
    """Delete a user with the personal access tokens and the grants."""
    await call.services.users.delete(user, by=call.by)


async def set_password(call: Call, user: str, body: PasswordMake) -> None:
    """Give a user another password, or none; the old one counts no more."""
    await call.services.users.set_password(user, body.password, by=call.by)


async def log_out(call: Call, user: str) -> None:
    """End every session that a user has in a browser."""
    await call.services.users.log_out(user, by=call.by)


# Personal access tokens -------------------------------------------------------------------------


async def list_tokens(call: Call, user: str) -> Page[TokenView]:
    """List a user's tokens: not what they are, but what for, until when, and their last use."""
    return Page([TokenView.of(token) for token in await call.services.tokens.list(user)])


async def create_token(call: Call, user: str, body: TokenMake) -> TokenMade:
    """Make a token of a user; the secret is shown this once."""
    token, secret = await call.services.tokens.create(
        user,
        body.name,
        by=call.by,
        scopes=parse_scopes(body.scopes),
        expires_in=body.expires_in,
    )
    return TokenMade(**msgspec.structs.asdict(TokenView.of(token)), secret=secret)


async def rotate_token(call: Call, user: str, token: int, body: Rotate) -> TokenMade:
    """Make a token like another one, which goes on for a while; the secret is shown this once."""
    made, secret = await call.services.tokens.rotate(user, token, by=call.by, overlap=body.overlap)
    return TokenMade(**msgspec.structs.asdict(TokenView.of(made)), secret=secret)


async def revoke_token(call: Call, user: str, token: int) -> None:
    """Remove a token."""
    await call.services.tokens.revoke(user, token, by=call.by)


# Failed logins ----------------------------------------------------------------------------------


async def list_locks(call: Call, *, limit: Limit = PAGE, after: After = "") -> Page[LockView]:
    """List the accounts and addresses from which logins failed, by kind and name."""
    now = call.services.now()
    every = [LockView.of(each, now=now) for each in await call.services.lockouts.list()]
    rest = sorted((lock for lock in every if _key(lock) > after), key=_key)
    return Page(rest[:limit], _key(rest[limit - 1]) if len(rest) > limit else None)


async def lift_lock(call: Call, subject: str) -> None:
    """Forget the failed logins of an account or from an address."""
    if not await call.services.lockouts.lift(subject, by=call.by):
        raise AccountUnknownError(f"no failed logins of {subject} are known")


async def lift_locks(call: Call) -> Lifted:
    """Forget all failed logins."""
    return Lifted(await call.services.lockouts.lift_all(by=call.by))


def _key(lock: LockView) -> str:
    return f"{lock.kind}:{lock.subject}"
