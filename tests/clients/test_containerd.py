"""containerd, by ctr: import, push, pull, run a process from what was pulled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemons import containerd
from tests.clients.sites import PASSWORD, USER, WITH_ACCOUNTS, Client, Site
from tests.images_on_disk import digest_of


@pytest.fixture(scope="module")
def daemon() -> Iterator[str]:
    """The address of a containerd."""
    with containerd() as address:
        yield address


@pytest.fixture
def stranger(site: Site, client: Client) -> list[str]:
    """How ctr speaks to the site, without an account."""
    if not site.tls:
        return ["--plain-http"]
    hosts = client.home / "hosts"
    own = hosts / site.host
    own.mkdir(parents=True)
    (own / "hosts.toml").write_text(
        f'server = "{site.url}"\n[host."{site.url}"]\n'
        f'capabilities = ["pull", "resolve", "push"]\nca = "{site.ca}"\n'
    )
    return ["--hosts-dir", str(hosts)]


@pytest.fixture
def options(site: Site, stranger: list[str]) -> list[str]:
    """How ctr speaks to the site, with the account where one is asked for."""
    return [*stranger, *(["--user", f"{USER}:{PASSWORD}"] if site.accounts else [])]


@pytest.fixture
def ctr(daemon: str, request: pytest.FixtureRequest) -> list[str]:
    """ctr in a namespace of its own for each test, so that nothing is there before."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name).strip("-")
    return ["ctr", "--address", daemon, "--namespace", name]


def _import(client: Client, ctr: list[str], layout: Path, tag: str, image: str) -> None:
    """Bring an image of the layout into containerd under the name of `image`."""
    archive = client.home / "image.tar"
    archive.unlink(missing_ok=True)
    client.run("skopeo", "copy", f"oci:{layout}:{tag}", f"oci-archive:{archive}:{image}")
    client.run(*ctr, "images", "import", "--snapshotter", "native", str(archive))


def test_push_and_pull(
    site: Site, client: Client, ctr: list[str], options: list[str], layout: Path
) -> None:
    """An image pushed by containerd is pulled again with the digest it had, and unpacked."""
    image = f"{site.host}/containerd/app:1"
    _import(client, ctr, layout, "two", image)
    client.run(*ctr, "images", "push", *options, image)
    client.run(*ctr, "images", "remove", "--sync", image)
    client.run(*ctr, "images", "pull", *options, "--snapshotter", "native", image)
    listed = client.run(*ctr, "images", "list", f"name=={image}")
    assert digest_of(layout, "two") in listed
    mounted = client.home / "mounted"
    mounted.mkdir()
    client.run(*ctr, "images", "mount", "--snapshotter", "native", image, str(mounted))
    try:
        assert (mounted / "greeting").read_text() == "two\n"
    finally:
        client.run(*ctr, "images", "unmount", "--rm", str(mounted))


def test_pull_by_digest(
    site: Site, client: Client, ctr: list[str], options: list[str], layout: Path
) -> None:
    """What was pushed under a tag is pulled by its digest."""
    image = f"{site.host}/containerd/digest:1"
    _import(client, ctr, layout, "one", image)
    client.run(*ctr, "images", "push", *options, image)
    by_digest = f"{image.rpartition(':')[0]}@{digest_of(layout, 'one')}"
    client.run(*ctr, "images", "pull", *options, "--snapshotter", "native", by_digest)
    assert by_digest in client.run(*ctr, "images", "list", "--quiet").split()


@pytest.mark.parametrize("site", WITH_ACCOUNTS, indirect=True, scope="session")
def test_strangers_are_refused(
    site: Site, client: Client, ctr: list[str], stranger: list[str]
) -> None:
    """Without an account nothing is given."""
    image = f"{site.host}/containerd/refused:1"
    said = client.fails(*ctr, "images", "pull", *stranger, image)
    assert "401 Unauthorized" in said or "insufficient_scope" in said
