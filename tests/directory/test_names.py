"""Filters and distinguished names, as RFC 4515 and RFC 4514 write them."""

from __future__ import annotations

import pytest
import sansldap
from hypothesis import given
from hypothesis import strategies as st

from entrepot.identity.ldap_names import (
    filled,
    first_value,
    in_filter,
    in_name,
    is_below,
    parse_name,
)

VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(VALUES)
def test_what_is_escaped_in_a_filter_is_one_value(value: str) -> None:
    """Another implementation reads it as that value, and as nothing else."""
    read = sansldap.LDAPFilter.from_string(f"(uid={in_filter(value)})")
    assert read == sansldap.FilterEquality("uid", value.encode())


@given(VALUES)
def test_what_is_escaped_in_a_name_is_one_value(value: str) -> None:
    name = f"uid={in_name(value)},dc=example"
    assert first_value(name, "UID") == value
    assert len(parse_name(name)) == 2


def test_a_value_is_not_looked_at_for_names_of_values() -> None:
    assert filled("{a}{b}{c}", {"a": "{b}", "b": "{a}"}) == "{b}{a}{c}"


@pytest.mark.parametrize(
    "one, other",
    [
        ("CN=Team  A,DC=Example", "cn=team a, dc=example"),
        ("cn=a\\2cb,dc=x", "cn=a\\,b,dc=x"),
        ("cn=a+uid=b,dc=x", "uid=B+cn=A,dc=x"),
        ("cn=J\\c3\\bcrgen,dc=x", "cn=Jürgen,dc=x"),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert parse_name(one) == parse_name(other)


@pytest.mark.parametrize(
    "one, other", [("cn=a\\,b,dc=x", "cn=a,cn=b,dc=x"), ("cn=a,dc=x", "uid=a,dc=x")]
)
def test_names_that_differ(one: str, other: str) -> None:
    assert parse_name(one) != parse_name(other)


@pytest.mark.parametrize("text", ["a", "cn=a,", ",cn=a", "cn=a,,dc=x", "=a", "cn=a\\"])
def test_no_names(text: str) -> None:
    with pytest.raises(ValueError, match="not a distinguished name"):
        parse_name(text)


def test_below() -> None:
    """A name that only ends alike is not below."""
    base = parse_name("ou=groups,dc=x")
    assert is_below(parse_name("cn=a,OU=Groups,dc=x"), base)
    assert is_below(base, base)
    assert not is_below(parse_name("cn=a,ou=groups\\,dc=x"), base)
    assert not is_below(parse_name("cn=a,ou=other,dc=x"), base)
