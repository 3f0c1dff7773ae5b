"""Distribution-spec, "API": determining support, endpoints, methods, names, error bodies."""

from __future__ import annotations

import httpx
import pytest

from tests.conformance.answers import (
    assert_error,
    assert_status,
    describe,
    document,
    error_codes,
)
from tests.conformance.pushing import push, start_upload
from tests.wire.images import digest_of, image

UNKNOWN_DIGEST = digest_of(b"nobody ever pushed this")

GOOD_NAMES = [
    "a",
    "0",
    "a/b/c/d/e/f/g/h",
    "a.b",
    "a_b",
    "a__b",
    "a-b",
    "a---b",
    "a.b_c__d-e--f/0.1_2",
    "manifests",
    "blobs/uploads",
    "tags/list",
    "a/manifests/b",
    "a/blobs/uploads",
    "a/blobs/uploads/b",
    "a/referrers/b",
    "a/tags/list",
    "n" * 200,
]
BAD_NAMES = [
    "A",
    "aB/c",
    "-a",
    "a-",
    ".a",
    "a.",
    "_a",
    "a_",
    "a..b",
    "a._b",
    "a___b",
    "a.-b",
    "a//b",
    "a/-b",
    "a/b-/c",
    "a%20b",
    "%C3%A9",
    "a%00b",
    "a:b",
    "a@b",
    "n" * 300,
]


def test_support_is_announced(http: httpx.Client) -> None:
    """API, "Determining Support" (end-1): GET /v2/ is 200."""
    response = http.get("/v2/")
    assert document(response) == {}
    assert response.headers["Content-Type"].split(";")[0] == "application/json"
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_support_without_the_slash(http: httpx.Client) -> None:
    """API, "Determining Support": /v2 leads to /v2/, as clients of registry:2 know it."""
    response = http.get("/v2", follow_redirects=True)
    assert_status(response, 200)


def test_every_answer_names_the_api_version(http: httpx.Client, repo: str) -> None:
    """Overview, "Legacy Docker support HTTP headers": sent with successes and with errors."""
    for path in (f"/v2/{repo}/tags/list", f"/v2/{repo}/blobs/{UNKNOWN_DIGEST}"):
        response = http.get(path)
        assert_status(response, 404)
        assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_of_the_grammar_are_accepted(http: httpx.Client, repo: str, name: str) -> None:
    """Pull, "Pulling manifests": every name of the grammar will do, whatever its words."""
    full = f"{repo}/{name}"[-255:].lstrip("/-._")
    pushed = image(full, layer_count=1)
    push(http, full, pushed, tag="latest")
    assert http.get(f"/v2/{full}/manifests/latest").content == pushed.manifest.data
    assert document(http.get(f"/v2/{full}/tags/list")) == {"name": full, "tags": ["latest"]}
    for blob in pushed.blobs:
        assert http.get(f"/v2/{full}/blobs/{blob.digest}").content == blob.data
    assert_status(http.get(f"/v2/{full}/referrers/{pushed.digest}"), 200)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_other_names_are_refused(http: httpx.Client, name: str) -> None:
    """Pull, "Pulling manifests": a name outside of the grammar never begins an upload."""
    response = http.post(f"/v2/{name}/blobs/uploads/")
    assert response.status_code in (400, 404), describe(response)
    assert error_codes(response)[0] in ("NAME_INVALID", "NAME_UNKNOWN", "UNSUPPORTED")
    assert http.get(f"/v2/{name}/tags/list").status_code in (400, 404)


def test_an_invalid_name_is_called_so(http: httpx.Client) -> None:
    """API, "Error Codes" (code-8): NAME_INVALID with 400."""
    assert_error(http.get("/v2/UPPER/tags/list"), 400, "NAME_INVALID")
    assert_error(http.get("/v2/UPPER/manifests/latest"), 400, "NAME_INVALID")
    assert_error(http.get(f"/v2/UPPER/blobs/{UNKNOWN_DIGEST}"), 400, "NAME_INVALID")


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")
ALLOWED = {
    "/v2/": {"GET", "HEAD"},
    "/v2/_catalog": {"GET", "HEAD"},
    "/v2/{repo}/tags/list": {"GET", "HEAD"},
    "/v2/{repo}/manifests/latest": {"GET", "HEAD", "PUT", "DELETE"},
    "/v2/{repo}/blobs/{digest}": {"GET", "HEAD", "DELETE"},
    "/v2/{repo}/blobs/uploads/": {"POST"},
    "{upload}": {"GET", "HEAD", "PATCH", "PUT", "DELETE"},
    "/v2/{repo}/referrers/{digest}": {"GET", "HEAD"},
}


@pytest.mark.parametrize("route", ALLOWED)
def test_other_methods_are_not_allowed(http: httpx.Client, repo: str, route: str) -> None:
    """API, "Error Codes" (code-13), RFC 9110, 15.5.6: 405 with Allow for what a route can't do."""
    upload = start_upload(http, repo)
    path = route.format(repo=repo, digest=UNKNOWN_DIGEST, upload=upload)
    refused = [method for method in METHODS if method not in ALLOWED[route]]
    for method in refused:
        response = http.request(method, path)
        assert_error(response, 405, "UNSUPPORTED")
        allowed = {name.strip() for name in response.headers["Allow"].split(",")}
        assert method not in allowed, describe(response)
        # HEAD goes with GET and may be left out; OPTIONS is the server's own affair.
        assert ALLOWED[route] - {"HEAD"} <= allowed <= ALLOWED[route] | {"OPTIONS"}


def test_unknown_paths_are_errors_in_the_specified_form(http: httpx.Client, repo: str) -> None:
    """API, "Error Codes": a path below /v2/ that is no endpoint is a 404 in JSON."""
    for path in (f"/v2/{repo}", f"/v2/{repo}/nothing", f"/v2/{repo}/tags", "/v2/_nothing"):
        response = http.get(path)
        assert_status(response, 404, 400)
        error_codes(response)


def test_parameters_of_proxies_are_ignored(http: httpx.Client, repo: str, seed: str) -> None:
    """Registry Proxying: a registry may ignore `ns`, and then answers as without it."""
    pushed = image(seed)
    push(http, repo, pushed, tag="latest")
    for path in ("manifests/latest", f"blobs/{pushed.blobs[0].digest}", "tags/list"):
        plain = http.get(f"/v2/{repo}/{path}")
        proxied = http.get(f"/v2/{repo}/{path}?ns=registry.example.com")
        assert (plain.status_code, plain.content) == (200, proxied.content)
        assert proxied.status_code == 200


def test_escaped_references_mean_the_same(http: httpx.Client, repo: str, seed: str) -> None:
    """RFC 3986, 6.2.2.2: a digest may arrive with its colon percent-encoded, as some clients do."""
    pushed = image(seed)
    push(http, repo, pushed)
    escaped = pushed.digest.replace(":", "%3A")
    assert http.get(f"/v2/{repo}/manifests/{escaped}").content == pushed.manifest.data
    blob = pushed.blobs[0]
    path = f"/v2/{repo}/blobs/{blob.digest.replace(':', '%3a')}"
    assert http.get(path).content == blob.data
