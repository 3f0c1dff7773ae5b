"""Getting what is damaged or missing here from other registries that have the same content.

What is fetched has the right digest before it takes the place of what is here: a blob comes as if
somebody pushed it, a manifest is compared before its row is written.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Final, Self

import structlog

from entrepot.core.audit import Actor, event
from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError
from entrepot.core.names import RepositoryName
from entrepot.db import Transaction
from entrepot.db.scrubbing import StoredPayload, replace_payload
from entrepot.services.audit import Notes
from entrepot.services.stores import Stores
from entrepot.services.uploads import Part, Uploads

if TYPE_CHECKING:
    from entrepot.upstream.client import Upstream

_log = structlog.get_logger("entrepot.repair")


class Repairs:
    """Fetches from the peers that `connect` gives, in their order; used within `async with`. Of a
    blob at most `most` repositories are asked for at each.
    """

    most: Final = 20

    def __init__(
        self, stores: Stores, uploads: Uploads, *, connect: "Callable[[], Sequence[Upstream]]"
    ) -> None:
        self._stores = stores
        self._uploads = uploads
        self._connect = connect
        self._peers: Sequence[Upstream] = ()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._peers = [await self._open.enter_async_context(peer) for peer in self._connect()]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._peers = ()
        await self._open.aclose()

    async def fetch_blob(
        self, digest: Digest, size: int, names: Sequence[RepositoryName], *, by: Actor
    ) -> str:
        """Have a blob here that one of these repositories needs; return the peer that had it, or
        nothing.
        """
        for peer in self._peers:
            for name in names:
                try:
                    await self._receive(peer, name, digest, size, by=by)
                except EntrepotError as error:
                    _log.info("a peer can't help", peer=peer.address.host, error=str(error))
                else:
                    return peer.address.host
        return ""

    async def _receive(
        self, peer: "Upstream", name: RepositoryName, digest: Digest, size: int, *, by: Actor
    ) -> None:
        upload = self._uploads.begin(name)
        complete = False
        try:
            async with aclosing(peer.blob(name, digest, size=size)) as body:
                await self._uploads.finish(upload, Part(body, None, size), digest, by=by)
            complete = True
        finally:
            if not complete:
                with suppress(EntrepotError):
                    await self._uploads.cancel(upload)

    async def fetch_manifest(self, manifest: StoredPayload, *, by: Actor) -> str:
        """Write the right bytes of a manifest into the index; return the peer that had them, or
        nothing.
        """

        async def work(transaction: Transaction, notes: Notes) -> bool:
            done = await replace_payload(transaction, manifest.id, payload)
            if done:
                repository, digest = manifest.name, manifest.digest
                notes.add(event("manifest.repair", repository=repository, digest=digest))
            return done

        for peer in self._peers:
            try:
                found = await peer.get_manifest(manifest.name, manifest.digest)
            except EntrepotError as error:
                _log.info("a peer can't help", peer=peer.address.host, error=str(error))
                continue
            if found is not None:
                payload = found.payload
                await self._stores.trail.write(work, by=by)
                return peer.address.host
        return ""
