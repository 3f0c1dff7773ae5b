"""`/api/v1/repositories/{repository}/explanation`."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from entrepot.api.v1.forms import ending
from entrepot.api.v1.operation import Call
from entrepot.api.v1.references import parse_given, unknown
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError, NameUnknownError
from entrepot.core.names import RepositoryName, Tag
from entrepot.services.explaining import (
    Because,
    Explanation,
    explain_digest,
    explain_repository,
    explain_tag,
)

Reference = Annotated[
    str,
    Meta(max_length=512, description="A tag or a digest; without one it is the whole repository."),
]


class BecauseView(Struct, frozen=True):
    """Something that keeps it, until when (null: as long as that is there), and what keeps that."""

    reason: str
    what: str
    until: datetime | None
    because: list["BecauseView"]

    @classmethod
    def of(cls, because: Because) -> "BecauseView":
        """Return what is shown of it."""
        above = [cls.of(each) for each in because.because]
        return cls(because.reason, str(because.what), ending(because.until), above)


class ExplanationView(Struct, frozen=True):
    """What keeps something; `size` are the bytes of the blobs that it needs, `freed` those that
    would be free in the end if it were deleted, because nothing else in the store needs them. With
    `partial` you may not read everything, and both are as if what you may read were all.
    """

    kind: str
    repository: str
    tag: str
    digest: str
    media_type: str
    manifests: int
    tags: int
    size: int
    freed: int
    kept: list[BecauseView]
    review_at: datetime | None
    review_event: str
    quarantined_at: datetime | None
    elsewhere: list[str]
    partial: bool

    @classmethod
    def of(cls, told: Explanation, *, partial: bool) -> "ExplanationView":
        """Return what is shown of an explanation."""
        return cls(
            kind=told.kind,
            repository=str(told.repository),
            tag=told.tag,
            digest=str(told.digest),
            media_type=told.media_type,
            manifests=told.manifests,
            tags=told.tags,
            size=told.size,
            freed=told.freed,
            kept=[BecauseView.of(because) for because in told.kept],
            review_at=ending(told.review_at),
            review_event=told.review_event,
            quarantined_at=ending(told.quarantined_at),
            elsewhere=[str(other) for other in told.elsewhere],
            partial=partial,
        )


async def explain(
    call: Call, repository: str, *, reference: Reference = "", blob: bool = False
) -> ExplanationView:
    """Say what keeps a tag, a manifest, a blob or the whole repository, until when, and how many
    bytes would be free in the end if it were deleted. Of a digest that a manifest has, `blob` asks
    for the blob.
    """
    name, readable = RepositoryName.parse(repository), await call.readable()
    # Until when something stays is a question of the time that the collector goes by.
    moment = await call.services.read_time()
    stores = replace(call.content(), now=lambda: moment)
    try:
        wanted = parse_given(reference) if reference else None
        if wanted is None:
            told = await explain_repository(stores, name, readable)
        elif isinstance(wanted, Tag):
            told = await explain_tag(stores, name, wanted, readable)
        else:
            told = await explain_digest(stores, name, Digest(wanted), readable, blob=blob)
    except (NameUnknownError, ManifestUnknownError, BlobUnknownError) as error:
        raise unknown(repository, reference) from error
    return ExplanationView.of(told, partial=readable is not None)
