"""`/api/v1/deletions`: tags, images, repositories, and all that is in a namespace."""

from entrepot.api.v1.forms_deletions import (
    DeletedView,
    DeletionMake,
    DeletionView,
    NamespaceDeletionMake,
)
from entrepot.api.v1.operation import Call
from entrepot.api.v1.references import parse_given, unknown
from entrepot.core.decision import AccessError, parse_namespace
from entrepot.core.errors import (
    ConflictError,
    ManifestUnknownError,
    NameUnknownError,
    RequestInvalidError,
    UnsupportedError,
)
from entrepot.core.names import RepositoryName
from entrepot.services import deletion as service
from entrepot.services.delete import delete_reference, new_operation


async def preview_deletion(call: Call, repository: str, *, reference: str = "") -> DeletionView:
    """Say what deleting a tag, an image with what belongs to it, or a whole repository would do."""
    stores, name = call.content(), RepositoryName.parse(repository)
    readable = await call.readable()
    try:
        if reference:
            found = await service.preview_reference(stores, name, parse_given(reference), readable)
        else:
            found = await service.preview_repository(stores, name, readable)
    except (ManifestUnknownError, NameUnknownError) as error:
        raise unknown(repository, reference) from error
    return DeletionView.of(found, partial=readable is not None)


async def delete_content(call: Call, repository: str, body: DeletionMake) -> DeletedView:
    """Delete a tag alone, an image with what belongs to it, or a whole repository, or as much of
    it as one step does. It can be restored from the trash.
    """
    if bool(body.reference) is body.whole or (body.reference and body.operation):
        reason = "say what: a reference alone, or that the whole repository goes"
        raise RequestInvalidError({"in": "body", "reason": reason})
    stores, name, operation = call.content(), RepositoryName.parse(repository), body.operation
    try:
        if body.reference:
            done = await delete_reference(stores, name, parse_given(body.reference), by=call.actor)
            return DeletedView(done.operation, done.manifests, len(done.tags), left=False)
        operation = operation or new_operation()
        step = await service.delete_repository(stores, name, operation=operation, by=call.actor)
    except (ManifestUnknownError, NameUnknownError) as error:
        raise unknown(repository, body.reference) from error
    except UnsupportedError as error:
        raise ConflictError(error.detail) from error
    return DeletedView(operation, *step)


async def preview_namespace_deletion(call: Call, namespace: str) -> DeletionView:
    """Say what deleting a namespace with all repositories in it and below it would do."""
    obstacles, readable = (
        await call.services.namespaces.find_obstacles(namespace),
        await call.readable(),
    )
    place = parse_namespace(namespace)
    found = await service.preview_namespace(call.content(), place, readable)
    found.refused += obstacles
    return DeletionView.of(found, partial=readable is not None)


async def delete_namespace_content(
    call: Call, namespace: str, body: NamespaceDeletionMake
) -> DeletedView:
    """Delete all repositories in a namespace and below it, or as much as one step does. They can be
    restored from the trash; the namespace itself stays.
    """
    place = parse_namespace(namespace)
    if not body.whole or not place:
        raise AccessError("the root can't be emptied, and `whole` must be true")
    await call.services.namespaces.find(namespace)
    operation = body.operation or new_operation()
    try:
        step = await service.delete_content(
            call.content(), place, operation=operation, by=call.actor
        )
    except UnsupportedError as error:
        raise ConflictError(error.detail) from error
    return DeletedView(operation, *step)
