"""What retention decides, and why: rule by rule, and what holds whatever the rules are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.digest import Digest
from entrepot.core.retention import (
    Fate,
    Tagged,
    Untagged,
    decide,
    decide_untagged,
)
from entrepot.core.retention_policy import PolicyDocument, parse_policy, read_document
from entrepot.core.versions import is_prerelease, parse_version

DAY = 86_400_000_000
NOW = 20_000 * DAY
DIGEST = Digest.of(b"")


def tagged(tag: str, age: float = 0, pulled: float | None = None, **more: Any) -> Tagged:
    """A tag that was pushed `age` days ago, and pulled `pulled` days ago."""
    pulled_at = None if pulled is None else NOW - round(pulled * DAY)
    fields = {"pushed_at": NOW - round(age * DAY), "pulled_at": pulled_at, **more}
    return Tagged(tag=tag, digest=DIGEST, **fields)


def fates(rules: object, tags: Sequence[Tagged], **more: object) -> dict[str, Fate]:
    policy = parse_policy(read_document({"rules": rules, **more}))
    return {fate.tag: fate for fate in decide(policy, "app", tags, now=NOW)}


def going(rules: object, tags: Sequence[Tagged], **more: object) -> set[str]:
    return {tag for tag, fate in fates(rules, tags, **more).items() if fate.goes}


TAGS = [
    tagged("a1", 1, 20),
    tagged("a2", 4),
    tagged("a3", 30, 3),
    tagged("b1", 40, labels={"team": "blue"}),
    tagged("b2", 50, annotations={"org.stage": "prod-eu"}),
]


@pytest.mark.parametrize(
    "rule, goes",
    [
        ({"keep": []}, {"a1", "a2", "a3", "b1", "b2"}),
        ({"keep": [], "tags": "b*"}, {"b1", "b2"}),
        ({"keep": [], "tags": ["a1", "b*"]}, {"a1", "b1", "b2"}),
        ({"keep": [], "repositories": "other"}, set()),
        ({"keep": [], "repositories": ["other", "a*"]}, {"a1", "a2", "a3", "b1", "b2"}),
        ({"keep": [{"newest": 2}]}, {"a3", "b1", "b2"}),
        ({"keep": [{"newest": 2, "by": "push"}]}, {"a3", "b1", "b2"}),
        ({"keep": [{"newest": 2, "by": "pull"}]}, {"a2", "b1", "b2"}),
        ({"keep": [{"newest": 9}]}, set()),
        ({"keep": [{"newest": 1, "tags": "b*"}]}, {"a1", "a2", "a3", "b2"}),
        ({"keep": [{"newest": 1}, {"newest": 1, "tags": "b*"}]}, {"a2", "a3", "b2"}),
        ({"keep": [{"newest": 1}], "tags": "b*"}, {"b2"}),
        ({"keep": [{"tags": ["a1", "b2"]}]}, {"a2", "a3", "b1"}),
        ({"keep": [{"pushed_within": "10d"}]}, {"a3", "b1", "b2"}),
        ({"keep": [{"pushed_within": "1d"}]}, {"a2", "a3", "b1", "b2"}),
        ({"keep": [{"pulled_within": "5d"}]}, {"b1", "b2"}),
        ({"keep": [{"pulled_within": "5d", "newest": 1}]}, {"a2", "a3", "b1", "b2"}),
        ({"keep": [{"pulled_within": "5d", "tags": "b*"}]}, {"a1", "a2", "a3", "b1", "b2"}),
        ({"keep": [{"labels": {"team": "blue"}}]}, {"a1", "a2", "a3", "b2"}),
        ({"keep": [{"labels": {"team": "*"}}]}, {"a1", "a2", "a3", "b2"}),
        ({"keep": [{"labels": {"team": "red"}}]}, {"a1", "a2", "a3", "b1", "b2"}),
        ({"keep": [{"annotations": {"org.stage": "prod-*"}}]}, {"a1", "a2", "a3", "b1"}),
        ({"expires": True}, set()),
        ({"untagged": "1d"}, set()),
    ],
)
def test_one_rule(rule: object, goes: set[str]) -> None:
    assert going([rule], TAGS) == goes
    assert going([rule], TAGS[::-1]) == goes


def test_rules_are_a_union() -> None:
    """What one rule is about is kept by any."""
    rules = [{"keep": [{"newest": 1}]}, {"tags": "b*", "keep": [{"tags": "b2"}]}]
    assert going(rules, TAGS) == {"a2", "a3", "b1"}
    assert going(rules[1:], TAGS) == {"b1"}, "no rule is about the others"


VERSIONS = ["v1.0.0", "v1.10.0", "v1.2", "v1.2.9", "v2.0.0-rc.1", "v2.0.0", "20240101", "latest"]


@pytest.mark.parametrize(
    "keep, stays",
    [
        ({"newest": 1}, {"v2.0.0"}),
        ({"newest": 2}, {"v2.0.0", "v2.0.0-rc.1"}),
        ({"newest": 2, "prereleases": False}, {"v2.0.0", "v1.10.0"}),
        ({"newest": 4}, {"v2.0.0", "v2.0.0-rc.1", "v1.10.0", "v1.2"}),
        ({"newest": 99}, set(VERSIONS) - {"20240101", "latest"}),
        ({"newest": 1, "version": "v1.*"}, {"v1.10.0"}),
        ({"newest": 1, "version": "v*-rc.1"}, {"v2.0.0-rc.1"}),
    ],
)
def test_versions(keep: dict[str, object], stays: set[str]) -> None:
    """In the order of versions, not of pushes; what is none is not kept."""
    tags = [tagged(tag, age) for age, tag in enumerate(VERSIONS)]
    assert set(VERSIONS) - going([{"keep": [{**keep, "by": "semver"}]}], tags) == stays


def test_the_version_stands_anywhere_in_a_tag() -> None:
    tags = [tagged(tag) for tag in ("app-1.9.0-linux", "app-1.10.0-linux", "app-2.0.0-arm", "app-")]
    keep = {"newest": 1, "by": "semver", "version": "app-*-linux"}
    assert going([{"keep": [keep]}], tags) == {tag.tag for tag in tags} - {"app-1.10.0-linux"}


def test_versions_are_ordered_as_the_specification_says() -> None:
    """semver.org 2.0.0, 11; with tags that move along, and helm's build metadata."""
    texts = [
        *("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2"),
        *(
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.0",
            "1.2.3",
            "1.2.3.1",
            "v1",
            "2.0.0",
        ),
    ]
    versions = [parse_version(text) for text in texts]
    assert None not in versions
    assert versions == sorted(versions)  # type: ignore[type-var]
    assert parse_version("1.2.3_build.7") == parse_version("v1.2.3")
    assert [is_prerelease(version) for version in versions if version] == [True] * 7 + [False] * 7
    for text in ("", "v", "1", "20240101", "1.2.3.4.5", "1.2.", "a1.2", "1.2.3-", "1.2-_"):
        assert parse_version(text) is None, text


