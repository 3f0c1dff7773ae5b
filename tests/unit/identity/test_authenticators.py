"""What every authenticator promises (`entrepot.identity.Authenticator`)."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrepot.core.errors import UnauthorizedError
from entrepot.identity import Authenticator, Identity
from entrepot.identity.anonymous import Anonymous
from entrepot.identity.passwords import Passwords
from tests.unit.identity.credentials import ANYWHERE, basic


@pytest.fixture(params=["anonymous", "htpasswd"])
def authenticator(
    request: pytest.FixtureRequest, open_htpasswd: Callable[[], Passwords]
) -> Authenticator:
    return Anonymous() if request.param == "anonymous" else open_htpasswd()


def test_a_good_credential_has_an_identity(authenticator: Authenticator) -> None:
    identity = asyncio.run(authenticator.authenticate(basic("alice", "wonderland"), ANYWHERE))
    assert identity == Identity(identity.name, identity.method, identity.kind)
    assert identity.name in {"", "alice"}


ANY_TEXT = st.text(alphabet=st.characters(codec=None), max_size=300)
HEADERS = st.one_of(
    st.none(),
    ANY_TEXT,
    ANY_TEXT.map(lambda text: "Basic " + text),
    st.binary(max_size=300).map(lambda raw: basic(raw, b"")),
    st.tuples(st.binary(max_size=20), st.binary(max_size=200)).map(lambda pair: basic(*pair)),
    st.binary(max_size=200).map(lambda raw: basic(b"alice", raw)),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(headers=st.lists(HEADERS, min_size=1, max_size=4))
def test_no_header_makes_it_fail(authenticator: Authenticator, headers: list[str | None]) -> None:
    """Whatever is sent, the answer is an identity or a refusal that tells nothing."""

    async def send(header: str | None) -> None:
        (answer,) = await asyncio.gather(
            authenticator.authenticate(header, ANYWHERE), return_exceptions=True
        )
        if isinstance(answer, UnauthorizedError):
            assert answer.detail is None
            assert authenticator.challenge
        else:
            assert isinstance(answer, Identity)
            assert answer.name in {"", "alice"}

    async def send_all() -> None:
        await asyncio.gather(*(send(header) for header in headers))

    asyncio.run(send_all())


def test_anonymous_asks_for_nothing() -> None:
    """With `auth: none` credentials that are sent anyway do no harm."""
    anonymous = Anonymous()
    assert anonymous.challenge is None
    for header in (None, "", basic("a", "b"), "nonsense"):
        assert asyncio.run(anonymous.authenticate(header, ANYWHERE)) == Identity(
            "", "anonymous", "anonymous"
        )
