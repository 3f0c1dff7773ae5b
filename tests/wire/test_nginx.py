"""A real nginx in front that sends blobs itself, by X-Accel-Redirect (`http.accel: nginx`)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.clients.provide import path_of
from tests.conformance.answers import assert_error, assert_status, location_of
from tests.conformance.pushing import push, push_by_chunks, push_by_post_and_put, push_by_stream
from tests.footing import open_footing
from tests.servers import Registry, free_port, wait_until
from tests.wire.images import OCTETS, Content, image, random_bytes

pytestmark = pytest.mark.chosen_kind(
    "files, with each index: nginx sends nothing of an object store"
)

MIB = 1 << 20
SMALL = Content(OCTETS, random_bytes(3000, "nginx small"))
LARGE = Content(OCTETS, random_bytes(5 * MIB, "nginx large"), "sha512")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Site:
    """A registry, and nginx in front of it at `url`."""

    registry: Registry
    url: str


def nginx_configuration(place: Path, *, port: int, registry: Registry) -> str:
    temporary = "\n".join(f"{name}_temp_path {place}/{name};" for name in TEMPORARY)
    blobs = registry.root / "docker" / "registry" / "v2" / "blobs"
    return f"""
user root;
daemon off;
worker_processes 1;
pid {place}/pid;
error_log {place}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    default_type application/octet-stream;
    {temporary}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            proxy_pass http://{registry.host};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
        }}
        location /_blobs/ {{
            internal;
            alias {blobs}/;
            # Of the registry's headers nginx keeps only some; these are for clients, too.
            etag off;
            add_header Docker-Content-Digest $upstream_http_docker_content_digest;
            add_header ETag $upstream_http_etag;
        }}
    }}
}}
"""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    place, port = tmp_path_factory.mktemp("nginx"), free_port()
    with (
        open_footing(request, request.param) as footing,
        footing.start(place / "registry", config={"http": {"accel": "nginx"}}) as registry,
    ):
        file = place / "nginx.conf"
        file.write_text(nginx_configuration(place, port=port, registry=registry))
        command = [path_of("nginx"), "-p", str(place), "-c", str(file), "-e", f"{place}/error.log"]
        nginx = subprocess.Popen(command)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(url), what="nginx")
            yield Site(registry, url)
        finally:
            nginx.terminate()
            nginx.wait(60)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large sha512"])
def blob(request: pytest.FixtureRequest, http: httpx.Client) -> Content:
    found: Content = request.param
    assert_status(push_by_post_and_put(http, "nginx", found), 201)
    return found


def test_nginx_sends_the_bytes(site: Site, http: httpx.Client, blob: Content) -> None:
    """The registry only names the file; nginx sends it with the registry's headers."""
    path = f"/v2/nginx/blobs/{blob.digest}"
    named = httpx.get(f"{site.registry.url}{path}")
    assert named.content == b""
    assert named.headers["X-Accel-Redirect"].startswith("/_blobs/")
    answer = http.get(path)
    assert_status(answer, 200)
    assert answer.content == blob.data
    assert answer.headers["Docker-Content-Digest"] == blob.digest
    assert answer.headers["Content-Length"] == str(len(blob.data))
    assert answer.headers["Content-Type"] == OCTETS
    assert "bytes" in answer.headers["Accept-Ranges"]
    assert answer.headers["ETag"] == f'"{blob.digest}"'
    assert answer.headers["Cache-Control"] == "max-age=31536000"
    assert "X-Accel-Redirect" not in answer.headers
    head = http.head(path)
    assert_status(head, 200)
    assert head.headers["Content-Length"] == str(len(blob.data))
    assert head.headers["Docker-Content-Digest"] == blob.digest


@pytest.mark.parametrize(
    "asked, start, stop",
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None)],
)
def test_parts(http: httpx.Client, blob: Content, asked: str, start: int, stop: int | None) -> None:
    answer = http.get(f"/v2/nginx/blobs/{blob.digest}", headers={"Range": asked})
    assert_status(answer, 206)
    assert answer.content == blob.data[start:stop]
    assert answer.headers["Content-Range"].endswith(f"/{len(blob.data)}")
    assert answer.headers["Docker-Content-Digest"] == blob.digest
    beyond = http.get(f"/v2/nginx/blobs/{blob.digest}", headers={"Range": "bytes=99999999-"})
    assert_status(beyond, 416)


def test_what_is_not_the_repositorys_stays_hidden(
    site: Site, http: httpx.Client, blob: Content
) -> None:
    """nginx's location can't be asked directly, and another repository has no such blob."""
    named = httpx.get(f"{site.registry.url}/v2/nginx/blobs/{blob.digest}")
    assert http.get(named.headers["X-Accel-Redirect"]).status_code == 404
    assert_error(http.get(f"/v2/other/blobs/{blob.digest}"), 404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("form", [push_by_stream, push_by_chunks, push_by_post_and_put])
def test_pushing_through_nginx(http: httpx.Client, form: object) -> None:
    assert callable(form)
    blob = Content(OCTETS, random_bytes(MIB, repr(form)))
    pushed = form(http, "nginx/push", blob)
    assert_status(pushed, 201)
    assert location_of(pushed).startswith(str(http.base_url))
    assert http.get(f"/v2/nginx/push/blobs/{blob.digest}").content == blob.data


def test_an_image_through_nginx(http: httpx.Client) -> None:
    made = image("nginx")
    push(http, "nginx/image", made, tag="latest")
    assert http.get("/v2/nginx/image/manifests/latest").content == made.manifest.data
    for blob in made.blobs:
        assert http.get(f"/v2/nginx/image/blobs/{blob.digest}").content == blob.data
