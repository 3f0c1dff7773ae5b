"""What names, passwords and secrets must be, and how failures add up: no index, no clock."""

from __future__ import annotations

import re
from secrets import token_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.accounts import AccountError, check_group_name, check_user_name, robot_name
from entrepot.core.credentials import RANDOM_BYTES, fingerprint, make_secret, secret_kind
from entrepot.core.guarding import (
    Failures,
    Rule,
    account_subject,
    address_subject,
    after_failure,
)
from entrepot.core.passwords import PasswordPolicy
from entrepot.telemetry.masking import mask_text

SECOND = 1_000_000


@pytest.mark.parametrize("name", ["ada", "ada.lovelace@example.com", "A", "0x", "a_b-c"])
def test_names_that_users_may_have(name: str) -> None:
    assert check_user_name(name) == name


@pytest.mark.parametrize(
    "name", ["", " ada", "ada:x", "robot$ada", "a+b", "a/b", "-ada", "ada\n", "a" * 129, "ädä"]
)
def test_names_that_users_may_not_have(name: str) -> None:
    with pytest.raises(AccountError, match="user's name"):
        check_user_name(name)


def test_groups_may_be_called_as_namespaces_are() -> None:
    assert check_group_name("team-a/back_end") == "team-a/back_end"
    with pytest.raises(AccountError):
        check_group_name("team a")


def test_the_names_of_robots() -> None:
    assert robot_name("team-a/backend", "ci") == "robot$team-a/backend+ci"
    assert robot_name("", "ci") == "robot$ci"
    for name in ("", "CI", "a--b", "a/b", "a+b", "a:b", "a" * 65):
        with pytest.raises(AccountError):
            robot_name("team-a", name)


@pytest.mark.parametrize(
    "password",
    [
        "too short",
        "password1234",
        "P@ssw0rd2024!",
        "aaaaaaaaaaaaaa",
        "123456789012",
        "abcdefghijkl",
        "lkjihgfedcba",
        "qwertyuiop123",
        "Welcome2024!!",
        "changeme1234",
        "adaadaada1234"[:12],
        "x" * 2000,
        "with\0nul in the middle",
    ],
)
def test_passwords_that_are_refused(password: str) -> None:
    """And the refusal doesn't repeat them."""
    with pytest.raises(AccountError) as refusal:
        PasswordPolicy().check(password, name="adaada")
    assert password not in str(refusal.value)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "7il6NkjPA1hO1hCr",
        "зимний вечер у моря",
        "一二三四五六七八九十甲乙",
    ],
)
def test_passwords_that_are_good(password: str) -> None:
    PasswordPolicy().check(password, name="ada")


def test_a_password_is_not_the_name() -> None:
    for password in ("ada.lovelace", "Ada.Lovelace1!", "xada.lovelacex"):
        with pytest.raises(AccountError, match="name"):
            PasswordPolicy().check(password, name="ada.lovelace@example.com")


@pytest.mark.parametrize("kind", ["pat", "rob"])
def test_secrets_have_their_form(kind: str) -> None:
    """The documented expression finds them; one wrong letter and they are none."""
    secret = make_secret("pat" if kind == "pat" else "rob", token_bytes(RANDOM_BYTES))
    assert re.fullmatch(r"entr_(pat|rob)_[0-9A-Za-z]{38}", secret)
    assert secret_kind(secret) == kind
    for place in range(9, len(secret)):
        other = "a" if secret[place] != "a" else "b"
        assert secret_kind(secret[:place] + other + secret[place + 1 :]) is None
    assert len(fingerprint(secret)) == 32


@given(st.text(max_size=60))
def test_what_is_no_secret_is_none(text: str) -> None:
    assert secret_kind(text) is None


def test_a_secret_does_not_reach_the_log() -> None:
    secret = make_secret("rob", token_bytes(RANDOM_BYTES))
    assert secret not in mask_text(f"somebody sent {secret} here")


def test_delays_double_and_end() -> None:
    """Nothing before the third failure, then 1, 2, 4, 8 and never more than 10 seconds."""
    rule = Rule(attempts=3, delay=1.0, longest=10.0, memory=60.0)
    known: Failures | None = None
    waits = []
    for now in range(7):
        known = after_failure(rule, known, kind="account", subject="ada", now=now * SECOND)
        waits.append(known.seconds_left(now * SECOND))
    assert waits == [0, 0, 1, 2, 4, 8, 10]
    assert known is not None
    later = 7 + 61
    again = after_failure(rule, known, kind="account", subject="ada", now=later * SECOND)
    assert (again.count, again.seconds_left(later * SECOND)) == (1, 0)


@given(st.integers(min_value=1, max_value=10**9))
def test_no_count_makes_a_delay_too_long(count: int) -> None:
    rule = Rule(attempts=1, delay=1.0, longest=900.0, memory=3600.0)
    known = Failures("account", "ada", count, 0, 0)
    after = after_failure(rule, known, kind="account", subject="ada", now=1)
    assert 0 < after.seconds_left(1) <= 900


def test_what_is_locked() -> None:
    """An IPv6 address with its network; nobody's name if it can be nobody's."""
    assert address_subject("192.0.2.7") == "192.0.2.7"
    assert address_subject("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"
    assert address_subject("") == ""
    assert address_subject("nonsense") == ""
    assert account_subject("ada") == "ada"
    assert account_subject("a\n") == account_subject("x" * 129) == ""
