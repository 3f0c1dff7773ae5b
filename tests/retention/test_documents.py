"""Policies that can't be as they were written: refused with the place, and a hint."""

from __future__ import annotations

import pytest

from entrepot.core.retention_policy import RetentionInvalidError, parse_policy, read_document
from entrepot.core.spans import SpanInvalidError, parse_span

SECOND = 1_000_000


@pytest.mark.parametrize(
    "document, told",
    [
        ([], "the policy: Expected `object`, got `array`"),
        ({}, "the policy: Object missing required field `rules`"),
        ({"rules": {}}, "rules: Expected `array`, got `object`"),
        ({"rulez": []}, "the policy: 'rulez' is unknown; did you mean rules?"),
        ({"rules": [], "brake": 0}, "brake: Expected `int` >= 1"),
        ({"rules": [], "allow_empty": "yes"}, "allow_empty: Expected `bool`, got `str`"),
        ({"rules": [{}]}, "rules[0]: the rule does nothing: say what to keep"),
        ({"rules": [{"keep": [{}]}]}, "rules[0].keep[0]: says nothing"),
        (
            {"rules": [{"keep": []}, {"keep": [{"newst": 1}]}]},
            "rules[1].keep[0]: 'newst' is unknown; did you mean newest?",
        ),
        (
            {"rules": [{"zzz": 1}]},
            "rules[0]: 'zzz' is unknown; known here: name, repositories, tags, keep, expires, ",
        ),
        (
            {"rules": [], "exceptions": [{"label": {}}]},
            "exceptions[0]: 'label' is unknown; did you mean labels?",
        ),
        ({"rules": [{"keep": [{"newest": "3"}]}]}, "rules[0].keep[0].newest: Expected `int`"),
        ({"rules": [{"keep": [{"newest": 0}]}]}, "rules[0].keep[0].newest: Expected `int` >= 1"),
        (
            {"rules": [{"keep": [{"newest": 3, "by": "age"}]}]},
            "rules[0].keep[0].by: Invalid enum value 'age'",
        ),
        (
            {"rules": [{"keep": [{"tags": "v*", "by": "pull"}]}]},
            "rules[0].keep[0].by: only counts together with newest",
        ),
        (
            {"rules": [{"keep": [{"newest": 3, "version": "v*"}]}]},
            "rules[0].keep[0].version: only counts with by: semver",
        ),
        (
            {"rules": [{"keep": [{"newest": 3, "prereleases": False}]}]},
            "rules[0].keep[0].prereleases: only counts with by: semver",
        ),
        (
            {"rules": [{"keep": [{"newest": 3, "by": "semver", "version": "v"}]}]},
            "rules[0].keep[0].version: 'v' needs one `*`",
        ),
        (
            {"rules": [{"keep": [{"pushed_within": 30}]}]},
            "rules[0].keep[0].pushed_within: Expected `str`, got `int`, such as 30d",
        ),
        (
            {"rules": [{"keep": [{"pulled_within": "a month"}]}]},
            "rules[0].keep[0].pulled_within: 'a month' is no length of time: write",
        ),
        ({"rules": [{"untagged": "1y"}]}, "rules[0].untagged: '1y' is no length of time"),
        ({"rules": [{"untagged": "9999w"}]}, "rules[0].untagged: 9999w is longer than a hundred"),
        ({"rules": [{"keep": [], "tags": "v+"}]}, "rules[0].tags: pattern 'v+', character 2: '+'"),
        ({"rules": [{"keep": [], "tags": ["a", ""]}]}, "rules[0].tags[1]: Expected `str` of"),
        (
            {"rules": [{"keep": [], "tags": ["a", "B/"]}]},
            "rules[0].tags[1]: pattern 'B/', character 2",
        ),
        (
            {"rules": [{"keep": [], "repositories": "a//b"}]},
            "rules[0].repositories: pattern 'a//b', character 3: a path component is empty",
        ),
        (
            {"rules": [], "exceptions": [{"repositories": ["A"]}]},
            "exceptions[0].repositories[0]: pattern 'A', character 1",
        ),
        ({"rules": [{"keep": [{"labels": {}}]}]}, "rules[0].keep[0].labels: Expected `object` of"),
        ({"rules": [{"keep": [{"labels": {"a": 1}}]}]}, "rules[0].keep[0].labels[...]: Expected"),
    ],
)
def test_broken_policies(document: object, told: str) -> None:
    with pytest.raises(RetentionInvalidError) as caught:
        parse_policy(read_document(document))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    "text, seconds",
    [("0d", 0), ("30s", 30), ("5m", 300), ("12h", 43_200), ("1d12h", 129_600), ("2w", 1_209_600)],
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert parse_span(text) == seconds * SECOND


@pytest.mark.parametrize("text", ["", "d", "1", "-1d", "1.5d", "1 d", "1D", "1d 2h", "1d" * 99])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(SpanInvalidError):
        parse_span(text)
