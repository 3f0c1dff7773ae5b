"""The token server: who is known gets a token for what they may do, and perhaps a refresh token.

A refresh token is 256 random bits, of which the index has the SHA-256. It is good for the service
and the client that it was issued for, and for as long as its holder may log in. Whoever brings it
gets it back, as the Docker specification wants it; with `rotate` they get a successor, the old one
goes on for `GRACE` seconds, and if it is used later still, somebody else has it: then all tokens
that came one from the other end.
"""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from entrepot.core.access import Action, Identity
from entrepot.core.audit import NOBODY, Actor, Event, event
from entrepot.core.errors import UnauthorizedError
from entrepot.core.tokens import (
    ACTIONS,
    AccessEntry,
    Claims,
    Holder,
    Issued,
    ResourceScope,
    TokenRefusedError,
    TokenRules,
    Wish,
    bearer_of,
    check_claims,
    holder_of,
    limits_of,
    read_claims,
    wanted_actions,
)
from entrepot.db import Transaction
from entrepot.db.tokens import (
    RefreshToken,
    add_refresh_token,
    find_refresh_token,
    forget_refresh_tokens,
    replace_refresh_token,
    revoke_chain,
)
from entrepot.identity.bearer import Good, Standing
from entrepot.identity.jws import OURS, read_token, verify
from entrepot.services.access import Access
from entrepot.services.audit import Notes
from entrepot.services.signing_keys import SigningKeys
from entrepot.services.stores import Stores

GRACE: Final = 600.0
"""Seconds for which a refresh token that has a successor is still good."""

LASTING: Final = frozenset({"local", "robot", "personal-token"})
"""How somebody must have been known to get a refresh token: those whose end the index tells of."""

SESSION: Final = "oidc"
"""Who was known so gets a refresh token for `Terms.session_lifetime`."""

SAME_CLIENT: Final = frozenset(
    {
        *("docker", "registry-client", "buildkit-client", "containerd-client"),
        *("containers/image", "go-containerregistry", "oras-go"),
    }
)
"""Clients that read the credentials file of docker, and so bring the tokens that it was given."""

REFRESH_PREFIX: Final = "entr_ref_"
_REFRESH_BYTES: Final = 32
_LONGEST_REFRESH: Final = 256
_SECOND: Final = 1_000_000


class Terms(Struct, frozen=True):
    """What tokens are issued for, and for how many seconds. `services` may be asked for; the first
    is this registry.
    """

    issuer: str
    services: tuple[str, ...]
    lifetime: float
    refresh_lifetime: float
    leeway: float
    rotate: bool
    session_lifetime: float = 43_200.0
    """For those whom another server knows, which doesn't tell us when that ends."""


