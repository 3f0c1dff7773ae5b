"""Bringing tags and manifests back from the trash, in one transaction of a repository."""

from dataclasses import dataclass, field

import msgspec

from entrepot.core.audit import Actor, event
from entrepot.core.digest import Digest
from entrepot.core.manifest import Manifest, is_companion_tag, parse
from entrepot.core.undo import Trashed, UndoConflictError, UndoError
from entrepot.db import Transaction
from entrepot.db.blobs import link_blob
from entrepot.db.counting import find_home
from entrepot.db.manifests import NewManifest, add_manifest, find_manifest_id
from entrepot.db.reviews import review_manifest
from entrepot.db.tags import find_tag, set_tag
from entrepot.db.trash_contents import (
    find_trashed,
    find_trashed_manifest,
    list_children,
    list_missing,
    list_thrown_with,
    take_out,
)
from entrepot.services.audit import Notes
from entrepot.services.protection import check_may_go
from entrepot.services.stores import Stores


@dataclass
class Restoring:
    """What is brought back by `by`. With `force` a tag that was set again is moved back; `left` are
    tags that were not brought back with their manifests because they are there again.
    """

    stores: Stores
    transaction: Transaction
    notes: Notes
    by: Actor
    now: int
    force: bool = False
    along: bool = True
    """Whether what was deleted with a manifest because it belongs to it comes back with it; it need
    not be looked for if it is asked for as well."""
    tagged: bool = True
    """Whether manifests come back with their tags; those that are made of digests always do."""
    manifests: int = 0
    tags: int = 0
    left: list[str] = field(default_factory=list)

    async def restore(self, number: int) -> None:
        """Bring back what has this id in the trash with what belongs to it; nothing happens if it
        isn't there any more.

        Raises:
            UndoConflictError: the tag points at something else by now.
            UndoError: something that it needs is gone.
        """
        row = await find_trashed(self.transaction, number)
        if row is None:
            return
        if row.kind == "manifest":
            await self.restore_manifest(row)
        else:
            await self.restore_tag(row)

    async def restore_manifest(self, row: Trashed) -> int:
        """Bring back a manifest with its children, if they were deleted as well, and with all that
        was deleted because it belongs to it; return the id of its row.
        """
        found = await find_manifest_id(self.transaction, row.repository_id, row.digest)
        if found is None:
            found = await self._put_back(row)
            self.manifests += 1
            told = event(
                "manifest.restore",
                repository=row.repository,
                digest=row.digest,
                operation=row.operation,
            )
            self.notes.add(told)
        belonging = await list_thrown_with(self.transaction, row) if self.along else ()
        await take_out(self.transaction, row.id)
        for each in belonging:
            if each.tag and not (self.tagged or is_companion_tag(each.tag)):
                continue
            if await self._is_elsewhere(each):
                self.left.append(f"{each.repository}:{each.tag}")
            else:
                await self.restore(each.id)
        return found

    async def _is_elsewhere(self, row: Trashed) -> bool:
        """Tell whether it is a tag that was set again, at something else."""
        if row.kind != "tag":
            return False
        current = await find_tag(self.transaction, row.repository_id, row.tag)
        return current is not None and current[1] != row.digest

    async def restore_tag(self, row: Trashed) -> None:
        """Bring back a tag, with its manifest if that was deleted as well. Raises DeniedError, too,
        if it may not be moved.
        """
        current = await find_tag(self.transaction, row.repository_id, row.tag)
        if current is not None and current[1] != row.digest and not self.force:
            raise UndoConflictError(
                f"the tag {row.repository}:{row.tag} is there again and points at {current[1]}; "
                "--force moves it back"
            )
        await take_out(self.transaction, row.id)
        manifest = await self.find_or_restore(row.repository_id, row.repository, row.digest)
        if current is not None:
            if current[1] == row.digest:
                return
            await check_may_go(
                self.transaction,
                row.repository,
                row.repository_id,
                tags=[row.tag],
                manifests=[current[1]],
                now=self.now,
            )
        await set_tag(
            self.transaction,
            await find_home(self.transaction, row.repository_id),
            row.tag,
            manifest=(manifest, row.digest),
            actor=self.by.name,
            now=self.now,
            review_after=self.now + self.stores.keeping.deleted,
            created_at=row.created_at,
        )
        self.tags += 1
        told = event(
            "tag.restore",
            repository=row.repository,
            tag=row.tag,
            digest=row.digest,
            previous=current[1] if current else None,
            operation=row.operation,
        )
        self.notes.add(told)

    async def find_or_restore(self, repository: int, name: str, digest: Digest) -> int:
        """Return the id of a manifest that is there, or in the trash.

        Raises:
            UndoError: it is neither.
        """
        found = await find_manifest_id(self.transaction, repository, digest)
        if found is not None:
            return found
        thrown = await find_trashed_manifest(self.transaction, repository, digest)
        if thrown is None:
            raise UndoError(f"{name}@{digest} is gone for good: push it again")
        return await self.restore_manifest(thrown)

    async def _put_back(self, row: Trashed) -> int:
        payload = row.payload or b""
        manifest = parse(payload, content_type=row.media_type)
        children = await self._find_children(row, manifest)
        annotations = msgspec.json.encode(manifest.annotations) if manifest.annotations else None
        new = NewManifest(row.digest, manifest, annotations, payload, row.created_by)
        home = await find_home(self.transaction, row.repository_id)
        stored = await add_manifest(
            self.transaction, home, new, children=children, now=row.created_at
        )
        after = self.now + self.stores.keeping.deleted
        await review_manifest(self.transaction, stored, after=after, event="trash.restored")
        return stored

    async def _find_children(self, row: Trashed, manifest: Manifest) -> list[int]:
        """Return the ids of an index's children, which are brought back if need be; make sure that
        all blobs are there, and linked again if they were deleted as well.
        """
        home = await find_home(self.transaction, row.repository_id)
        listed = {child.digest for child in manifest.children}
        missing = await list_missing(self.transaction, row)
        for digest in missing:
            if await link_blob(self.transaction, home, digest, now=self.now):
                continue
            thrown = None
            if digest in listed:
                thrown = await find_trashed_manifest(self.transaction, row.repository_id, digest)
            if thrown is None:
                raise UndoError(
                    f"{row.repository}@{row.digest} needs {digest}, which is gone for good: push "
                    "it again"
                )
            await self.restore_manifest(thrown)
        found = await list_children(self.transaction, row)
        return [number for digest, number in found.items() if digest in listed]
