"""What `/api/v1/deletions` takes and gives."""

import dataclasses
from typing import Annotated

from msgspec import Meta, Struct

from entrepot.api.v1.forms import Form, Text
from entrepot.services.deletion import Preview

Operation = Annotated[str, Meta(pattern="^([0-9a-f]{16})?$", max_length=16)]


class DeletionView(Struct, frozen=True):
    """What a deletion would do: how much would go, how many bytes would be free in the end, and why
    it would be refused. Of a single tag or image: what goes, and what stays though it belongs to
    it. With `partial` you may not read everything, and `freed` is as if what you may read were all.
    """

    repositories: int
    manifests: int
    tags: int
    freed: int
    refused: list[str]
    going: list[str]
    staying: list[str]
    partial: bool

    @classmethod
    def of(cls, found: Preview, *, partial: bool) -> "DeletionView":
        """Return what is shown of a preview."""
        return cls(**dataclasses.asdict(found), partial=partial)


class DeletionMake(Form, frozen=True):
    """What is deleted of a repository: a tag alone, an image by its digest with all that belongs to
    it, or, only if `whole` says so, everything. `operation` goes on with a deletion that was not
    done in one step.
    """

    reference: Text = ""
    whole: bool = False
    operation: Operation = ""


class NamespaceDeletionMake(Form, frozen=True):
    """That all repositories in a namespace and below it are deleted: `whole` must be true."""

    whole: bool
    operation: Operation = ""


class DeletedView(Struct, frozen=True):
    """How much a step deleted. It is in the trash as one `operation`. If something is `left`, the
    same must be asked for again with that operation.
    """

    operation: str
    manifests: int
    tags: int
    left: bool