class TokenServer:
    """Issues tokens, and knows its own again."""

    def __init__(
        self,
        stores: Stores,
        keys: SigningKeys,
        terms: Terms,
        *,
        access: Access,
        standing: Standing,
    ) -> None:
        self.keys = keys
        self.terms = terms
        self._stores = stores
        self._access = access
        self._standing = standing
        self._rules = TokenRules((terms.issuer,), terms.services[:1], terms.leeway)

    async def issue(self, identity: Identity, wish: Wish, *, by: Actor = NOBODY) -> Issued:
        """Return a token for what `identity` may do of what is wished for. `by` says from where it
        was asked for.

        Raises:
            UnauthorizedError: nobody knows who that is, and nothing here is for just anybody.
        """
        if identity.kind == "anonymous" and not self._access.enabled:
            raise UnauthorizedError
        issued = await self._issue(identity, wish)
        if not wish.offline or identity.method not in {*LASTING, SESSION}:
            return issued
        token = await self._add_refresh(identity, wish, by=_as(identity, by))
        return msgspec.structs.replace(issued, refresh_token=token)

    async def refresh(
        self, token: str, wish: Wish, *, by: Actor = NOBODY
    ) -> tuple[Identity, Issued]:
        """Return whose a refresh token is, and a token for what they may do of what is wished for.

        Raises:
            TokenRefusedError: it is not known, has ended, or is for another service or client, or
                its holder may not log in any more.
        """
        mark = _fingerprint(token)
        known = await find_refresh_token(self._stores.index, mark)
        now = self._stores.now()
        if known is None or known.expires_at <= now:
            raise TokenRefusedError("the refresh token is unknown or has expired")
        if known.replaced_at is not None and now > known.replaced_at + GRACE * _SECOND:
            reason = "the refresh token was replaced; all of its line end"
            told = event("session.revoke", outcome="denied", reason=reason, client=known.client)
            await self._revoke(known, told, by=by)
            raise TokenRefusedError(reason)
        if known.service != wish.service or not _same_client(known.client, wish.client):
            raise TokenRefusedError("the refresh token is for another service or client")
        holder = msgspec.json.decode(known.holder, type=Identity)
        identity = await self._standing.renew(holder, since=known.created_at / _SECOND)
        if identity is None:
            raise TokenRefusedError("the holder may not log in any more")
        issued = await self._issue(identity, wish)
        if self.terms.rotate:
            token = await self._succeed(mark, known, by=_as(identity, by))
        return identity, msgspec.structs.replace(issued, refresh_token=token)

    async def revoke(self, token: str, *, by: Actor = NOBODY) -> None:
        """End a refresh token with all that came from it; one that isn't known has ended."""
        known = await find_refresh_token(self._stores.index, _fingerprint(token))
        if known is not None:
            reason = "whoever has the refresh token may end it"
            told = event("session.revoke", reason=reason, client=known.client)
            await self._revoke(known, told, by=by)

    async def check(self, token: str) -> Good:
        """Return what a token of ours is good for, or raise `TokenRefusedError`."""
        unverified = read_token(token, algorithms=(OURS,))
        key = await self.keys.find(unverified.header.kid)
        if key is None:
            raise TokenRefusedError("the key that signed the token is not ours")
        claims = read_claims(verify(unverified, [key]))
        check_claims(claims, self._rules, now=self._stores.now() / _SECOND)
        if claims.holder is None:
            raise TokenRefusedError("the token does not say who holds it")
        holder = holder_of(claims.sub, claims.holder)
        limits = limits_of(claims.access or ())
        return Good(
            holder=holder,
            limits=limits,
            issued=claims.holder.issued / _SECOND,
            until=claims.exp + self.terms.leeway,
            revision=claims.holder.revision,
            identity=bearer_of(holder, limits),
        )

    async def _issue(self, identity: Identity, wish: Wish) -> Issued:
        revision = self._standing.revision
        entries = [await self._grant(identity, scope) for scope in wish.scopes]
        granted = [entry for entry in entries if entry is not None]
        moment = self._stores.now()
        now = moment // _SECOND
        claims = Claims(
            iss=self.terms.issuer,
            sub=identity.name,
            aud=wish.service,
            exp=now + int(self.terms.lifetime),
            nbf=now,
            iat=now,
            jti=secrets.token_hex(16),
            access=tuple(granted),
            holder=Holder(
                revision=revision,
                issued=moment,
                kind=identity.kind,
                method=identity.method,
                groups=identity.groups,
                administrator=identity.administrator,
                credential=identity.credential,
            ),
        )
        return Issued(
            token=await self.keys.sign(msgspec.json.encode(claims)),
            scope=" ".join(
                str(ResourceScope(entry.type, entry.name, entry.actions or (), entry.kind))
                for entry in granted
            ),
            expires_in=int(self.terms.lifetime),
            issued_at=datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )

    async def _grant(self, identity: Identity, scope: ResourceScope) -> AccessEntry | None:
        """Return what is granted of one scope: what is asked for, as far as it is allowed."""
        repository, wanted = wanted_actions(scope)
        if repository is not None:
            granted = await self._access.permitted(identity, repository, wanted)
            actions = tuple(word for word, action in ACTIONS.items() if action in granted)
        elif Action.LIST in wanted:
            may = (await self._access.decide(identity, Action.LIST)).allowed
            actions = scope.actions if may else ()
        else:
            actions = ()
        return AccessEntry(scope.type, scope.name, actions, scope.kind) if actions else None

    async def _add_refresh(self, identity: Identity, wish: Wish, *, by: Actor) -> str:
        now = self._stores.now()
        token = _new_token()
        life = self.terms.refresh_lifetime
        if identity.method == SESSION:
            life = min(life, self.terms.session_lifetime)
        row = RefreshToken(
            chain=secrets.token_bytes(16),
            holder=msgspec.json.encode(identity).decode(),
            service=wish.service,
            client=wish.client,
            created_at=now,
            expires_at=now + int(life * _SECOND),
            replaced_at=None,
        )

        async def work(transaction: Transaction, notes: Notes) -> None:
            await forget_refresh_tokens(transaction, now=now)
            await add_refresh_token(transaction, _fingerprint(token), row)
            notes.add(event("session.create", client=wish.client, service=wish.service))

        await self._stores.trail.write(work, by=by)
        return token

    async def _succeed(self, mark: bytes, known: RefreshToken, *, by: Actor) -> str:
        """Return the successor of a refresh token, which ends when the first of its line does."""
        token = _new_token()
        now = self._stores.now()

        async def work(transaction: Transaction, notes: Notes) -> None:
            await replace_refresh_token(transaction, mark, now=now)
            await add_refresh_token(transaction, _fingerprint(token), known)
            notes.add(event("session.rotate", client=known.client, service=known.service))

        await self._stores.trail.write(work, by=by)
        return token

    async def _revoke(self, known: RefreshToken, told: Event, *, by: Actor) -> None:
        async def work(transaction: Transaction, notes: Notes) -> None:
            if await revoke_chain(transaction, known.chain):
                notes.add(told)

        holder = msgspec.json.decode(known.holder, type=Identity)
        await self._stores.trail.write(work, by=_as(holder, by))


def _as(identity: Identity, by: Actor) -> Actor:
    """Return somebody from where `by` came."""
    return msgspec.structs.replace(
        by,
        name=identity.name,
        kind=identity.kind,
        method=identity.method,
        credential=identity.credential,
        reason=f"known by {identity.method}",
    )


def _new_token() -> str:
    return REFRESH_PREFIX + secrets.token_urlsafe(_REFRESH_BYTES)


def _fingerprint(token: str) -> bytes:
    """Return what the index has of a refresh token; one that is too long can't be one."""
    return hashlib.sha256(token[:_LONGEST_REFRESH].encode("utf-8", "replace")).digest()


def _same_client(one: str, other: str) -> bool:
    return one == other or {one, other} <= SAME_CLIENT