def test_what_no_rule_touches() -> None:
    """Holds and protections, exceptions, and what belongs to another manifest, in this order."""
    signature = f"sha256-{'a' * 64}.sig"
    tags = [
        tagged("held", 90, fixed="on hold: audit"),
        tagged("latest", 90),
        tagged("labelled", 90, labels={"keep": "yes"}),
        tagged(signature, 90),
        tagged("other", 90),
    ]
    exceptions = [{"tags": "latest"}, {"labels": {"keep": "yes"}}, {"repositories": "x"}]
    found = fates([{"name": "all", "keep": []}], tags, exceptions=exceptions)
    told = {tag: (fate.goes, fate.rule, fate.reason) for tag, fate in found.items()}
    assert told == {
        "held": (False, "", "on hold: audit"),
        "latest": (False, "exceptions[0]", "an exception"),
        "labelled": (False, "exceptions[1]", "an exception"),
        signature: (False, "", "goes with what it belongs to"),
        "other": (True, "all", "keeps only nothing"),
    }


def test_signatures_are_no_images_that_are_counted() -> None:
    tags = [tagged("app", 2), *(tagged(f"sha256-{n:064x}.sig", 1) for n in range(3))]
    assert going([{"keep": [{"newest": 1}]}], tags) == set()


@pytest.mark.parametrize(
    "said, age, goes",
    [
        ({"annotations": {"org.entrepot.expires-after": "14d"}}, 13, False),
        ({"annotations": {"org.entrepot.expires-after": "14d"}}, 14, True),
        ({"labels": {"quay.expires-after": "2w"}}, 15, True),
        ({"labels": {"quay.expires-after": "2w"}}, 1, False),
        (
            {
                "labels": {"quay.expires-after": "1d"},
                "annotations": {"org.entrepot.expires-after": "9d"},
            },
            5,
            False,
        ),
        ({"labels": {"quay.expires-after": "never"}}, 999, False),
        ({"labels": {"other": "1d"}}, 999, False),
    ],
)
def test_images_that_expire(said: dict[str, Any], age: int, goes: bool) -> None:
    """Whatever the rule keeps besides; without `expires` nobody asks."""
    tags = [tagged("pr-1", age, **said)]
    assert going([{"expires": True}], tags) == ({"pr-1"} if goes else set())
    assert going([{"expires": True, "keep": [{"tags": "*"}]}], tags) == (
        {"pr-1"} if goes else set()
    )
    assert going([{"keep": [{"tags": "*"}]}], tags) == set()
    assert going([{"expires": True, "tags": "other"}], tags) == set()


