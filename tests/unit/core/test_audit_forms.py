"""Events in Elastic Common Schema: only with words that it allows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

import entrepot
from entrepot.core.audit import Outcome, Record
from entrepot.core.audit_forms import ecs_line

ALLOWED: Final = {
    "authentication": {"start", "end", "info"},
    "configuration": {"access", "change", "creation", "deletion", "info"},
    "file": {"access", "change", "creation", "deletion", "info"},
    "iam": {"admin", "change", "creation", "deletion", "group", "info", "user"},
    "process": {"access", "change", "end", "info", "start"},
    "session": {"start", "end", "info"},
    "web": {"access", "error", "info"},
}
"""The types that are expected for a category (ECS 8.11, `event.category`)."""

SOURCE: Final = Path(entrepot.__file__).parent
ACTIONS: Final = {
    action
    for path in SOURCE.rglob("*.py")
    for action in re.findall(r'event\(\s*"([a-z_.]+)"', path.read_text())
}


def record(action: str, outcome: Outcome) -> Record:
    return Record(
        *(1, 1, b"", 1_700_000_000_000_000, action, outcome, "ada", "user", "local", "", "::1"),
        *("team/app", "v1", "", "", "a reason", 0, "r1", "node", ""),
    )


@pytest.mark.parametrize("outcome, told", [("success", "success"), ("denied", "failure")])
def test_every_action_in_its_words(outcome: Outcome, told: str) -> None:
    assert len(ACTIONS) > 50
    for action in ACTIONS | {"manifest.push", "manifest.pull", "web.connect", "catalog.catalog"}:
        found = json.loads(ecs_line(record(action, outcome)))["event"]
        (category,) = found["category"]
        types = set(found["type"])
        assert types - {"denied"} <= ALLOWED[category], action
        assert ("denied" in types) == (outcome == "denied")
        assert (found["outcome"], found["kind"]) == (told, "event")


@pytest.mark.parametrize(
    "action, category",
    [
        ("login", "authentication"),
        ("logout", "authentication"),
        ("grant.create", "iam"),
        ("retention.set", "configuration"),
        ("run.finish", "process"),
        ("catalog.catalog", "web"),
        ("tag.delete", "file"),
    ],
)
def test_what_an_action_is_about(action: str, category: str) -> None:
    (line,) = ecs_line(record(action, "success")).splitlines()
    assert json.loads(line)["event"]["category"] == [category]
