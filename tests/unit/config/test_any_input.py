"""Whatever stands in the file and in the environment: a configuration or a ConfigError."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrepot.config import Config, ConfigError, load
from entrepot.config.explain import explain
from entrepot.config.fields import ValueType, fields_of, places, section

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["none", "inmemory", "filesystem", "s3", "1h", "-5s", ":5000", "debug", "a@b"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = [place.variable.replace("<NAME>", "X-Name") for place in places(Config)]


def nearly(kind: ValueType) -> st.SearchStrategy[Any]:
    """Values of the type, and now and then one of another."""
    match kind.kind:
        case "section":
            fields = {key: nearly(field.type) for key, field in fields_of(kind.struct).items()}
            right: st.SearchStrategy[Any] = st.fixed_dictionaries({}, optional=fields)
        case "list":
            right = st.lists(nearly(kind.element), max_size=2)
        case "map":
            right = st.dictionaries(st.text(max_size=5), nearly(kind.element), max_size=2)
        case "choice":
            right = st.sampled_from(kind.choices)
        case "flag":
            right = st.booleans()
        case "duration":
            right = st.sampled_from(["1s", "1h30m", 5, "0"])
        case "whole" | "size":
            right = st.integers(min_value=-5, max_value=10**6)
        case _:
            right = st.text(max_size=10)
    return st.one_of(right, right, right, ANYTHING)


ENVIRONMENTS = st.dictionaries(
    st.one_of(
        st.sampled_from(NAMES),
        st.builds("_".join, st.tuples(st.sampled_from(NAMES), st.text(max_size=5))),
        st.text(max_size=10).map("REGISTRY_".__add__),
    ),
    st.one_of(st.text(max_size=30), ANYTHING.map(yaml.safe_dump)),
    max_size=4,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, written anew for every example."""
    return tmp_path_factory.mktemp("any") / "config.yml"


def use(path: Path | None, environ: dict[str, str]) -> None:
    """Loads and, if there is a configuration, does what the program does with it at once."""
    with contextlib.suppress(ConfigError):
        loaded = load(path, environ)
        loaded.config.http.listen()
        loaded.config.http.debug_listen()
        loaded.config.database_url()
        loaded.config.worker_count()
        assert [str(value) for value in explain(loaded)]
        assert all(str(notice).isprintable() for notice in loaded.notices)


@settings(deadline=None, max_examples=150)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes(file: Path, content: bytes) -> None:
    """Bytes that may or may not be YAML."""
    file.write_bytes(content)
    use(file, {})
    file.write_bytes(b"version: 0.1\n" + content)
    use(file, {})


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(document=nearly(section(Config)), environ=ENVIRONMENTS)
def test_nearly_right_documents(file: Path, document: Any, environ: dict[str, str]) -> None:
    """Documents of the right shape with wrong values here and there, and variables over them."""
    if isinstance(document, dict):
        document["version"] = "0.1"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    use(file, environ)


@settings(deadline=None, max_examples=200)
@given(environ=ENVIRONMENTS)
def test_any_environment(environ: dict[str, str]) -> None:
    """Variables that exist, nearly exist, or have any text in name and value."""
    use(None, environ)
