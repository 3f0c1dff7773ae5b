"""What configuration changes about the answers, at real servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.answers import (
    assert_error,
    assert_status,
    location_of,
    next_page,
    query_of,
)
from tests.conformance.pushing import (
    OCTET_STREAM,
    finish,
    push,
    push_blob,
    push_by_single_post,
    put_manifest,
    send_chunk,
    start_upload,
)
from tests.footing import Footing
from tests.servers import Registry, wait_until
from tests.unit.identity.credentials import hash_of, write_users
from tests.uploads import uploads_of
from tests.wire.images import OCTETS, Content, image

IMAGE = image("configured")
BLOB = Content(OCTETS, b"configured")


@contextmanager
def configured(
    footing: Footing, tmp_path: Path, config: dict[str, Any]
) -> Iterator[tuple[Registry, httpx.Client]]:
    """A registry with this configuration, and a client of it."""
    with (
        footing.start(tmp_path / "registry", config=config) as registry,
        httpx.Client(base_url=registry.url, timeout=30) as http,
    ):
        yield registry, http


# Addresses that the registry hands out ----------------------------------------------------------


def locations(http: httpx.Client, repo: str, **headers: str) -> list[str]:
    """The Location of every kind of answer that has one."""
    http.headers.update(headers)
    begun = http.post(f"/v2/{repo}/blobs/uploads/")
    assert_status(begun, 202)
    upload = begun.headers["Location"]
    path = upload[upload.index("/v2/") :]
    patched = http.patch(path, content=BLOB.data, headers=OCTET_STREAM)
    status = http.get(path)
    blob = push_by_single_post(http, repo, BLOB)
    for part in IMAGE.blobs:
        assert_status(push_by_single_post(http, repo, part), 201)
    manifest = put_manifest(http, repo, "latest", IMAGE.manifest)
    refused = send_chunk(http, path, b"x", start=10**9)
    return [location_of(a) for a in (begun, patched, status, blob, manifest, refused)]


@pytest.mark.parametrize(
    "headers, origin",
    [
        ({}, "http://{host}"),
        ({"Host": "registry.example.com"}, "http://registry.example.com"),
        ({"X-Forwarded-Proto": "https"}, "https://{host}"),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example.com"},
            "https://registry.example.com",
        ),
        (
            {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "one:5000, two"},
            "https://one:5000",
        ),
        ({"Forwarded": "proto=https;host=registry.example.com"}, "https://registry.example.com"),
        ({"Forwarded": 'host="one:444";proto=https, host=two'}, "https://one:444"),
        ({"Forwarded": "for=192.0.2.1;PROTO=https;by=proxy"}, "https://{host}"),
        (
            {"Forwarded": "host=right;proto=https", "X-Forwarded-Host": "other"},
            "https://right",
        ),
        ({"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a b"}, "http://{host}"),
        ({"X-Forwarded-Host": "evil.example/path?"}, "http://{host}"),
        ({"Forwarded": "proto=gopher;host=[::1]:5000"}, "http://[::1]:5000"),
    ],
)
def test_addresses_behind_a_proxy(shared: Registry, headers: dict[str, str], origin: str) -> None:
    """The first proxy's word counts, and nonsense does not."""
    with httpx.Client(base_url=shared.url, timeout=30) as http:
        for location in locations(http, "configured/proxy", **headers):
            expected = origin.format(host=shared.host)
            assert location.startswith(f"{expected}/v2/configured/proxy/")


def test_host_and_headers(footing: Footing, tmp_path: Path) -> None:
    """`http.host` wins over every proxy; `http.headers` go with every answer."""
    section = {
        "host": "https://registry.example.com:8443",
        "headers": {"X-Content-Type-Options": ["nosniff"], "X-Two": ["a", "b"]},
    }
    with configured(footing, tmp_path, {"http": section}) as (_, http):
        forwarded = {"X-Forwarded-Proto": "http", "Forwarded": "host=other"}
        for location in locations(http, "a/b", **forwarded):
            assert location.startswith("https://registry.example.com:8443/v2/a/b/")
        for path in ("/v2/", "/v2/a/b/manifests/none", "/v2/a/b/manifests/latest", "/x", "/livez"):
            answer = http.get(path)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers.get_list("X-Two") == ["a", "b"]


