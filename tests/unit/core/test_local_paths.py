"""Where a login leads: to pages here, and nowhere else."""

from __future__ import annotations

import pytest

from entrepot.core.form_tokens import form_token, is_form_token
from entrepot.core.local_paths import LONGEST, parse_local_path


@pytest.mark.parametrize(
    "path", ["/", "/account", "/a/b?c=%2F%2Fd&e#f", "/hub/", "/a//b", "/~a[b]"]
)
def test_paths_here(path: str) -> None:
    assert parse_local_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "account",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        " /a",
        "/a b",
        "/\t/evil.example",
        "\t//evil.example",
        "/a\r\nSet-Cookie: a=b",
        "/a\n",
        "/\0",
        "/\x7f",
        "/é",
        "/\u2028",
        "/" + "a" * LONGEST,
    ],
)
def test_what_is_no_path_here(text: str) -> None:
    """Neither another host, nor a scheme, nor what a header can't hold."""
    assert parse_local_path(text) is None


def test_a_token_is_for_one_cookie_and_one_registry() -> None:
    token = form_token("cookie", secret=b"secret")
    assert is_form_token(token, "cookie", secret=b"secret")
    assert not is_form_token(token, "other", secret=b"secret")
    assert not is_form_token(token, "cookie", secret=b"other")
    assert not is_form_token(form_token("", secret=b"secret"), "", secret=b"secret")
