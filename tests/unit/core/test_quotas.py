"""Quotas: how limits are written, and what is said of them."""

from __future__ import annotations

import pytest

from entrepot.core.quotas import (
    LARGEST,
    Quota,
    QuotaError,
    Resource,
    check_limits,
    parse_limit,
    parse_resource,
    show_size,
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0", 0),
        ("1000", 1000),
        ("500GiB", 500 * 2**30),
        ("500 gib", 500 * 2**30),
        ("1.5TB", 1_500_000_000_000),
        ("0.25MiB", 2**18),
        ("7B", 7),
        ("2PiB", 2**51),
        ("3kb", 3000),
    ],
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert parse_limit("bytes", text) == expected


@pytest.mark.parametrize(
    "resource, text",
    [
        ("bytes", ""),
        ("bytes", "-1"),
        ("bytes", "GiB"),
        ("bytes", "5 parsecs"),
        ("bytes", "5G"),
        ("bytes", "1e9"),
        ("bytes", "1,5GiB"),
        ("bytes", "٣"),
        ("tags", "5GiB"),
        ("tags", "1.5"),
        ("manifests", "many"),
    ],
)
def test_what_is_no_limit_is_refused(resource: Resource, text: str) -> None:
    with pytest.raises(QuotaError, match="is no limit of"):
        parse_limit(resource, text)


@pytest.mark.parametrize(
    "soft, hard, told",
    [
        (None, None, "soft limit, a hard limit, or both"),
        (-1, None, "-1 is no limit"),
        (None, LARGEST + 1, "is no limit"),
        (11, 10, "it would never warn"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    soft: int | None, hard: int | None, told: str
) -> None:
    with pytest.raises(QuotaError, match=told):
        check_limits(soft, hard)


def test_only_what_can_be_counted_is_limited() -> None:
    assert parse_resource("tags") == "tags"
    with pytest.raises(QuotaError, match="choose one of bytes, repositories, manifests, tags"):
        parse_resource("blobs")


@pytest.mark.parametrize(
    "count, expected",
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1 MiB"),
        (500 * 2**30, "500 GiB"),
        (2**60, "1024 PiB"),
        (-2048, "-2 KiB"),
    ],
)
def test_sizes_are_shown(count: int, expected: str) -> None:
    assert show_size(count) == expected


def test_a_refusal_says_what_is_used_and_what_to_do() -> None:
    quota = Quota(7, "team", "bytes", soft=None, hard=1024)
    assert quota.refusal(used=1000, more=24) is None
    refusal = quota.refusal(used=1000, more=25)
    assert refusal is not None
    (entry,) = refusal.entries()
    assert entry["code"] == "DENIED"
    assert "namespace team is 1 KiB, of which 1000 B are used; this needs 25 B more" in str(
        entry["message"]
    )
    assert "entrepot trash" in str(entry["message"])
    assert isinstance(entry["detail"], dict)
    assert {**entry["detail"], "reason": ""} == {
        "reason": "",
        "namespace": "team",
        "resource": "bytes",
        "used": 1000,
        "limit": 1024,
        "needed": 25,
    }


def test_a_warning_says_when_pushes_are_refused() -> None:
    quota = Quota(1, "", "tags", soft=10, hard=20)
    assert quota.warning(used=10) is None
    assert quota.warning(used=11) == (
        "the root namespace holds 11 tags, more than its quota of 10 tags; at 20 tags pushes are "
        "refused"
    )
