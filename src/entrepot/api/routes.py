"""THE table of routes: every method and path, the action it needs, and what answers it."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from entrepot.api import blobs, discovery, manifests, probes, tokens, uploads
from entrepot.api.route import NAMES, REPOSITORY, Route
from entrepot.api.v1 import table as v1
from entrepot.core.access import Action

TABLE: Final = (
    Route("GET", "/", Action.PROBE, probes.root, "base"),
    Route("GET", "/livez", Action.PROBE, probes.live, "livez"),
    Route("GET", "/readyz", Action.PROBE, probes.ready, "readyz"),
    Route("GET", "/metrics", Action.OBSERVE, probes.metrics, "metrics"),
    Route("GET", "/auth/token", Action.LOGIN, tokens.get_token, "token"),
    Route("POST", "/auth/token", Action.LOGIN, tokens.post_token, "token"),
    Route("POST", "/auth/device", Action.LOGIN, tokens.post_device, "token"),
    Route("POST", "/auth/revoke", Action.LOGIN, tokens.post_revoke, "token"),
    Route("GET", "/auth/jwks", Action.LOGIN, tokens.get_keys, "token"),
    Route("GET", "/auth/certificates", Action.LOGIN, tokens.get_certificates, "token"),
    *v1.TABLE,
    Route("GET", "/v2", Action.PROBE, probes.to_base, "base"),
    Route("GET", "/v2/", Action.CONNECT, probes.base, "base"),
    Route("GET", "/v2/_catalog", Action.LIST, discovery.get_catalog, "catalog"),
    Route("GET", "/v2/{name}/tags/list", Action.PULL, discovery.get_tags, "tags"),
    Route(
        "GET", "/v2/{name}/referrers/{digest}", Action.PULL, discovery.get_referrers, "referrers"
    ),
    Route(
        "GET", "/v2/{name}/manifests/{reference}", Action.PULL, manifests.get_manifest, "manifest"
    ),
    Route(
        "PUT", "/v2/{name}/manifests/{reference}", Action.PUSH, manifests.put_manifest, "manifest"
    ),
    Route(
        "DELETE",
        "/v2/{name}/manifests/{reference}",
        Action.DELETE,
        manifests.delete_manifest,
        "manifest",
    ),
    Route("HEAD", "/v2/{name}/blobs/{digest}", Action.PULL, blobs.head_blob, "blob"),
    Route("GET", "/v2/{name}/blobs/{digest}", Action.PULL, blobs.get_blob, "blob"),
    Route("DELETE", "/v2/{name}/blobs/{digest}", Action.DELETE, blobs.delete_blob, "blob"),
    Route("POST", "/v2/{name}/blobs/uploads/", Action.PUSH, uploads.post_upload, "blob_upload"),
    Route("POST", "/v2/{name}/blobs/uploads", Action.PUSH, uploads.post_upload, "blob_upload"),
    Route(
        "GET",
        "/v2/{name}/blobs/uploads/{upload}",
        Action.PUSH,
        uploads.get_upload,
        "blob_upload_chunk",
    ),
    Route(
        "PATCH",
        "/v2/{name}/blobs/uploads/{upload}",
        Action.PUSH,
        uploads.patch_upload,
        "blob_upload_chunk",
    ),
    Route(
        "PUT",
        "/v2/{name}/blobs/uploads/{upload}",
        Action.PUSH,
        uploads.put_upload,
        "blob_upload_chunk",
    ),
    Route(
        "DELETE",
        "/v2/{name}/blobs/uploads/{upload}",
        Action.PUSH,
        uploads.delete_upload,
        "blob_upload_chunk",
    ),
)


_PROBES: Final = ("/livez", "/readyz", "/metrics")
"""Found without the prefix, too: whoever asks for them asks this server and no proxy."""


class Match(NamedTuple):
    """The routes of a path by method, and the fields that the path holds."""

    routes: dict[str, Route]
    fields: tuple[str, ...]


class Router:
    """Finds the line of the table for a path that begins with `prefix` ("" or "/…").

    Paths with a repository are told apart by their last segments, so that a repository may be
    called `a/manifests/b` and a tag `list`. Of the other paths with fields, which are those of
    `/api/v1`, the first in the table counts that fits.
    """

    def __init__(self, table: tuple[Route, ...] = TABLE, *, prefix: str = "") -> None:
        self._prefix = prefix
        self._fixed: dict[str, dict[str, Route]] = {}
        self._tails: dict[tuple[str | None, ...], dict[str, Route]] = {}
        self._forms: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = {}
        for route in table:
            if route.path.startswith(REPOSITORY):
                routes = self._tails.setdefault(_tail(route.path), {})
            elif "{" in route.path:
                _, routes = self._forms.setdefault(route.path, (_form(route.path), {}))
            else:
                routes = self._fixed.setdefault(route.path, {})
            routes[route.method] = route
        forms = (routes for _, routes in self._forms.values())
        for routes in (*self._fixed.values(), *self._tails.values(), *forms):
            if "GET" in routes:
                routes.setdefault("HEAD", routes["GET"])
        self.match = lru_cache(maxsize=4096)(self._match)
        """Return the routes for a path, or None if there is none."""

    def _match(self, path: str) -> Match | None:
        if path in _PROBES and path in self._fixed:
            return Match(self._fixed[path], ())
        if not path.startswith(self._prefix):
            return None
        path = path[len(self._prefix) :]
        if path in self._fixed:
            return Match(self._fixed[path], ())
        if not path.startswith("/v2/"):
            return self._find_form(path)
        segments = path.removeprefix("/v2/").split("/")
        for length in (3, 2):
            name, tail = "/".join(segments[:-length]), segments[-length:]
            if name:
                found = self._find(name, tail)
                if found is not None:
                    return found
        return None

    def _find_form(self, path: str) -> Match | None:
        for form, routes in self._forms.values():
            found = form.fullmatch(path)
            if found is not None:
                return Match(routes, found.groups())
        return None

    def _find(self, name: str, tail: list[str]) -> Match | None:
        """Look for routes that end in these very segments, or in a field in place of the last."""
        routes = self._tails.get(tuple(tail))
        if routes is not None:
            return Match(routes, (name,))
        routes = self._tails.get((*tail[:-1], None)) if tail[-1] else None
        return Match(routes, (name, tail[-1])) if routes is not None else None


def _tail(path: str) -> tuple[str | None, ...]:
    """Return the segments behind the repository, with None for a field."""
    segments = path.removeprefix(REPOSITORY).split("/")
    return tuple(None if segment.startswith("{") else segment for segment in segments)


def _form(path: str) -> re.Pattern[str]:
    """Return the form of a path with fields."""
    segments = [
        ("(.+)" if segment in NAMES else "([^/]+)") if segment[:1] == "{" else re.escape(segment)
        for segment in path.split("/")
    ]
    return re.compile("/".join(segments), re.DOTALL)
