"""What an answer of the registry must look like: assertions that every section shares."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx

SPECIFIED_CODES: Final = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    }
)
"""Distribution-spec, "Error Codes"."""

FURTHER_CODES: Final = frozenset(
    {"TAG_INVALID", "RANGE_INVALID", "PAGINATION_NUMBER_INVALID", "UNKNOWN", "UNAVAILABLE"}
)
"""Codes that clients know from registry:2, for conditions that the list has no code for."""

WARNING: Final = re.compile(r'299 - "(?:[^"\\]|\\.)*"')


def describe(response: httpx.Response) -> str:
    """The exchange in a few lines, for the message of a failed assertion."""
    request = response.request
    return (
        f"{request.method} {request.url}\n{dict(request.headers)}\n"
        f"-> {response.status_code} {dict(response.headers)}\n{response.text[:600]}"
    )


def assert_status(response: httpx.Response, *statuses: int) -> None:
    """The answer has one of `statuses`."""
    assert response.status_code in statuses, describe(response)


def error_codes(response: httpx.Response) -> list[str]:
    """The codes of an error body, which must be in the specified JSON form ("Error Codes")."""
    content_type = response.headers.get("Content-Type", "")
    assert content_type.split(";")[0] == "application/json", describe(response)
    errors = json.loads(response.content)["errors"]
    assert isinstance(errors, list), describe(response)
    assert errors, describe(response)
    for error in errors:
        assert error["code"] in SPECIFIED_CODES | FURTHER_CODES, describe(response)
        assert isinstance(error.get("message", ""), str), describe(response)
    return [error["code"] for error in errors]


def assert_error(response: httpx.Response, status: int, *codes: str) -> None:
    """The answer is an error with `status`, and its first code is one of `codes` (any if none)."""
    assert response.status_code == status, describe(response)
    if response.request.method == "HEAD":
        assert response.content == b"", describe(response)
        return
    found = error_codes(response)
    assert not codes or found[0] in codes, describe(response)


def assert_acceptable(response: httpx.Response) -> None:
    """What must hold for whatever answer: no fault of the server, errors and warnings well-formed.

    Distribution-spec, "Error Codes" and "Warnings".
    """
    assert response.status_code < 500, describe(response)
    if response.status_code >= 400 and response.request.method != "HEAD":
        error_codes(response)
    warnings = response.headers.get_list("Warning")
    assert all(WARNING.fullmatch(warning) for warning in warnings), describe(response)
    assert sum(len(warning) for warning in warnings) <= 4096, describe(response)


def document(response: httpx.Response) -> Any:
    """The JSON body of a 200."""
    assert_status(response, 200)
    return json.loads(response.content)


def location_of(response: httpx.Response) -> str:
    """The `Location` header, which may be absolute or a path."""
    location = response.headers.get("Location", "")
    assert location, describe(response)
    assert location.startswith(("/", "http://", "https://")), describe(response)
    return str(location)


def path_of(location: str) -> str:
    """The path of an absolute or relative URL, without its query."""
    return urlsplit(location).path


def with_query(location: str, **parameters: str) -> str:
    """`location` with `parameters` added to the query it already has."""
    added = str(httpx.QueryParams(parameters))
    return f"{location}{'&' if '?' in location else '?'}{added}"


def held(response: httpx.Response) -> int:
    """How many bytes of an upload the registry has, from the `Range` header of its answer.

    An empty upload says `0-0` like one of a single byte does; this returns 1 for both.
    """
    match = re.fullmatch(r"0-(\d+)", response.headers.get("Range", ""))
    assert match, describe(response)
    return int(match[1]) + 1


def next_page(response: httpx.Response) -> str | None:
    """The path and query of the `Link` to the next page (RFC 5988), or None on the last page."""
    link = response.headers.get("Link")
    if link is None:
        return None
    match = re.fullmatch(r'<([^>]+)>; rel="next"', link)
    assert match, describe(response)
    assert match[1].startswith("/v2/"), describe(response)
    return match[1]


def query_of(location: str) -> dict[str, list[str]]:
    """The decoded query parameters of a URL."""
    return parse_qs(urlsplit(location).query, keep_blank_values=True)


def headers_that_describe(response: httpx.Response) -> dict[str, str]:
    """The headers that a HEAD and a GET of the same thing must have in common (RFC 9110, 9.3.2)."""
    names = (
        "Content-Type",
        "Content-Length",
        "Docker-Content-Digest",
        "ETag",
        "Cache-Control",
        "Accept-Ranges",
        "Docker-Distribution-Api-Version",
    )
    return {name: response.headers[name] for name in names if name in response.headers}
