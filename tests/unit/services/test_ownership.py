"""Whose a storage is: one index at a time owns it, and everybody can find out which."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.db.address import IndexAddress
from entrepot.db.engine import Transaction
from entrepot.db.opening import open_index
from entrepot.db.settings import replace_setting
from entrepot.services.audit import Trail
from entrepot.services.ownership import (
    MARKER,
    adopt_storage,
    check_owner,
    claim_storage,
    find_index_id,
    find_owned_since,
    find_owner,
)
from entrepot.services.stores import Stores
from entrepot.storage import StorageError, StorageOwnedError
from entrepot.storage.directory import DirectoryTree
from entrepot.storage.memory import MemoryStore
from tests.sqlite import make_index
from tests.unit.services.conftest import SECOND, START, Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def indexes(tmp_path: Path) -> AsyncIterator[list[Stores]]:
    """Two registries that know nothing of each other, with a clock each."""
    found = []
    for name in ("one", "two"):
        make_index(tmp_path / name)
        address = IndexAddress(f"sqlite://{tmp_path / name}")
        index, clock, store = open_index(address), Clock(), MemoryStore()
        found.append(Stores(index, store, store, clock, Trail(index, now=clock)))
    yield found
    for stores in found:
        await stores.index.close()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[DirectoryTree]:
    with ThreadPoolExecutor(1) as threads:
        yield DirectoryTree(tmp_path / "storage", threads=threads)


def leave(tree: DirectoryTree, content: bytes | None) -> None:
    """Replace the marker by this, or by nothing."""
    marker = Path(tree.root, MARKER)
    marker.unlink()
    if content is not None:
        marker.write_bytes(content)


async def test_first_come(indexes: list[Stores], tree: DirectoryTree) -> None:
    """The first index owns the storage, whenever it is started; the other one is refused."""
    one, two = indexes
    assert not await check_owner(one, tree)
    assert await find_owner(tree) is None
    assert await find_owned_since(one.index, tree) is None
    await claim_storage(one, tree)
    one.now.now += SECOND  # type: ignore[attr-defined]
    await claim_storage(one, tree)
    assert await check_owner(one, tree)
    assert await find_owned_since(one.index, tree) == START
    own = await find_index_id(one.index)
    assert own is not None
    assert await find_owner(tree) == own
    with pytest.raises(StorageOwnedError, match=f"{own}.*entrepot database adopt"):
        await claim_storage(two, tree)
    assert await find_owned_since(two.index, tree) is None
    assert await find_owner(tree) == own
    assert await find_index_id(two.index) not in {None, own}


async def test_adopt(indexes: list[Stores], tree: DirectoryTree) -> None:
    """Whoever is made the owner is it from then on; the previous one is not any more. To adopt
    what is one's own changes nothing.
    """
    one, two = indexes
    await claim_storage(one, tree)
    two.now.now += SECOND  # type: ignore[attr-defined]
    adopted = await adopt_storage(two, tree, by="ada")
    assert adopted.previous == await find_index_id(one.index)
    assert adopted.index == await find_index_id(two.index) == await find_owner(tree)
    assert await find_owned_since(two.index, tree) == START + SECOND
    assert await find_owned_since(one.index, tree) is None
    with pytest.raises(StorageOwnedError):
        await claim_storage(one, tree)
    two.now.now += SECOND  # type: ignore[attr-defined]
    assert (await adopt_storage(two, tree, by="ada")).previous == adopted.index
    assert await find_owned_since(two.index, tree) == START + SECOND
    asked = "SELECT actor, target FROM audit_events WHERE action = 'storage.adopt'"
    assert await two.index.fetch_all(asked, {}) == [("ada", adopted.index)]


async def test_lost_marker(indexes: list[Stores], tree: DirectoryTree) -> None:
    """A storage that was moved without its marker, or lost its bytes in a power cut, is the index's
    from now on, so that a copy of unknown age is not taken for old.
    """
    one, _ = indexes
    for content in (None, b"", b"\n"):
        await claim_storage(one, tree)
        one.now.now += SECOND  # type: ignore[attr-defined]
        leave(tree, content)
        await claim_storage(one, tree)
        assert await find_owned_since(one.index, tree) == one.now()


async def test_restored_index(indexes: list[Stores], tree: DirectoryTree) -> None:
    """A copy of an index is the same index."""
    one, two = indexes
    await claim_storage(one, tree)
    own = str(await find_index_id(one.index))

    async def work(transaction: Transaction) -> None:
        await replace_setting(transaction, "index.id", value=own)

    await two.index.write(work)
    await claim_storage(two, tree)


async def test_too_large_a_marker(indexes: list[Stores], tree: DirectoryTree) -> None:
    """What can't be read is not nobody's."""
    await claim_storage(indexes[0], tree)
    leave(tree, b"x" * 2000)
    with pytest.raises(StorageError, match="index-id"):
        await claim_storage(indexes[0], tree)
