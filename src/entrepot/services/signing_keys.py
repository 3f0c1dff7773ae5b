"""The keys that sign this registry's tokens: one set for all its processes, rotated by schedule.

1. A key signs for `rotation` seconds. Its successor is made and published `ahead` seconds before,
   so that every process, and everybody who fetches the key set, knows it before its first token.
2. A key stays published until the last token that it signed has expired.
3. Keys are made in a transaction that looks at those that there are: of many processes that find
   one missing at the same time, one makes it.
4. Private keys are sealed in the index (`core.sealing`). One that can't be opened, because
   `http.secret` is another now, verifies until its end but signs no more; a new one replaces it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey
from msgspec import Struct

from entrepot.core.audit import REGISTRY, event
from entrepot.core.sealing import NONCE_BYTES, SealBrokenError, seal, unseal
from entrepot.core.tokens import libtrust_fingerprint
from entrepot.db import DatabaseError, Transaction
from entrepot.db.signing_keys import (
    SigningKey,
    add_signing_key,
    forget_signing_keys,
    list_signing_keys,
)
from entrepot.identity.jws import sign
from entrepot.services.audit import Notes
from entrepot.services.stores import Stores

_PURPOSE: Final = "token signing key"
_SECOND: Final = 1_000_000
_EARLY: Final = 86_400
"""Seconds by which a certificate is valid before and after its key is used, for other clocks."""

_LOOK_EVERY: Final = 60.0
_LOOK_AGAIN: Final = 1.0
"""Seconds between two looks into the index, and those for an unknown key at least."""

_log = structlog.get_logger("entrepot.tokens")


class Schedule(Struct, frozen=True):
    """Seconds: how long a key signs, how long before it is published, and how long after its last
    token lives.
    """

    rotation: float
    ahead: float
    after: float


class _Usable(Struct, frozen=True):
    row: SigningKey
    public: ECKey
    private: ECKey | None


class SigningKeys:
    """The key set, as one process knows it."""

    def __init__(
        self,
        stores: Stores,
        *,
        secret: bytes,
        schedule: Schedule,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._secret = secret
        self._schedule = schedule
        self._clock = clock
        self._looked = float("-inf")
        self._looking = asyncio.Lock()
        self._keys: dict[str, _Usable] = {}

    async def sign(self, payload: bytes) -> str:
        """Return a token that says `payload`."""
        await self._refresh()
        now = self._stores.now()
        for key in reversed(self._keys.values()):
            if key.private is not None and key.row.signs_from <= now < key.row.signs_until:
                return sign(payload, key.private, kid=key.row.kid)
        raise SealBrokenError("there is no key that signs tokens")

    async def find(self, kid: str) -> ECKey | None:
        """Return the public key with this id; the index is asked if it isn't known, but not more
        often than once a second however many ids are made up.
        """
        if kid not in self._keys and self._clock() >= self._looked + _LOOK_AGAIN:
            await self._look()
        found = self._keys.get(kid)
        return found.public if found else None

    async def key_set(self) -> dict[str, object]:
        """Return the public keys as a JSON Web Key Set (RFC 7517)."""
        await self._refresh()
        return {"keys": [_published(key) for key in self._keys.values()]}

    async def certificates(self) -> bytes:
        """Return the public keys as certificates in PEM, for `rootcertbundle`."""
        await self._refresh()
        return "".join(key.row.certificate for key in self._keys.values()).encode("ascii")

    async def _refresh(self) -> None:
        """Look from time to time. What is known goes on while the index is away."""
        if self._clock() < self._looked + _LOOK_EVERY:
            return
        try:
            await self._look()
        except DatabaseError as error:
            if not self._keys:
                raise
            _log.error("the keys that sign tokens can't be read", error=error)

    async def _look(self) -> None:
        """Read the keys from the index, and make those that are missing."""
        async with self._looking:
            now = self._stores.now()
            known = self._open(await list_signing_keys(self._stores.index), now=now)
            if _missing(known, now=now, schedule=self._schedule):
                known = await self._make(now)
            self._keys = {key.row.kid: key for key in known}
            self._looked = self._clock()

    async def _make(self, now: int) -> list[_Usable]:
        """Add the keys that are missing, and return all; another process may have been faster."""
        spare = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]

        async def work(transaction: Transaction, notes: Notes) -> list[_Usable]:
            known = self._open(await list_signing_keys(transaction), now=now)
            for key, times in zip(
                spare, _missing(known, now=now, schedule=self._schedule), strict=False
            ):
                made = self._row(key, *times)
                await add_signing_key(transaction, made)
                notes.add(event("key.create", target=made.kid, purpose=_PURPOSE))
                known += self._open([made], now=now)
            for kid in await forget_signing_keys(transaction, now=now):
                notes.add(event("key.delete", target=kid, purpose=_PURPOSE))
            return known

        return await self._stores.trail.write(work, by=REGISTRY)

    def _row(self, key: ec.EllipticCurvePrivateKey, start: int, end: int) -> SigningKey:
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        expires = end + int(self._schedule.after * _SECOND)
        return SigningKey(
            kid=libtrust_fingerprint(public),
            sealed=seal(
                plain,
                secret=self._secret,
                purpose=_PURPOSE,
                nonce=secrets.token_bytes(NONCE_BYTES),
            ),
            certificate=_certificate(key, start=start, end=expires),
            signs_from=start,
            signs_until=end,
            expires_at=expires,
        )

    def _open(self, rows: Sequence[SigningKey], *, now: int) -> list[_Usable]:
        return [self._known(row) for row in rows if now < row.expires_at]

    def _known(self, row: SigningKey) -> _Usable:
        known = self._keys.get(row.kid)
        if known is not None and known.row == row:
            return known
        certificate = x509.load_pem_x509_certificate(row.certificate.encode("ascii"))
        pem = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        public = ECKey.import_key(pem)
        try:
            plain = unseal(row.sealed, secret=self._secret, purpose=_PURPOSE)
        except SealBrokenError as error:
            _log.warning("a key that signs tokens can't be opened", kid=row.kid, error=error)
            return _Usable(row, public, None)
        private = load_der_private_key(plain, None)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return _Usable(row, public, ECKey.import_key(pem))


def _missing(known: Sequence[_Usable], *, now: int, schedule: Schedule) -> list[tuple[int, int]]:
    """Return from when until when keys must sign that there aren't yet."""
    rotation, ahead = int(schedule.rotation * _SECOND), int(schedule.ahead * _SECOND)
    own = [key.row for key in known if key.private is not None]
    missing = []
    if not any(row.signs_from <= now < row.signs_until for row in own):
        missing.append((now, now + rotation))
    last = max([row.signs_until for row in own] + [end for _, end in missing])
    if last <= now + ahead:
        missing.append((last, last + rotation))
    return missing


def _certificate(key: ec.EllipticCurvePrivateKey, *, start: int, end: int) -> str:
    """Return a certificate that a key gives itself, in PEM; times are microseconds since 1970."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Entrepot tokens")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(start // _SECOND - _EARLY, UTC))
        .not_valid_after(datetime.fromtimestamp(end // _SECOND + _EARLY, UTC))
        .sign(key, SHA256())
    )
    return built.public_bytes(Encoding.PEM).decode("ascii")


def _published(key: _Usable) -> dict[str, object]:
    return {
        **key.public.as_dict(),
        "kid": key.row.kid,
        "use": "sig",
        "alg": "ES256",
    }
