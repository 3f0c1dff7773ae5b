"""Copying from a running registry, beside the servers: a configuration becomes the work."""

import asyncio
from collections.abc import Callable
from secrets import token_bytes
from typing import Final

import uvloop

from entrepot.app import opened, prepare
from entrepot.app.runtime import manifest_rules
from entrepot.config import Config, ConfigError, Problem
from entrepot.services.copying import Copier, Counts, Failure, Selection
from entrepot.services.uploads import Uploads
from entrepot.upstream import UpstreamAddress, UpstreamOptions
from entrepot.upstream.client import Upstream

_TELL_EVERY: Final = 0.5

Tell = Callable[[Counts | Failure], None]
"""Told what was done so far, now and then, and of every failure."""


def copy(
    config: Config,
    address: UpstreamAddress,
    options: UpstreamOptions,
    *,
    selection: Selection,
    jobs: int,
    tell: Tell,
) -> Counts:
    """Copy what is selected of another registry into this one. Servers may run meanwhile.

    Raises:
        EntrepotError: it can't begin, or go on; what is done is kept.
    """
    if config.storage.driver == "inmemory":
        raise ConfigError([Problem("storage.inmemory: nothing that is copied there would remain")])
    if config.storage.maintenance.readonly.enabled:
        raise ConfigError(
            [Problem("storage.maintenance.readonly: nothing can be copied into this registry")]
        )
    prepare(config)
    return uvloop.run(_copy(config, Upstream(address, options), selection, jobs, tell))


async def _copy(
    config: Config, upstream: Upstream, selection: Selection, jobs: int, tell: Tell
) -> Counts:
    async with opened(config) as (stores, _), upstream:
        copier = Copier(
            stores,
            upstream,
            uploads=Uploads(stores, key=token_bytes(32)),
            rules=manifest_rules(config),
            selection=selection,
            jobs=jobs,
            failed=tell,
        )
        work = asyncio.ensure_future(copier.run())
        try:
            while not (await asyncio.wait({work}, timeout=_TELL_EVERY))[0]:
                tell(copier.counts)
            await work
        finally:
            work.cancel()
            await asyncio.wait({work})
        return copier.counts
