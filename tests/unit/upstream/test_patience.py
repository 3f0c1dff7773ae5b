"""How long registries may ask us to wait."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from entrepot.upstream.patience import asked_to_wait


@pytest.mark.parametrize(
    "header, seconds",
    [(None, 0), ("0", 0), ("17", 17), ("-1", 0), ("soon", 0), ("1e9", 0), ("9" * 65, 0), ("²", 0)],
)
def test_seconds(header: str | None, seconds: float) -> None:
    assert asked_to_wait(header) == seconds


def test_dates() -> None:
    assert 50 < asked_to_wait(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert asked_to_wait(formatdate(time.time() - 60, usegmt=True)) == 0
    assert asked_to_wait("Mon, 99 Foo 9999 99:99:99 GMT") == 0
