"""What registries ask for, as they write it."""

from __future__ import annotations

import time

import pytest

from entrepot.upstream.challenges import parse_challenges


@pytest.mark.parametrize(
    "headers, expected",
    [
        ([], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="Registry Realm"'], [("basic", {"realm": "Registry Realm"})]),
        (['BASIC Realm = "a \\"b\\" c"'], [("basic", {"realm": 'a "b" c'})]),
        (
            ['Bearer realm="https://a/token",service="reg",scope="repository:a/b:pull,push"'],
            [
                (
                    "bearer",
                    {
                        "realm": "https://a/token",
                        "service": "reg",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            ['Negotiate, Basic realm=x, Bearer realm="y", error="invalid_token"'],
            [
                ("negotiate", {}),
                ("basic", {"realm": "x"}),
                ("bearer", {"realm": "y", "error": "invalid_token"}),
            ],
        ),
        (
            ["Basic realm=x", "Bearer realm=y"],
            [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})],
        ),
        (['Bearer realm="first",realm="second"'], [("bearer", {"realm": "first"})]),
        (['Bearer realm="without end'], [("bearer", {"realm": ""})]),
        ([";;;"], []),
        (["realm=x"], []),
        ([""], []),
    ],
)
def test_challenges(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [tuple(found) for found in parse_challenges(headers)] == expected


@pytest.mark.parametrize(
    "text", ["a=" * 100_000, '"' * 100_000, "a " * 100_000, 'a="' + "\\" * 99_999]
)
def test_nonsense_takes_no_time(text: str) -> None:
    before = time.process_time()
    parse_challenges([text] * 10)
    assert time.process_time() - before < 5
