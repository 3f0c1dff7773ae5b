"""The signed state of an upload: nobody but the registry makes one, and it fits one upload."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName
from entrepot.core.upload_state import UploadState, sign, verify

KEYS = st.binary(min_size=1, max_size=64)
STATES = st.builds(
    UploadState,
    name=st.from_regex(r"[a-z0-9]{1,20}(/[a-z0-9]{1,20})?", fullmatch=True).filter(str.isascii),
    upload=st.uuids(version=4),
    offset=st.integers(0, 2**60),
    started=st.integers(0, 2**60),
    digest=st.one_of(st.just(""), st.binary().map(Digest.of)),
)
STATE = UploadState(name="a/b", upload=UUID(int=1), offset=7, started=8, digest="")
KEY = b"key"


def check(text: str, *, key: bytes, state: UploadState) -> UploadState | None:
    return verify(text, key=key, name=RepositoryName(state.name), upload=state.upload)


@given(state=STATES, key=KEYS)
def test_what_was_signed_is_read_again(state: UploadState, key: bytes) -> None:
    text = sign(state, key=key)
    assert check(text, key=key, state=state) == state
    assert all(c.isalnum() or c in "-_" for c in text), "it goes into a query as it is"


@given(state=STATES, key=KEYS, other=KEYS)
def test_another_key_does_not_verify(state: UploadState, key: bytes, other: bytes) -> None:
    # HMAC pads keys with zeros, so that trailing ones are no difference.
    if key.rstrip(b"\0") != other.rstrip(b"\0"):
        assert check(sign(state, key=key), key=other, state=state) is None


@given(state=STATES, other=STATES)
def test_a_state_is_good_for_its_upload_only(state: UploadState, other: UploadState) -> None:
    text = sign(state, key=KEY)
    if (state.name, state.upload) != (other.name, other.upload):
        assert check(text, key=KEY, state=other) is None


@given(position=st.integers(0, 10_000), letter=st.sampled_from("Aa0-_"))
def test_one_changed_letter_spoils_it(position: int, letter: str) -> None:
    text = sign(STATE, key=KEY)
    position %= len(text)
    changed = text[:position] + letter + text[position + 1 :]
    found = check(changed, key=KEY, state=STATE)
    # The last letter's lowest bits may stand for nothing.
    assert found is None or changed == text or (position == len(text) - 1 and found == STATE)


@given(st.text())
def test_any_text_is_harmless(text: str) -> None:
    assert check(text, key=KEY, state=STATE) is None


@given(st.binary())
def test_any_bytes_are_harmless(data: bytes) -> None:
    assert check(data.hex(), key=KEY, state=STATE) is None


@given(state=STATES, size=st.integers(0, 2**60))
def test_a_digest_is_known_for_exactly_the_bytes_it_covers(state: UploadState, size: int) -> None:
    known = state.known_digest(size=size)
    if state.digest and size == state.offset:
        assert known == state.digest
    else:
        assert known is None
