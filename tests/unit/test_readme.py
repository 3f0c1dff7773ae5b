"""The READMEs say what is true, in both languages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from entrepot.config import load
from tests.programs import run

pytestmark = pytest.mark.house

ROOT: Final = Path(__file__).parents[2]
LANGUAGES: Final = ["README.md", "README.zh-CN.md"]


def _blocks(name: str, kind: str) -> list[str]:
    return re.findall(
        rf"^```{kind}\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("kind", ["sh", "yaml"])
def test_both_languages_give_the_same_commands(kind: str) -> None:
    """What a reader types does not depend on the language."""
    english, chinese = (_blocks(name, kind) for name in LANGUAGES)
    assert english == chinese != []


def test_both_languages_have_the_same_sections() -> None:
    """As many headings, in the same order of depth."""
    depths = [
        re.findall(
            r"^(#+) ", re.sub(r"(?ms)^```.*?^```$", "", (ROOT / name).read_text()), re.MULTILINE
        )
        for name in LANGUAGES
    ]
    assert depths[0] == depths[1]


@pytest.mark.parametrize("name", LANGUAGES)
def test_starts_with_the_commands(name: str) -> None:
    """The first two things to type start the registry."""
    first, second, *_ = _blocks(name, "sh")
    assert first == "./dev serve\n"
    assert second == "pip install .\nentrepot serve\n"


def test_configurations_are_accepted(tmp_path: Path) -> None:
    """Every configuration that is shown is one that the registry takes."""
    for number, text in enumerate(_blocks("README.md", "yaml")):
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        assert load(path, {}).config.http.addr == ":5000"


def test_commands_exist() -> None:
    """Every command of ours that is shown is one that the program has."""
    shown = {
        tuple(line.split()[1:])
        for block in _blocks("README.md", "sh")
        for line in block.splitlines()
        if line.startswith("entrepot ")
    }
    assert shown
    for command in shown:
        done = run(*command, "--help")
        assert done.returncode == 0, (command, done.stderr)