@pytest.fixture
def relative(footing: Footing, tmp_path: Path) -> Iterator[httpx.Client]:
    section = {"relativeurls": True, "host": "https://unused.example.com"}
    with configured(footing, tmp_path, {"http": section}) as (_, http):
        yield http


def test_relative_addresses(relative: httpx.Client) -> None:
    """Paths only, and they work as they are."""
    for location in locations(relative, "a/b", **{"X-Forwarded-Proto": "https"}):
        assert location.startswith("/v2/a/b/")
        assert_status(relative.get(location), 200, 204)


# Modes ------------------------------------------------------------------------------------------


def test_read_only_mode_after_a_restart_that_keeps_everything(
    footing: Footing, tmp_path: Path
) -> None:
    """Everything is served as before the restart, and every write gets 405 with the reason."""
    with configured(footing, tmp_path, {}) as (registry, before):
        push(before, "a", IMAGE, tag="latest")
        push_blob(before, "a", BLOB)
        upload = start_upload(before, "a")
        assert registry.stop() == 0
        registry.config["storage"]["maintenance"] = {"readonly": {"enabled": True}}
        registry.start()
        with httpx.Client(base_url=registry.url, timeout=30) as http:
            for reference in ("latest", IMAGE.digest):
                answer = http.get(f"/v2/a/manifests/{reference}")
                assert answer.content == IMAGE.manifest.data
            for blob in (*IMAGE.blobs, BLOB):
                assert http.get(f"/v2/a/blobs/{blob.digest}").content == blob.data
            assert http.get("/v2/a/tags/list").json()["tags"] == ["latest"]
            assert http.get("/v2/_catalog").json() == {"repositories": ["a"]}
            refused = [
                http.post("/v2/a/blobs/uploads/"),
                http.patch(upload, content=b"x", headers=OCTET_STREAM),
                finish(http, upload, BLOB.digest, BLOB.data),
                push_by_single_post(http, "b", BLOB),
                put_manifest(http, "a", "other", IMAGE.manifest),
                http.delete("/v2/a/manifests/latest"),
                http.delete(f"/v2/a/blobs/{BLOB.digest}"),
            ]
            for answer in refused:
                assert_error(answer, 405, "UNSUPPORTED")
                assert "read-only" in answer.text
            assert http.get("/v2/a/manifests/latest").status_code == 200


def test_no_deleting_and_short_pages(footing: Footing, tmp_path: Path) -> None:
    """`storage.delete.enabled: false` allows pushes; `maxentries` and `maxtags` bound pages."""
    config = {
        "storage": {"delete": {"enabled": False}},
        "catalog": {"maxentries": 3},
        "tags": {"maxtags": 2},
    }
    with configured(footing, tmp_path, config) as (_, http):
        for number in range(5):
            push(http, f"r{number}", IMAGE, tag="latest")
            put_manifest(http, "r0", f"t{number}", IMAGE.manifest)
        for path in ("manifests/latest", f"manifests/{IMAGE.digest}", f"blobs/{BLOB.digest}"):
            refused = http.delete(f"/v2/r0/{path}")
            assert_error(refused, 405, "UNSUPPORTED")
            assert "storage.delete.enabled" in refused.text
        upload = start_upload(http, "r0")
        assert http.delete(upload).status_code == 204, "cancelling an upload deletes nothing"
        assert_error(http.get("/v2/_catalog", params={"n": 4}), 400, "PAGINATION_NUMBER_INVALID")
        assert pages(http, "/v2/_catalog", "repositories") == [["r0", "r1", "r2"], ["r3", "r4"]]
        found = pages(http, "/v2/r0/tags/list?n=100", "tags")
        assert found == [["latest", "t0"], ["t1", "t2"], ["t3", "t4"]]


def pages(http: httpx.Client, path: str, key: str) -> list[list[str]]:
    """Every page of a list, by its links."""
    found = []
    following: str | None = path
    while following is not None:
        answer = http.get(following)
        assert_status(answer, 200)
        found.append(answer.json()[key])
        following = next_page(answer)
    return found


