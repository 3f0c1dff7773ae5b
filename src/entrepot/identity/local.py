"""`auth.local`: people with a password in the index."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from entrepot.core.access import Identity
from entrepot.core.accounts import LOCAL as METHOD
from entrepot.core.accounts import User
from entrepot.core.passwords import LONGEST
from entrepot.identity.directory import Directory
from entrepot.identity.hashing import Argon2
from entrepot.identity.sources import Proof

_THREADS: Final = 2
_LONGEST_BYTES: Final = 4 * LONGEST

_log = structlog.get_logger("entrepot.identity")


class Local:
    """A source (see `identity.sources.Source`). `rehash` is given a user and a new hash of the same
    password when the old one was made with other parameters.
    """

    method = METHOD

    def __init__(
        self,
        directory: Directory,
        argon2: Argon2,
        *,
        rehash: Callable[[User, str], Awaitable[None]],
    ) -> None:
        self._directory = directory
        self._argon2 = argon2
        self._rehash = rehash
        self._decoy = argon2.hash("nobody's")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")

    def account_of(self, name: bytes) -> bytes:
        """See `Source.account_of`: every name is one of its own."""
        return name

    async def verify(self, name: bytes, password: bytes) -> Proof | None:
        """See `Source.verify`; what was changed a moment ago counts already."""
        await self._directory.look()
        user = await self._directory.user(name.decode("utf-8", "replace"))
        hashed = user.password if user is not None else None
        given, against = password[:_LONGEST_BYTES], hashed or self._decoy
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._threads, self._argon2.matches, given, against)
        if user is None or hashed is None:
            _log.info("authentication of an unknown user refused")
            return None
        proof = Proof(user.identity(METHOD), user)
        if not right or len(password) > _LONGEST_BYTES or await self.renew(proof) is None:
            _log.info("authentication refused", **{"user.name": user.name})
            return None
        if self._argon2.is_outdated(hashed):
            again = await loop.run_in_executor(self._threads, self._argon2.hash, password)
            await self._rehash(user, again)
        return proof

    async def renew(self, proof: Proof) -> Identity | None:
        """See `Source.renew`."""
        then = proof.stamp
        now = await self._directory.user(proof.identity.name)
        if now is None or not isinstance(then, User) or now.disabled or now.password is None:
            return None
        if now is then:
            return proof.identity
        same = now.id == then.id and now.password_changed_at == then.password_changed_at
        return now.identity(METHOD) if same else None

    def close(self) -> None:
        """See `Source.close`."""
        self._threads.shutdown(wait=False, cancel_futures=True)
