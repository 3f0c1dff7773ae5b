"""Logins in a browser at a provider that lies; cookies that are too old, or another registry's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import UnavailableError
from entrepot.identity.anonymous import Anonymous
from entrepot.identity.errors import LoginUnfinishedError
from entrepot.services.browser_logins import SECONDS, BrowserLogins, Returned
from tests.access.worlds import SECOND, Clock
from tests.directory.test_id_tokens import Liar, provider_of, serving
from tests.tokens.signing import token_of

pytestmark = pytest.mark.anyio

HERE = Origin("127.0.0.1")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Door:
    """A registry's logins at one provider."""

    def __init__(self, liar: Liar, folder: Path, *, secret: bytes = b"secret") -> None:
        self.liar = liar
        self.clock = Clock()
        self.logins = BrowserLogins(
            [provider_of(liar, folder)], secret=secret, limit=Anonymous(), now=self.clock
        )

    async def begin(self) -> tuple[dict[str, str], str]:
        """What the provider is asked, and the cookie."""
        page, cookie = await self.logins.begin(
            "sso", redirect_uri="http://here/auth/callback/sso", back_to="/back", origin=HERE
        )
        assert page.startswith(self.liar.endpoints["authorization_endpoint"])
        return {k: v for k, (v,) in parse_qs(urlsplit(page).query).items()}, cookie

    async def finish(
        self, asked: dict[str, str], cookie: str, *, name: str = "sso", **changes: str
    ) -> tuple[Identity, str]:
        given = {"code": "c", "state": asked["state"], "issuer": self.liar.url, "error": ""}
        returned = Returned(**(given | changes))
        return await self.logins.finish(name, returned, cookie=cookie, origin=HERE)


@pytest.fixture
def liar() -> Iterator[Liar]:
    with serving() as running:
        running.endpoints["authorization_endpoint"] = f"{running.url}/auth?tenant=1"
        yield running


async def test_a_login(liar: Liar, tmp_path: Path) -> None:
    """What the address of the page has already stays there."""
    door = Door(liar, tmp_path)
    asked, cookie = await door.begin()
    assert asked["tenant"] == "1"
    liar.token = token_of(liar.claims(nonce=asked["nonce"]))
    identity, back_to = await door.finish(asked, cookie)
    assert identity == Identity("ada", "oidc", groups=("team-a",))
    assert back_to == "/back"


@pytest.mark.parametrize("nonce", [None, "", "another", 1, ["x"]])
async def test_a_token_of_another_login(liar: Liar, tmp_path: Path, nonce: Any) -> None:
    """Without the nonce, or with that of another login, the token counts for nothing."""
    door = Door(liar, tmp_path)
    asked, cookie = await door.begin()
    liar.token = token_of(liar.claims(nonce=nonce))
    with pytest.raises(LoginUnfinishedError, match="access_denied"):
        await door.finish(asked, cookie)


@pytest.mark.parametrize("always", [False, True])
async def test_the_issuer_of_an_answer(liar: Liar, tmp_path: Path, *, always: bool) -> None:
    """It must be the right one if it is named, and be named if the provider says that it is."""
    liar.endpoints["authorization_response_iss_parameter_supported"] = always
    door = Door(liar, tmp_path)
    asked, cookie = await door.begin()
    liar.token = token_of(liar.claims(nonce=asked["nonce"]))
    for issuer in ("https://evil.example", f"{liar.url}/", *([""] if always else [])):
        with pytest.raises(LoginUnfinishedError, match="access_denied"):
            await door.finish(asked, cookie, issuer=issuer)
    await door.finish(asked, cookie, issuer=liar.url if always else "")


async def test_a_login_takes_ten_minutes_at_most(liar: Liar, tmp_path: Path) -> None:
    door = Door(liar, tmp_path)
    asked, cookie = await door.begin()
    liar.token = token_of(liar.claims(nonce=asked["nonce"]))
    door.clock.now += SECONDS * SECOND
    await door.finish(asked, cookie)
    door.clock.now += 1
    with pytest.raises(LoginUnfinishedError, match="expired_token"):
        await door.finish(asked, cookie)


async def test_a_cookie_is_for_one_registry_and_one_provider(liar: Liar, tmp_path: Path) -> None:
    door, other = Door(liar, tmp_path), Door(liar, tmp_path, secret=b"other")
    asked, cookie = await door.begin()
    liar.token = token_of(liar.claims(nonce=asked["nonce"]))
    with pytest.raises(LoginUnfinishedError, match="expired_token"):
        await other.finish(asked, cookie)
    with pytest.raises(LoginUnfinishedError, match="expired_token"):
        await door.finish(asked, cookie, name="second")
    for broken in (cookie[:-8], f"A{cookie[1:]}", cookie.swapcase(), f"{cookie}é"):
        with pytest.raises(LoginUnfinishedError, match="expired_token"):
            await door.finish(asked, broken)


@pytest.mark.parametrize(
    "page",
    [
        "",
        "javascript:alert(1)",
        "http://h/a\r\nSet-Cookie: a=b",
        "http://h/a b",
        "http://h/é",
        "//h/a",
        "file:///etc/passwd",
    ],
)
async def test_a_page_that_is_none(liar: Liar, tmp_path: Path, page: str) -> None:
    """Nobody is sent where the provider's document says something that no browser should follow,
    and nothing of it gets into a header."""
    liar.endpoints["authorization_endpoint"] = page
    with pytest.raises(UnavailableError):
        await Door(liar, tmp_path).begin()
