"""The rules of the house that no other tool checks: sizes, names, and words that stay out."""

from __future__ import annotations

import ast
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.house

ROOT: Final = Path(__file__).parents[2]
FILE_LINES: Final = 500
FUNCTION_LINES: Final = 60

GENERATED: Final = re.compile(r"^requirements/.*\.txt$|^LICENSE$|\.(svg|png|ico)$")
"""Files that nobody writes by hand."""

IGNORED_FOLDERS: Final = frozenset(
    {".bench", ".data", ".git", ".hypothesis", ".venv", "__pycache__", "build", "dist"}
    | {f".{tool}_cache" for tool in ("mypy", "pytest", "ruff", "import_linter")}
)

# Spelled apart, so that this file does not contain what it forbids.
REGISTRY_HOSTS: Final = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.", "deb.deb" + "ian")
FORBIDDEN_WORDS: Final = {
    "the host of a package registry, which is for the user's own settings to say": re.compile(
        "|".join(re.escape(host) for host in REGISTRY_HOSTS), re.IGNORECASE
    ),
    "a number that needs an issue tracker to be understood": re.compile(
        r"\bissu" + r"es? #?\d", re.IGNORECASE
    ),
    "a path of one developer's machine": re.compile(
        r"/wor" + r"k/|\.\./sha" + r"red|/ro" + r"ot/\."
    ),
    "something unfinished": re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
}

TEST_WAITS: Final = re.compile(r"\btime\.sle" + r"ep\(|asyncio\.sle" + r"ep\([1-9]")
TEST_MOCKS: Final = re.compile(r"Magic" + r"Mock|mock\.pa" + r"tch")
TEST_REPLACEMENTS: Final = re.compile(r"monkeypatch\.setattr\(\s*\"(entrepot[\w.]+)\"")
TEST_SKIPS: Final = re.compile(
    r"pytest\.sk" + r"ip|mark\.sk" + r"ip|mark\.xf" + r"ail|importor" + r"skip"
)

VAGUE_NAMES: Final = re.compile(r"(^|_)(manager|helpers?|utils?|common|base)(_|$)", re.IGNORECASE)
VAGUE_CLASSES: Final = re.compile(r"(Manager|Helper|Utils?|Common|Base)$")


def _files() -> Iterator[Path]:
    """Everything that belongs to the project, without what tools leave behind."""
    for folder, below, names in os.walk(ROOT):
        below[:] = sorted(set(below) - IGNORED_FOLDERS)
        for name in sorted(set(names) - IGNORED_FOLDERS):  # in a worktree of git .git is a file
            path = Path(folder, name)
            if not GENERATED.search(path.relative_to(ROOT).as_posix()) and not name.startswith(
                (".coverage", ".venv")
            ):
                yield path


def _texts() -> dict[str, str]:
    """The project's files by their names relative to it."""
    found = {}
    for path in _files():
        text = path.read_bytes()
        if b"\0" not in text:
            found[path.relative_to(ROOT).as_posix()] = text.decode()
    return found


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The project's files by their names relative to it."""
    return _texts()


def _code(texts: dict[str, str], *folders: str) -> dict[str, str]:
    return {
        name: text
        for name, text in texts.items()
        if (name.endswith(".py") or name == "dev") and (not folders or name.startswith(folders))
    }


def test_files_are_short(texts: dict[str, str]) -> None:
    """No file of code has more than 500 lines."""
    long = {name: text.count("\n") for name, text in _code(texts).items()}
    assert {name: lines for name, lines in long.items() if lines > FILE_LINES} == {}


def test_functions_are_short(texts: dict[str, str]) -> None:
    """No function has more than 60 lines."""
    long = {}
    for name, text in _code(texts).items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{name}:{node.lineno} {node.name}"] = lines
    assert long == {}


@pytest.mark.parametrize("reason", FORBIDDEN_WORDS)
def test_words_that_stay_out(texts: dict[str, str], reason: str) -> None:
    """Nothing in the project says what only one machine, or only the future, knows."""
    pattern = FORBIDDEN_WORDS[reason]
    assert _hits(texts, pattern) == []


def test_tests_neither_sleep_nor_replace_our_code(texts: dict[str, str]) -> None:
    """Tests poll with a deadline, use the real thing, and run everywhere."""
    tests = _code(texts, "tests/")
    for pattern in (TEST_WAITS, TEST_MOCKS, TEST_SKIPS):
        assert _hits(tests, pattern) == []
    replaced = {name: set(TEST_REPLACEMENTS.findall(text)) for name, text in tests.items()}
    ours = {name: {t for t in targets if _is_our_code(t)} for name, targets in replaced.items()}
    assert {name: targets for name, targets in ours.items() if targets} == {}


def _is_our_code(target: str) -> bool:
    """Whether the name is a function or class of ours, not a limit or a function of a library."""
    found = pkgutil.resolve_name(target)
    return callable(found) and str(found.__module__).startswith("entrepot")


def test_names_say_what_things_are(texts: dict[str, str]) -> None:
    """No module and no class is called manager, helper, utils, common or base."""
    vague = [
        name
        for name in _code(texts, "src/", "tests/", "bench/")
        if VAGUE_NAMES.search(Path(name).stem) or VAGUE_NAMES.search(Path(name).parent.name)
    ]
    for name, text in _code(texts, "src/", "tests/", "bench/").items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and VAGUE_CLASSES.search(node.name):
                vague += [f"{name}:{node.lineno} {node.name}"]
    assert vague == []


def test_errors_are_called_errors(texts: dict[str, str]) -> None:
    """A class that derives from an exception has a name that ends in Error, and only such a one."""
    named_otherwise = []
    for name, text in _code(texts, "src/").items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and not node.name.endswith("Error"):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                if any(base == "Exception" or base.endswith("Error") for base in bases):
                    named_otherwise.append(f"{name}:{node.lineno} {node.name}")
    assert named_otherwise == []


def test_links_in_documents_lead_somewhere(texts: dict[str, str]) -> None:
    """Every relative link of a Markdown file names a file that exists."""
    broken = []
    for name, text in texts.items():
        if name.endswith(".md"):
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
                if "://" not in target and not (ROOT / name).parent.joinpath(target).exists():
                    broken += [f"{name}: {target}"]
    assert broken == []


def _hits(texts: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern occurs, as file:line and the line."""
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
