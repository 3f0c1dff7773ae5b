"""Lists over HTTP: the catalog, tags and referrers (distribution-spec 1.1.1, end-8 and end-12)."""

from urllib.parse import urlencode

from entrepot.api.context import Context
from entrepot.api.http import Headers, Request, Response, json_response
from entrepot.core.access import Action
from entrepot.core.digest import Digest
from entrepot.core.errors import PaginationInvalidError
from entrepot.core.manifest import OCI_INDEX
from entrepot.core.names import RepositoryName
from entrepot.services import discovery
from entrepot.services.discovery import Page

CATALOG_PAGE = 100
"""Repositories on a page of the catalog when the client asks for no number."""


async def get_catalog(context: Context, request: Request) -> Response:
    """List the repositories."""
    asked = _number(request)
    most = context.limits.catalog_page
    if asked is not None and asked > most:
        raise PaginationInvalidError({"n": asked, "most": most})
    limit = min(CATALOG_PAGE, most) if asked is None else asked
    last = request.parameter("last") or ""
    visible = await context.access.visible(request.identity, Action.LIST)
    page = await discovery.list_repositories(
        context.stores, last=last, limit=limit, visible=visible
    )
    headers = _next(context, "/v2/_catalog", page, limit)
    return json_response(200, {"repositories": page.names}, headers=headers)


async def get_tags(context: Context, request: Request, name: str) -> Response:
    """List the tags of a repository: all of them, unless the client asks for a page."""
    repository = RepositoryName.parse(name)
    asked = _number(request)
    limit = None if asked is None else min(asked, context.limits.tags_page)
    last = request.parameter("last") or ""
    page = await discovery.list_tags(context.stores, repository, last=last, limit=limit)
    headers = _next(context, f"/v2/{name}/tags/list", page, limit)
    return json_response(200, {"name": name, "tags": page.names}, headers=headers)


async def get_referrers(context: Context, request: Request, name: str, digest: str) -> Response:
    """List the manifests that refer to a subject, which need not exist."""
    repository = RepositoryName.parse(name)
    artifact_type = request.parameter("artifactType")
    found = await discovery.find_referrers(
        context.stores, repository, Digest.parse(digest), artifact_type=artifact_type
    )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
    headers = [(b"oci-filters-applied", b"artifactType")] if artifact_type else []
    return json_response(200, index, headers=headers, kind=OCI_INDEX.encode())


def _number(request: Request) -> int | None:
    """Return how many entries the client asks for."""
    text = request.parameter("n")
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise PaginationInvalidError({"n": text[:32], "expected": "a number from 0"})
    return int(text)


def _next(context: Context, path: str, page: Page, limit: int | None) -> Headers:
    if not page.more or not page.names:
        return []
    query = urlencode({"last": page.names[-1], "n": limit})
    return [(b"link", context.links.following(f"{path}?{query}"))]