def test_what_expires_takes_nobodys_place() -> None:
    expired = tagged("new", 3, labels={"quay.expires-after": "1d"})
    tags = [expired, tagged("old", 5), tagged("older", 6)]
    assert going([{"expires": True, "keep": [{"newest": 1}]}], tags) == {"new", "older"}


def test_untagged_manifests() -> None:
    manifests = [
        Untagged(digest=DIGEST, since=NOW - 6 * DAY),
        Untagged(digest=DIGEST, since=NOW - 8 * DAY),
        Untagged(digest=DIGEST, since=NOW - 9 * DAY, fixed="on hold"),
    ]
    rules = [
        {"name": "u", "untagged": "7d"},
        {"untagged": "1h"},
        {"repositories": "x", "untagged": "0d"},
    ]
    policy = parse_policy(read_document({"rules": rules}))
    found = decide_untagged(policy, "app", manifests, now=NOW)
    assert [(fate.goes, fate.rule) for fate in found] == [(False, "u"), (True, "u"), (False, "u")]
    policy = parse_policy(read_document({"rules": [{"keep": []}]}))
    assert decide_untagged(policy, "app", manifests, now=NOW) == []


# Whatever the rules are ------------------------------------------------------------------------

TEXTS = st.sampled_from(["a", "b", "a1", "b2", "v1.0.0", "v1.2.0", "v2.0.0-rc1", "1.0"])
PATTERNS = st.sampled_from(["*", "a*", "b*", "v*", "*1*", "b2"])
SPANS = st.sampled_from(["0d", "1d", "5d", "30d"])
MARKS = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "*", "2"]), min_size=1)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


