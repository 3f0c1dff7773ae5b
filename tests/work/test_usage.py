"""Who uses how many bytes, against sums made by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from entrepot.core.access import Action, Identity
from entrepot.core.decision import Policy
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.usage import Usage
from entrepot.services import usage
from entrepot.services.access import View, Visible
from tests.collection.conftest import engine_site, template  # noqa: F401 - fixtures
from tests.collection.sites import Site
from tests.servers import Registry, start_registry
from tests.wire import images
from tests.wire.images import Image
from tests.work.conftest import Run, push, told


def size(*made: Image, without: tuple[Image, ...] = ()) -> int:
    """The bytes of all blobs of images, each once, that others don't have."""
    others = {blob.digest for image in without for blob in image.every_blob()}
    sizes = {blob.digest: len(blob.data) for image in made for blob in image.every_blob()}
    return sum(count for digest, count in sizes.items() if digest not in others)


EVERYTHING = Visible(
    View(Identity("root", "test", administrator=True), Policy({}), ()), Action.PULL, now=0
)
"""Read one by one, as by those who may not read all there is, and all of it is visible."""


@pytest.mark.anyio
@pytest.mark.parametrize("readable", [None, EVERYTHING], ids=["sums", "one by one"])
async def test_tags(engine_site: Site, readable: Visible | None) -> None:  # noqa: F811 - a fixture
    """What an index lists counts; what another tag, index or repository needs is shared."""
    site = engine_site

    async def measure(last: str = "", limit: int = 1000) -> list[tuple[Tag, Usage]]:
        name = RepositoryName("a")
        return await usage.measure_tags(
            site.stores, name, last=last, limit=limit, readable=readable
        )

    first, second = images.image("first", layer_count=2), images.image("second", layer_count=1)
    index, other = images.index([first, second]), images.image("other", layer_count=1)
    twice = images.image("twice")
    await site.push("a", "index", index)
    await site.push("a", "other", other)
    for tag in ("twice", "again"):
        await site.push("a", tag, twice)
    measured = dict(await measure())
    rest = (other, twice)
    assert measured[Tag("index")] == (size(first, second), size(first, second, without=rest))
    assert measured[Tag("other")] == (size(other), size(other, without=(index, twice)))
    assert measured[Tag("twice")] == measured[Tag("again")] == (size(twice), 0)
    await site.push("a", "first", first)
    page = await measure("again", 2)
    assert page == [
        (Tag("first"), (size(first), 0)),
        (Tag("index"), (size(first, second), size(second, without=(first, *rest)))),
    ]
    await site.push("b", "second", second)
    ((_, measured_again),) = await measure("first", 1)
    assert measured_again.exclusive == 0
    for place, sizes in (("a", (index, other, twice)), ("b", (second,))):
        whole = await usage.measure_namespace(site.stores, place, readable)
        assert whole == (size(*sizes), size(*sizes, without=(second,)))


SHARED, OWN, LONE = (images.image(seed, layer_count=2) for seed in ("shared", "own", "lone"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with start_registry(tmp_path_factory.mktemp("usage") / "registry", workers=1) as running:
        push(running, "team/a", "shared", SHARED)
        push(running, "team/a", "own", OWN)
        push(running, "team/deep/b", "shared", SHARED)
        push(running, "team-other/c", "lone", LONE)
        push(running, "team-other/c", "shared", SHARED)
        yield running


def test_the_command(run: Run, registry: Registry) -> None:
    """Namespaces with all below them, and no others that begin alike."""
    place = ("-c", registry.config_path, "-o", "json")
    found = told(run("usage", "team", *place))
    shared, own = size(SHARED), size(OWN, without=(SHARED, LONE))
    assert (found["name"], found["bytes"]) == ("team", size(SHARED, OWN))
    assert (found["exclusive"], found["shared"]) == (own, size(SHARED, OWN) - own)
    of = {each["name"]: each for each in found["repositories"]}
    assert set(of) == {"team/a", "team/deep/b"}
    assert (of["team/deep/b"]["bytes"], of["team/deep/b"]["exclusive"]) == (shared, 0)
    assert (of["team/a"]["bytes"], of["team/a"]["exclusive"]) == (size(SHARED, OWN), own)
    whole = told(run("usage", *place))
    assert whole["bytes"] == whole["exclusive"] == size(SHARED, OWN, LONE)
    tags = told(run("usage", "team/a", "--tags", *place))
    assert [each["name"] for each in tags["tags"]] == ["own", "shared"]
    assert tags["bytes"] == size(SHARED, OWN)
    text = run("usage", "team", "-c", registry.config_path)
    assert "team/deep/b" in text.stdout
    assert "team as a whole" in text.stdout
    missing = run("usage", "nowhere", "--tags", "-c", registry.config_path)
    assert (missing.returncode, "there is no repository nowhere" in missing.stderr) == (1, True)
