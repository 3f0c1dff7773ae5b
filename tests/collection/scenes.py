"""What may be pushed, and a registry at whose index and store tasks stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from entrepot.core.digest import Digest
from entrepot.core.retention import RETENTION
from entrepot.core.retention_policy import read_document
from entrepot.core.work import FORMS
from entrepot.db import Database
from entrepot.db.address import IndexAddress
from entrepot.db.opening import open_index
from entrepot.services.collecting import Collector
from entrepot.services.limits import Limits
from entrepot.services.retaining import Retainer
from entrepot.services.retention import Policies
from entrepot.services.runs import Runs
from entrepot.services.stores import Stores
from entrepot.services.timekeeping import Clock
from entrepot.services.trash import Selection, list_trash
from entrepot.services.uploads import Uploads
from entrepot.services.work import Runner
from tests.collection.oracle import Place, World
from tests.collection.sites import Clocks, Site
from tests.collection.turnstiles import StoppingIndex, StoppingStore, Turnstile
from tests.retention.conftest import ended
from tests.sqlite import make_index
from tests.wire import images

# What may be pushed -----------------------------------------------------------------------------

_LAYERS = [images.layer(f"layer {number}") for number in range(3)]


def _image(number: int) -> images.Image:
    """Neighbours share a layer."""
    layers = [_LAYERS[number % 3], _LAYERS[(number + 1) % 3]]
    config = images.config(layers, author=f"image {number}")
    return images.Image(images.manifest(config, layers), (config, *layers))


_IMAGES = [_image(number) for number in range(3)]
_INDEXES = [images.index(_IMAGES[:2]), images.index(_IMAGES[1:])]
_NESTED = images.index([_INDEXES[0]])
_SIGNATURE = images.artifact("signature", subject=_IMAGES[0].manifest)
_OF_SIGNATURE = images.artifact("of the signature", subject=_SIGNATURE.manifest)
_OF_INDEX = images.artifact("of the index", subject=_INDEXES[0].manifest)
_OF_ITS_OWN = images.index([_IMAGES[2]], fields={"subject": _IMAGES[2].manifest.descriptor()})
"""It lists its own subject."""
COMPANION = images.artifact("companion")
COMPANIONS_SUBJECT: Final = _IMAGES[0].digest
COMPANION_TAG: Final = f"{images.fallback_tag(COMPANIONS_SUBJECT)}.sig"
EVERY: Final = (
    *_IMAGES,
    *_INDEXES,
    _NESTED,
    _SIGNATURE,
    _OF_SIGNATURE,
    _OF_INDEX,
    _OF_ITS_OWN,
    COMPANION,
)
WORLD: Final = World(
    EVERY,
    {
        _SIGNATURE.digest: _IMAGES[0].digest,
        _OF_SIGNATURE.digest: _SIGNATURE.digest,
        _OF_INDEX.digest: _INDEXES[0].digest,
        _OF_ITS_OWN.digest: _IMAGES[2].digest,
    },
)


class Unlimited(Limits):
    """What is used is counted, but nothing refused, and no clock decides when that is asked."""

    async def over(self, *_: object) -> tuple[()]:
        return ()


@dataclass
class Client:
    """A request that is being answered: what must hold for it to succeed, as long as it does, and
    what follows if it does.
    """

    task: asyncio.Task[Any]
    began: int
    needs: set[Place]
    tag: Place | None
    then: Callable[..., None]
    may_fail: tuple[type[Exception], ...]
    sure: bool = False


class Scene:
    """The registry, its clocks, and the processes that work on it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "index.sqlite3"
        make_index(path)
        self.clocks = Clocks()
        self.gate = Turnstile(lambda: self.clocks.ran)
        self.index = open_index(IndexAddress(f"sqlite://{path}"), durable=False)
        self.site = Site(self.index, folder, self.clocks)
        self.store = StoppingStore(self.gate, now=self.clocks)
        self.site.memory = self.store
        self.plain = self.site.stores = self._stores(self.index)
        self.stopping = self._stores(StoppingIndex(self.index, self.gate))
        self.site.uploads = Uploads(self.plain, key=b"key", pauses=(0,) * 8)
        self.uploads = Uploads(self.stopping, key=b"key", pauses=(0,) * 8)
        self.number = 0

    def _stores(self, index: Database) -> Stores:
        return replace(self.site.stores_on(index, self.store), limits=Unlimited())

    def collector(self) -> Collector:
        """Another process that collects."""
        self.number += 1
        return self.site.collect_as(f"collector {self.number}", stores=self.stopping, batch=3)

    async def retain(self, name: str, rule: dict[str, object]) -> None:
        """Let go, once, of what a rule does not keep in a repository."""
        plain, now = self.plain, self.clocks
        policies = Policies(self.index, now=now, trail=plain.trail)
        document = read_document({"rules": [rule | {"repositories": name}], "allow_empty": True})
        await policies.set("/", document, by="test")
        runs = Runs(self.index, now=now, trail=plain.trail, kinds=FORMS)
        asked = await runs.request(RETENTION, {}, by="test")
        does = Retainer(plain, tell_time=Clock(self.index, plain.keeping, now.read).tell_time).run
        kinds = {RETENTION: does}
        await ended(Runner(self.index, now=now, trail=plain.trail, kinds=kinds, node="test"))
        run = await runs.find(asked.id)
        assert (run.outcome, run.report["stopped"]) == ("success", {})

    # What there is ------------------------------------------------------------------------------

    async def manifests(self) -> set[Place]:
        rows = await self.index.fetch_all(
            "SELECT name, digest FROM manifests "
            "JOIN repositories ON repositories.id = repository_id",
            {},
        )
        return {(row[0], Digest.unpack(row[1])) for row in rows}

    async def links(self) -> set[Place]:
        rows = await self.index.fetch_all(
            "SELECT name, digest FROM repository_blobs "
            "JOIN repositories ON repositories.id = repository_id",
            {},
        )
        return {(row[0], Digest.unpack(row[1])) for row in rows}

    async def tags(self) -> dict[Place, str]:
        rows = await self.index.fetch_all(
            "SELECT repositories.name, tags.name, digest FROM tags "
            "JOIN manifests ON manifests.id = manifest_id "
            "JOIN repositories ON repositories.id = tags.repository_id",
            {},
        )
        return {(row[0], row[1]): Digest.unpack(row[2]) for row in rows}

    async def doomed(self) -> set[str]:
        """Blobs whose objects may be deleted at any moment."""
        rows = await self.index.fetch_all(
            "SELECT digest FROM doomed_blobs WHERE deleted_at IS NULL", {}
        )
        return {Digest.unpack(row[0]) for row in rows}

    async def thrown(self) -> dict[str, tuple[dict[str, str], set[str]]]:
        """What is in the trash: by operation where tags pointed, and manifests."""
        found: dict[str, tuple[dict[str, str], set[str]]] = {}
        for row in await list_trash(self.index, Selection(), limit=10_000):
            tags, manifests = found.setdefault(row.operation, ({}, set()))
            if row.kind == "tag":
                tags[row.tag] = row.digest
            else:
                manifests.add(row.digest)
        return found
