"""No secret and no control character reaches a log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.telemetry import Revealed
from entrepot.telemetry.masking import mask_query, mask_text, mask_value, printable
from entrepot.telemetry.renderers import encode


@pytest.mark.parametrize(
    "text, masked",
    [
        ("Authorization: Basic ZG9ja2VyOnNlY3JldA==", "Authorization: Basic ***"),
        ("sent bearer abc.def-ghi_jkl~1", "sent bearer ***"),
        ("GET https://user:pa55@host/v2/", "GET https://***@host/v2/"),
        ("redis://:pa55@cache:6379/0", "redis://***@cache:6379/0"),
        ("https://ghp_token@host/", "https://***@host/"),
        ("/v2/a/blobs/uploads/1?_state=abc&digest=d", "/v2/a/blobs/uploads/1?_state=***&digest=d"),
        ("https://s3/x?X-Amz-Signature=aa&y=1", "https://s3/x?X-Amz-Signature=***&y=1"),
        ("token eyJhbGciOi.eyJzdWIi.c2ln here", "token *** here"),
        ("password=hunter2 given", "password=*** given"),
        ("Password: hunter2", "Password: ***"),
        ("sha256:0123 at http://host:5000/v2/", "sha256:0123 at http://host:5000/v2/"),
        ("user@example.test", "user@example.test"),
    ],
)
def test_secrets_in_text(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "query, masked",
    [
        ("_state=abc", "_state=***"),
        ("n=5&_state=a%26b&last=x", "n=5&_state=***&last=x"),
        ("%5Fstate=abc", "%5Fstate=***"),
        ("access_token=abc&X-Amz-Signature=1", "access_token=***&X-Amz-Signature=***"),
        ("digest=sha256:00&mount", "digest=sha256:00&mount"),
        ("", ""),
    ],
)
def test_secrets_in_queries(query: str, masked: str) -> None:
    assert mask_query(query) == masked


@pytest.mark.parametrize(
    "key",
    ["password", "http.secret", "Authorization", "Set-Cookie", "accessToken", "secretkey", "token"],
)
@pytest.mark.parametrize("value", ["x", 12345, ["x"], {"a": "x"}, b"x", 1.5])
def test_values_of_secret_keys(key: str, value: object) -> None:
    assert mask_value(value, key=key) == "***"
    assert mask_value({"outer": {key: value}}) == {"outer": {key: "***"}}


def test_a_revealed_secret_is_readable() -> None:
    assert mask_value(Revealed("pa55"), key="password") == "pa55"


def test_objects_become_json() -> None:
    """Whatever is logged can be written as JSON, and is not endless."""
    looped: list[object] = []
    looped.append(looped)
    value = mask_value({"a": {1}, "b": ValueError("x"), "c": b"\xff", "d": 2**80, "e": looped})
    assert isinstance(value, dict)
    assert value | {"e": None} == {"a": [1], "b": "x", "c": "\\xff", "d": str(2**80), "e": None}
    assert len(mask_value("x" * 100_000)) < 10_000  # type: ignore[arg-type]
    json.dumps(value)


@given(st.text(alphabet=st.characters(codec=None)))
def test_printable_leaves_nothing_that_does_not_print(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    if text.isprintable():
        assert shown == text


@given(
    st.recursive(
        st.text() | st.binary() | st.integers() | st.floats() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_value_can_be_written(value: object) -> None:
    line = encode({"value": mask_value(value)})
    assert "\n" not in line
    json.loads(line)


@given(st.characters(categories=["Cs"]))
def test_unpaired_surrogates_can_be_written(character: str) -> None:
    assert json.loads(encode({"v": mask_value([{"k": character}])})) == {
        "v": [{"k": printable(character)}]
    }
