"""What every tree of files promises: one suite for directories and for object stores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from entrepot.storage import StorageError
from entrepot.storage.directory import DirectoryTree
from entrepot.storage.object_tree import ObjectTree
from entrepot.storage.tree import OwnTree, Tree
from tests.objectstores import SeaweedFS

pytestmark = pytest.mark.anyio

AT = 1_600_000_000_000_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["directory", "objects"])
async def tree(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OwnTree]:
    if request.param == "objects":
        store: SeaweedFS = request.getfixturevalue("seaweedfs")
        client = store.client("tests")
        yield ObjectTree(client, prefix=f"trees/{uuid4()}/")
        await client.close()
        return
    with ThreadPoolExecutor(4) as threads:
        yield DirectoryTree(tmp_path / "tree", threads=threads)


async def fill(tree: Tree, *paths: str) -> None:
    await tree.write_many([(path, path.encode(), AT) for path in paths])


async def names(tree: Tree, path: str) -> list[str]:
    found = [name async for page in tree.names(path) for name in page]
    assert len(found) == len(set(found)), "each name once"
    return sorted(found)


async def paths(tree: Tree, path: str) -> list[str]:
    return sorted([file.path async for page in tree.files(path) for file in page])


async def test_names_of_folders(tree: Tree) -> None:
    """Folders alone, each once, none of what is deeper or beside; nothing where nothing is."""
    await fill(tree, "a/b/1", "a/b/2", "a/c/d/e", "a/file", "ab/x/1", "a/b-c/1", "a/b0/1")
    assert await names(tree, "a") == ["b", "b-c", "b0", "c"]
    assert await names(tree, "a/c") == ["d"]
    assert await names(tree, "a/b") == []
    assert await names(tree, "none") == []


async def test_many_names_and_files(tree: Tree) -> None:
    """More than a page of folders, and a folder with more files than are read through."""
    wanted = [f"n{number:04}" for number in range(600)]
    await fill(tree, *(f"many/{name}/link" for name in wanted))
    await fill(tree, *(f"many/n0000/deep/{number}" for number in range(700)))
    assert await names(tree, "many") == wanted
    assert len(await paths(tree, "many")) == 1300


async def test_files_with_size_and_time(tree: Tree) -> None:
    await fill(tree, "a/b/c", "a/d", "e")
    files = [file async for page in tree.files("a") for file in page]
    assert {file.path: file.size for file in files} == {"a/b/c": 5, "a/d": 3}
    for file in files:
        # An object store says itself when something was written.
        assert file.modified == AT if isinstance(tree, DirectoryTree) else file.modified > AT
        assert file.error is None


async def test_what_is_in_one_folder_stays_together(tree: Tree) -> None:
    await fill(tree, *(f"t/{tag}/{n}/{m}" for tag in ("a", "a-b", "b") for n in "12" for m in "34"))
    order = [file.path.split("/")[1] async for page in tree.files("t") for file in page]
    assert [tag for n, tag in enumerate(order) if n == 0 or order[n - 1] != tag] == sorted(
        set(order), key=order.index
    )


async def test_reading_small_files(tree: Tree) -> None:
    await fill(tree, "a", "b/c")
    found = await tree.read_many(["b/c", "none", "a", "a/below"], most=3)
    assert found == [b"b/c", None, b"a", None]
    (large,) = await tree.read_many(["b/c"], most=2)
    assert isinstance(large, StorageError)
    assert await tree.sizes(["a", "none", "b/c"]) == [1, None, 3]


async def test_reading_a_large_file(tree: Tree) -> None:
    data = os.urandom(5 * 1_048_576 + 7)
    await tree.write_many([("large", data, AT)])
    assert b"".join([piece async for piece in tree.pieces("large")]) == data
    with pytest.raises(StorageError):
        [piece async for piece in tree.pieces("none")]


async def test_writing_again_and_deleting(tree: Tree) -> None:
    await fill(tree, "a/b/c", "a/d")
    await tree.write_many([("a/b/c", b"new", AT)])
    assert await tree.read_many(["a/b/c"], most=9) == [b"new"]
    await tree.delete_many(["a/b/c", "none"])
    assert await paths(tree, "a") == ["a/d"]
    assert await names(tree, "a") == [], "empty folders go, too"
    await tree.settle()


async def test_of_several_who_create_a_file_one_does(tree: OwnTree) -> None:
    """Everybody reads the same afterwards, and nothing else is left."""

    async def create(number: int) -> bytes | StorageError | None:
        await tree.create("a/b", f"{number}".encode())
        return (await tree.read_many(["a/b"], most=9))[0]

    read = await asyncio.gather(*map(create, range(8)))
    assert len(set(read)) == 1
    assert read[0] in {f"{number}".encode() for number in range(8)}
    await tree.create("a/b", b"late")
    assert await tree.read_many(["a/b"], most=9) == read[:1]
    assert await paths(tree, "a") == ["a/b"]


async def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A file and a folder are told; what is beside them is read."""
    root = tmp_path / "tree"
    with ThreadPoolExecutor(1) as threads:
        tree = DirectoryTree(root, threads=threads)
        await fill(tree, "a/whole")
        for name in ("looped", "folder"):
            (root / "a" / name).symlink_to(name)
        found = await tree.read_many(["a/looped", "a/whole"], most=9)
        assert isinstance(found[0], StorageError)
        assert found[1] == b"a/whole"
        assert await tree.sizes(["a/looped"]) == [None]


async def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """It is listed with the reason: a name longer than the system takes stands for it here."""
    with ThreadPoolExecutor(1) as threads:
        tree = DirectoryTree(tmp_path, threads=threads)
        (file,) = [file async for page in tree.files("x" * 300) for file in page]
        assert (file.size, file.path) == (0, "x" * 300)
        assert file.error is not None
        with pytest.raises(StorageError):
            await names(tree, "x" * 300)


async def test_a_hard_link(tmp_path: Path) -> None:
    """In place of a torn file, too; not from where nothing is, nor across file systems."""
    with ThreadPoolExecutor(1) as threads:
        one = DirectoryTree(tmp_path / "one", threads=threads)
        two = DirectoryTree(tmp_path / "two", threads=threads)
        await fill(one, "a/b")
        await two.write_many([("a/b", b"torn", AT)])
        for _ in range(2):
            assert await two.link(one, "a/b")
            assert (tmp_path / "two/a/b").samefile(tmp_path / "one/a/b")
        assert not await two.link(one, "none")
        assert [path.name for path in (tmp_path / "two" / "a").iterdir()] == ["b"]
