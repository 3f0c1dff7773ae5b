"""Asking another registry: what the tests of the client have in common."""

from __future__ import annotations

import base64
from collections.abc import Callable

from entrepot.core.names import RepositoryName, Tag
from entrepot.upstream import Credentials, UpstreamAddress, UpstreamOptions
from entrepot.upstream.client import Upstream
from tests.upstream.scripted import Heard, Reply, Site, challenge
from tests.wire.images import image

NAME = RepositoryName("team/app")
TAG = Tag("v1")
PASSWORD = "s3cret-of-the-test"
LOGIN = Credentials("ann", PASSWORD)
BASIC = "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
IMAGE = image("upstream client")
MANIFEST = "/v2/team/app/manifests/v1"


def client(
    site: Site | str, *, credentials: Credentials | None = None, **options: object
) -> Upstream:
    url = site if isinstance(site, str) else site.url
    given = UpstreamOptions(credentials=credentials, pause=0.01, timeout=10, **options)  # type: ignore[arg-type]
    return Upstream(UpstreamAddress.parse(url), given)


def manifest_reply(heard: Heard) -> Reply:
    made = IMAGE.manifest
    headers = {"Docker-Content-Digest": made.digest, "Content-Type": made.media_type}
    return Reply(200, made.data, headers)


def guarded(wanted: str, asked: str, then: Callable[[Heard], Reply]) -> Callable[[Heard], Reply]:
    """Let in who sends `wanted`; ask others for it."""
    return lambda heard: then(heard) if heard.authorization == wanted else challenge(asked)
