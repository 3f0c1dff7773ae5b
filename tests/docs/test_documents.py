"""What the documents for developers say, against the code that they describe."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import entrepot
import entrepot.db
from entrepot.api.discovery import CATALOG_PAGE
from entrepot.api.errors import STATUS
from entrepot.api.http import DRAIN
from entrepot.api.manifests import MAX_TAGS
from entrepot.api.routes import TABLE
from entrepot.config import Config
from entrepot.core.access import Action
from entrepot.core.names import NAME_LENGTH
from entrepot.core.roles import BUILT_IN, OPEN
from entrepot.db.migrate import HEAD
from entrepot.db.schema import metadata
from entrepot.services.uploads import BEGIN_WITHIN
from entrepot.web import routes as web

pytestmark = pytest.mark.house

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = Path(entrepot.__file__).parent
MIB = 1 << 20
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md"])


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What follows a heading of the second level, up to the next one."""
    found = re.search(rf"(?ms)^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text)
    assert found is not None, heading
    return found[1]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each line of every table, without the heads."""
    for line in re.findall(r"(?m)^\|(.*)\|$", re.sub(r"(?m)^\|.*\|\n\|[-|]+\|$", "", text)):
        yield [cell.strip() for cell in line.split("|")]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# protocol.md ------------------------------------------------------------------------------------


def test_every_route_is_described() -> None:
    """The table of the page is the table of the code, with the action of each route."""
    table = rows(section(read("protocol.md"), "End points"))
    described = {(quoted(request)[0], action) for request, action, _ in table}
    assert described == {(f"{r.method} {r.path}", r.action.value) for r in (*TABLE, *web.TABLE)}


def test_every_error_is_described() -> None:
    """With its code and its status."""
    table = rows(section(read("protocol.md"), "Errors"))
    described = {(quoted(kind)[0], quoted(code)[0], int(status)) for kind, code, status, _ in table}
    assert described == {(kind.__name__, kind.code, status) for kind, status in STATUS.items()}


@pytest.mark.parametrize(
    "said",
    [
        f"{MAX_TAGS} at most (",
        f"more than {MAX_TAGS} `tag`",
        f"{NAME_LENGTH} characters at most",
        f"`http.limits.manifestsize` ({Config().http.limits.manifestsize // MIB} MiB)",
        f"{BEGIN_WITHIN // 3_600_000_000} hours after POST",
        f"`tags.maxtags` ({Config().tags.maxtags})",
        f"`catalog.maxentries` ({Config().catalog.maxentries})",
        f"{CATALOG_PAGE} without `n`",
        f"up to {DRAIN // MIB} MiB is read and dropped",
    ],
)
def test_limits_are_what_the_code_says(said: str) -> None:
    assert said in " ".join(read("protocol.md").split())


# index-model.md ---------------------------------------------------------------------------------


def test_every_table_is_described() -> None:
    """Those that are in use, and those that wait; and no table is called both."""
    page = read("index-model.md")
    used = {quoted(row[0])[0] for row in rows(section(page, "What is there, and used"))}
    waiting = {quoted(row[0])[0] for row in rows(section(page, "Room for what comes next"))}
    assert used | waiting == set(metadata.tables)
    queries = "".join(path.read_text() for path in (SOURCE / "db").glob("*.py"))
    for table in metadata.tables:
        named = re.search(rf"(FROM|INTO|UPDATE|JOIN)\s+{table}\b", queries) is not None
        # The root namespace is written by the first migration.
        assert (table in used) == (named or table == "namespaces"), table


def test_the_keys_of_tables_are_what_is_said() -> None:
    for row in rows(section(read("index-model.md"), "What is there, and used")):
        table = metadata.tables[quoted(row[0])[0]]
        key, *_ = quoted(row[2])
        assert key == ", ".join(column.name for column in table.primary_key), table.name


def test_the_questions_are_functions() -> None:
    """Every query that the page names exists in `entrepot.db`, and every one there is named."""
    exist = set()
    engines = {"schema", "sqlite", "postgres", "sessions", "migrate_postgres"}
    for module in iter_modules(entrepot.db.__path__):
        if module.name in {f.stem for f in (SOURCE / "db").glob("*.py")} - engines:
            found = import_module(f"entrepot.db.{module.name}")
            for name, value in inspect.getmembers(found, inspect.iscoroutinefunction):
                if value.__module__ == found.__name__ and not name.startswith("_"):
                    exist.add(name)
    table = rows(section(read("index-model.md"), "What is there, and used"))
    assert {name for row in table for name in quoted(row[3])} == exist - {
        "add_blob",
        "add_new_blob",
    }


def test_the_next_migration_is_the_next() -> None:
    page = read("index-model.md")
    assert f'down_revision = "{HEAD}"' in page
    assert f'HEAD = "{int(HEAD) + 1:04}"' in page


# architecture.md --------------------------------------------------------------------------------


def test_every_part_is_described() -> None:
    """Every module and package at the top of ours, and no other."""
    table = rows(section(read("architecture.md"), "Parts").partition("|\n\n")[0] + "|")
    described = {part.strip("/") for row in table for part in quoted(row[0])}
    exist = {
        entry.name
        for entry in SOURCE.iterdir()
        if entry.suffix == ".py" or (entry / "__init__.py").exists()
    }
    assert described == exist - {"__init__.py"}


def test_every_module_that_is_named_exists() -> None:
    for page in ("architecture.md", "storage-format.md", "index-model.md", "protocol.md"):
        for name in quoted(read(page)):
            if re.fullmatch(r"[\w/]+\.py", name) and "what_it_does" not in name:
                places = (SOURCE / name, ROOT / name, *SOURCE.glob(f"*/{name}"))
                assert any(place.exists() for place in places), f"{page}: {name}"


def test_every_function_of_the_flows_is_where_it_is_said_to_be() -> None:
    page = read("architecture.md")
    for heading in ("A manifest is pulled", "An image is pushed"):
        for _, files, functions, *_ in rows(section(page, heading)):
            known = set().union(*(names_of(SOURCE / name) for name in quoted(files)))
            for function in quoted(functions):
                assert set(function.split(".")) <= known, f"{files}: {function}"


def names_of(path: Path) -> set[str]:
    """What a module, or every module of a folder, defines, and what it sets on itself."""
    found = set()
    for file in [path] if path.is_file() else path.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return found


def test_the_layers_and_contracts_are_those_that_are_checked() -> None:
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    page = section(read("architecture.md"), "Parts")
    contracts = checked["contracts"]
    layers = [re.sub(r"( \| )?\(\w+\)", "", layer) for layer in contracts[0]["layers"]]
    assert "    " + " -> ".join(layers) + "\n" in page
    assert {row[0] for row in rows(page)} >= {contract["id"] for contract in contracts}


# All of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        leads_to = page.parent / name if name else page
        assert leads_to.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.*)$", leads_to.read_text(encoding="utf-8"))
            assert anchor in {slug(heading) for heading in headings}, target


def slug(heading: str) -> str:
    """How a heading is linked to on the usual web pages for Markdown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_listed() -> None:
    """docs/README.md leads to every page."""
    listed = set(re.findall(r"\]\(([^)]+)\)", read("README.md")))
    exist = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert exist - {"README.md"} == {name for name in listed if not name.startswith("..")}


def test_records_of_decisions_have_one_form() -> None:
    """Numbered without a gap; context, options, decision, consequences."""
    pages = sorted((DOCS / "adr").glob("*.md"))
    for number, page in enumerate(pages, start=1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        for heading in ("Context", "Consequences"):
            assert f"\n## {heading}\n" in text, page.name
        assert "ecision" in text, page.name


# access.md --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, yes", [("access.md", "yes"), ("access.zh-CN.md", "是")])
def test_the_table_of_roles_is_what_roles_may(name: str, yes: str) -> None:
    """Every action that a role can give has a line; the last column is who administers it all."""
    columns = r"(?m)^\|[^|]*\| \| reader \| developer \| operator \| admin \|[^|]*\|$"
    head = re.search(columns, read(name))
    assert head is not None
    table = read(name)[head.end() :].split("\n\n", 1)[0]
    said = {}
    for line in table.splitlines()[2:]:
        _, action, *roles = (cell.strip() for cell in line.strip("|").split("|"))
        said[Action(quoted(action)[0])] = [cell == yes for cell in roles]
    assert said == {
        action: [*(action in actions for actions in BUILT_IN.values()), True]
        for action in Action
        if action not in OPEN
    }
