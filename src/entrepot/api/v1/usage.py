"""The usage of `/api/v1`: who has how many bytes."""

from msgspec import Struct

from entrepot.api.v1.forms import PAGE, After, Limit, Page
from entrepot.api.v1.operation import Call
from entrepot.api.v1.references import unknown
from entrepot.core.decision import no_namespace, parse_namespace
from entrepot.core.errors import NameUnknownError, ObjectUnknownError
from entrepot.core.names import RepositoryName
from entrepot.services import usage
from entrepot.services.access import Visible


class UsageView(Struct, frozen=True):
    """Bytes of the blobs that a namespace, a repository or a tag has, each counted once. Nothing
    else has those that are `exclusive`; the others are `shared`. With `partial` you may not read
    everything, and all is as if what you may read were all.
    """

    name: str
    bytes: int
    exclusive: int
    shared: int
    partial: bool

    @classmethod
    def of(cls, name: str, used: tuple[int, int], readable: Visible | None) -> "UsageView":
        """Return what is shown of something with bytes, some of which are exclusive, as to somebody
        who may read so much.
        """
        size, exclusive = used
        return cls(name, size, exclusive, size - exclusive, readable is not None)


async def show_namespace_usage(call: Call, namespace: str) -> UsageView:
    """Say how many bytes a namespace has, with all below it."""
    name, readable = parse_namespace(namespace), await call.readable()
    measured = await usage.measure_namespace(call.content(), name, readable)
    if not any(measured):
        await _make_sure(call, name)
    return UsageView.of(name or "/", measured, readable)


async def list_repository_usage(
    call: Call, namespace: str, *, limit: Limit = PAGE, after: After = ""
) -> Page[UsageView]:
    """List the repositories of a namespace and all below it that you may read, by name, each with
    its bytes.
    """
    name, readable = parse_namespace(namespace), await call.readable()
    found = await usage.measure_repositories(
        call.content(), name, last=after, limit=limit + 1, readable=readable
    )
    if not found:
        await _make_sure(call, name)
    shown = [UsageView.of(str(place), measured, readable) for place, measured in found[:limit]]
    return Page(shown, shown[-1].name if len(found) > limit else None)


async def show_repository_usage(call: Call, repository: str) -> UsageView:
    """Say how many bytes a repository has."""
    name, readable = RepositoryName.parse(repository), await call.readable()
    try:
        measured = await usage.measure_repository(call.content(), name, readable)
    except NameUnknownError as error:
        raise unknown(name) from error
    return UsageView.of(str(name), measured, readable)


async def list_tag_usage(
    call: Call, repository: str, *, limit: Limit = PAGE, after: After = ""
) -> Page[UsageView]:
    """List the tags of a repository, each with the bytes of its image, those of everything that an
    index lists included.
    """
    name, readable = RepositoryName.parse(repository), await call.readable()
    try:
        found = await usage.measure_tags(
            call.content(), name, last=after, limit=limit + 1, readable=readable
        )
    except NameUnknownError as error:
        raise unknown(name) from error
    shown = [UsageView.of(str(tag), measured, readable) for tag, measured in found[:limit]]
    return Page(shown, shown[-1].name if len(found) > limit else None)


async def _make_sure(call: Call, namespace: str) -> None:
    """Raise `ObjectUnknownError` for a namespace that there is not, as for those who may not see
    it. A prefix that has something in it need be none.
    """
    if not await call.services.access.has_namespace(namespace):
        raise ObjectUnknownError({"reason": no_namespace(namespace)})
