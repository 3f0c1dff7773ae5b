"""The end points that say whether the registry is there and well."""

from entrepot.api.context import Context
from entrepot.api.http import Request, Response, empty_response, json_response
from entrepot.core.errors import EntrepotError, UnavailableError
from entrepot.services.maintenance import check_index
from entrepot.telemetry import CONTENT_TYPE


async def root(context: Context, request: Request) -> Response:  # noqa: ARG001
    """Answer that there is a server."""
    return empty_response(200, [(b"cache-control", b"no-cache")])


async def to_base(context: Context, request: Request) -> Response:
    """Lead `/v2` to `/v2/`."""
    return empty_response(301, [(b"location", context.links.to(request, "/v2/"))])


async def base(context: Context, request: Request) -> Response:  # noqa: ARG001
    """Answer that the registry speaks this API (distribution-spec 1.1.1, end-1)."""
    return json_response(200, {})


async def live(context: Context, request: Request) -> Response:  # noqa: ARG001
    """Answer that this process can answer."""
    return json_response(200, {})


async def ready(context: Context, request: Request) -> Response:  # noqa: ARG001
    """Answer whether requests would be served: the index can be read and no check fails."""
    failures = dict(context.health.failures())
    try:
        await check_index(context.stores)
    except EntrepotError as error:
        failures["index"] = str(error)
    if failures:
        raise UnavailableError(failures)
    return json_response(200, {})


async def metrics(context: Context, request: Request) -> Response:  # noqa: ARG001
    """Give the metrics of all workers."""
    body = context.metrics.render()
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
    ]
    return Response(200, headers, body)