KEEPS = (
    some(
        newest=st.integers(1, 5),
        by=st.sampled_from(["push", "pull", "semver"]),
        tags=PATTERNS,
        pushed_within=SPANS,
        pulled_within=SPANS,
        labels=MARKS,
        annotations=MARKS,
    )
    .filter(bool)
    .map(lambda keep: keep if "newest" in keep else {**keep, "by": "push"})
    .filter(lambda keep: set(keep) != {"by"})
)
RULES = st.fixed_dictionaries(
    {"keep": st.lists(KEEPS, max_size=3)},
    optional={"tags": PATTERNS, "expires": st.booleans()},
)
POLICIES = st.fixed_dictionaries(
    {"rules": st.lists(RULES, min_size=1, max_size=3)},
    optional={"exceptions": st.lists(some(tags=PATTERNS, labels=MARKS), max_size=2)},
)
IMAGES = st.builds(
    Tagged,
    tag=TEXTS,
    digest=st.just(DIGEST),
    pushed_at=st.integers(0, 40).map(lambda days: NOW - days * DAY),
    pulled_at=st.none() | st.integers(0, 40).map(lambda days: NOW - days * DAY),
    annotations=st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"])),
    labels=st.dictionaries(
        st.sampled_from(["x", "quay.expires-after"]), st.sampled_from(["1", "3d", "20d"])
    ),
    fixed=st.sampled_from(["", "", "", "on hold"]),
)
REPOSITORIES = st.lists(IMAGES, max_size=8, unique_by=lambda image: image.tag)


def gone(policy: dict[str, Any], tags: Sequence[Tagged], now: int = NOW) -> set[str]:
    parsed = parse_policy(read_document(policy))
    return {fate.tag for fate in decide(parsed, "app", tags, now=now) if fate.goes}


@given(POLICIES, REPOSITORIES, KEEPS, st.data())
def test_one_more_keep_never_lets_more_go(
    policy: dict[str, Any], tags: list[Tagged], keep: dict[str, Any], data: st.DataObject
) -> None:
    rules = policy["rules"]
    at = data.draw(st.integers(0, len(rules) - 1))
    more = {**rules[at], "keep": [*rules[at]["keep"], keep]}
    wider = {**policy, "rules": [*rules[:at], more, *rules[at + 1 :]]}
    assert gone(wider, tags) <= gone(policy, tags)


@given(POLICIES, REPOSITORIES, PATTERNS)
def test_one_more_exception_never_lets_more_go(
    policy: dict[str, Any], tags: list[Tagged], pattern: str
) -> None:
    wider = {**policy, "exceptions": [*policy.get("exceptions", []), {"tags": pattern}]}
    assert gone(wider, tags) <= gone(policy, tags)


@given(POLICIES, REPOSITORIES, st.randoms(use_true_random=False))
def test_the_order_of_tags_does_not_matter(
    policy: dict[str, Any], tags: list[Tagged], random: Any
) -> None:
    shuffled = [*tags]
    random.shuffle(shuffled)
    assert gone(policy, shuffled) == gone(policy, tags)


@given(POLICIES, REPOSITORIES)
def test_what_went_is_not_missed(policy: dict[str, Any], tags: list[Tagged]) -> None:
    """A second run right after the first finds nothing: no rule keeps other tags because some are
    gone, and none lets go what it kept.
    """
    left = [tag for tag in tags if tag.tag not in gone(policy, tags)]
    assert gone(policy, left) == set()


@given(POLICIES, REPOSITORIES, st.integers(1, 50))
def test_an_earlier_clock_lets_no_more_go_by_age(
    policy: dict[str, Any], tags: list[Tagged], days: int
) -> None:
    assert gone(policy, tags, NOW - days * DAY) <= gone(policy, tags)


@given(POLICIES, REPOSITORIES)
def test_holds_beat_everything(policy: dict[str, Any], tags: list[Tagged]) -> None:
    assert not gone(policy, tags) & {tag.tag for tag in tags if tag.fixed}


@given(POLICIES)
def test_a_document_is_kept_as_it_was(policy: dict[str, Any]) -> None:
    document = read_document(policy)
    written = msgspec.json.encode(document)
    assert msgspec.json.decode(written, type=PolicyDocument) == document