@pytest.mark.parametrize("dry", [False, True], ids=["purge", "dry run"])
def test_stale_uploads_are_purged(footing: Footing, tmp_path: Path, dry: bool) -> None:
    """At the start and then every interval; a dry run only tells."""
    purging = {"enabled": True, "age": "1ms", "interval": "1s", "dryrun": dry}
    config = {"storage": {"maintenance": {"uploadpurging": {**purging, "enabled": False}}}}
    with configured(footing, tmp_path, config) as (registry, http):
        push(http, "a", IMAGE, tag="latest")
        location = location_of(send_chunk(http, start_upload(http, "a"), BLOB.data, start=0))
        uploads = uploads_of(registry, footing.seaweedfs)
        before = uploads.all()
        assert len(before) == 1
        registry.stop()
        registry.config["storage"]["maintenance"] = {"uploadpurging": purging}
        registry.start()
        told = re.compile(r'"stale uploads purged".*"entrepot.count":1')
        wait_until(lambda: bool(told.search(registry.log())), what="the purge")
        assert uploads.all() == (before if dry else set())
        with httpx.Client(base_url=registry.url, timeout=30) as again:
            assert again.get(location).status_code == (204 if dry else 404)
            assert again.get("/v2/a/manifests/latest").status_code == 200


# Users ------------------------------------------------------------------------------------------


def test_htpasswd(footing: Footing, tmp_path: Path) -> None:
    """401 with a challenge for strangers, all for users; a changed file counts at once."""
    users = tmp_path / "htpasswd"
    write_users(users, b"alice:" + hash_of("wonderland"))
    limits = {"attempts": 1000, "addressattempts": 1000}
    auth = {"htpasswd": {"realm": "the registry", "path": str(users)}, "limits": limits}
    with configured(footing, tmp_path, {"auth": auth}) as (registry, http):
        for path in ("/v2/", "/v2/_catalog", "/v2/a/tags/list", "/metrics"):
            for given in (None, ("alice", "mirror"), ("bob", "wonderland")):
                answer = http.get(path, auth=given)
                assert_error(answer, 401, "UNAUTHORIZED")
                assert answer.headers["WWW-Authenticate"] == 'Basic realm="the registry"'
        assert http.get("/readyz").status_code == 200
        http.auth = httpx.BasicAuth("alice", "wonderland")
        push(http, "a", IMAGE, tag="latest")
        assert http.get("/v2/a/manifests/latest").content == IMAGE.manifest.data
        write_users(users, b"bob:" + hash_of("builder"), age=0)

        def both_count() -> bool:
            """On every worker: each request has a connection of its own."""
            old = [httpx.get(f"{registry.url}/v2/", auth=http.auth) for _ in range(6)]
            new = [httpx.get(f"{registry.url}/v2/", auth=("bob", "builder")) for _ in range(6)]
            return {a.status_code for a in old} == {401} and {a.status_code for a in new} == {200}

        wait_until(both_count, seconds=30, what="the changed file")
        assert "wonderland" not in registry.log()
        assert "builder" not in registry.log()


# Metrics ----------------------------------------------------------------------------------------


def test_metrics_are_of_all_workers(shared: Registry) -> None:
    """Whichever worker is asked tells of the requests of both."""

    def pulls() -> float:
        text = httpx.get(f"{shared.url}/metrics").text
        pattern = r'^registry_http_requests_total\{[^}]*handler="catalog"[^}]*\} (\S+)$'
        return sum(float(found) for found in re.findall(pattern, text, re.MULTILINE))

    before = pulls()
    for _ in range(30):
        assert httpx.get(f"{shared.url}/v2/_catalog").status_code == 200
    # A worker counts when it has answered, of which the client may hear a moment sooner.
    wait_until(lambda: pulls() - before == 30.0, what="the count of all requests")
    assert {pulls() - before for _ in range(10)} == {30.0}


def test_a_configured_secret_is_good_for_every_server_that_has_it(
    footing: Footing, tmp_path: Path
) -> None:
    """An upload's address is known to another registry with the same secret, and to no other."""
    with (
        configured(footing, tmp_path / "one", {"http": {"secret": "shared"}}) as (_, one),
        configured(footing, tmp_path / "two", {"http": {"secret": "shared"}}) as (_, two),
        configured(footing, tmp_path / "three", {}) as (_, three),
    ):
        location = start_upload(one, "a")
        path = location[location.index("/v2/") :]
        assert query_of(path)["_state"]
        assert_status(two.get(path), 204)
        assert_error(three.get(path), 404, "BLOB_UPLOAD_INVALID")
