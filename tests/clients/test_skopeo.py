"""skopeo: copy in and out, every image of a list, conversion, listing, inspection, sync, delete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.sites import PASSWORD, USER, WITH_ACCOUNTS, Client, Site
from tests.images_on_disk import digest_of, make_index, manifest_of

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def options(site: Site, client: Client) -> list[str]:
    """How skopeo speaks to the site; logs in first where it must."""
    speak = f"--cert-dir={site.folder}" if site.tls else "--tls-verify=false"
    if site.accounts:
        login = ["skopeo", "login", speak, f"--username={USER}", "--password-stdin", site.host]
        client.run(*login, given=PASSWORD)
    return [speak]


def _both(options: list[str], side: str) -> list[str]:
    """The options of `skopeo copy` for one side, which has them under names of its own."""
    return [option.replace("--", f"--{side}-", 1) for option in options]


def test_what_is_copied_in_comes_out_the_same(
    site: Site, client: Client, options: list[str], layout: Path, tmp_path: Path
) -> None:
    """An image copied to the registry and back has the digest and the bytes it had."""
    image = f"docker://{site.host}/skopeo/app:one"
    client.run("skopeo", "copy", *_both(options, "dest"), f"oci:{layout}:one", image)
    client.run("skopeo", "copy", *_both(options, "src"), image, f"oci:{tmp_path}/back:one")
    assert manifest_of(tmp_path / "back", "one") == manifest_of(layout, "one")
    seen = json.loads(client.run("skopeo", "inspect", *options, image))
    assert seen["Digest"] == digest_of(layout, "one")
    assert seen["RepoTags"] == ["one"]


def test_layers_go_from_repository_to_repository(
    site: Site, client: Client, options: list[str], layout: Path
) -> None:
    """A copy within the registry, tags listed afterwards."""
    source, target = f"docker://{site.host}/skopeo/from", f"docker://{site.host}/skopeo/to"
    within = [*_both(options, "src"), *_both(options, "dest")]
    client.run("skopeo", "copy", *_both(options, "dest"), f"oci:{layout}:two", f"{source}:1")
    for tag in ("b", "a", "c"):
        client.run("skopeo", "copy", *within, f"{source}:1", f"{target}:{tag}")
    listed = json.loads(client.run("skopeo", "list-tags", *options, target))
    assert listed["Tags"] == ["a", "b", "c"]


def test_converted_to_docker_schema_2(
    site: Site, client: Client, options: list[str], layout: Path
) -> None:
    """`--format v2s2` pushes a Docker manifest, which is served as one."""
    image = f"docker://{site.host}/skopeo/v2s2:one"
    to = _both(options, "dest")
    client.run("skopeo", "copy", "--format", "v2s2", *to, f"oci:{layout}:one", image)
    raw = json.loads(client.run("skopeo", "inspect", "--raw", *options, image))
    assert raw["mediaType"] == DOCKER_MANIFEST


def test_every_image_of_a_list(
    site: Site, client: Client, options: list[str], layout: Path, tmp_path: Path
) -> None:
    """`--all` brings a list in with its images, and takes it out the same."""
    index = tmp_path / "index"
    make_index(index, layout, tags=("one", "arm"))
    listed = f"docker://{site.host}/skopeo/all:1"
    client.run("skopeo", "copy", "--all", *_both(options, "dest"), f"oci:{index}:all", listed)
    back = f"oci:{tmp_path}/back:all"
    client.run("skopeo", "copy", "--all", *_both(options, "src"), listed, back)
    assert manifest_of(tmp_path / "back", "all") == manifest_of(index, "all")
    for tag in ("one", "arm"):
        one = f"docker://{site.host}/skopeo/all@{digest_of(layout, tag)}"
        client.run("skopeo", "inspect", *options, "--raw", one)


def test_sync_out_and_in_again(
    site: Site, client: Client, options: list[str], layout: Path, tmp_path: Path
) -> None:
    """A whole repository goes to a folder, and from there into another repository."""
    for tag in ("one", "two"):
        image = f"docker://{site.host}/skopeo/synced:{tag}"
        client.run("skopeo", "copy", *_both(options, "dest"), f"oci:{layout}:{tag}", image)
    folder = tmp_path / "synced"
    client.run(
        *("skopeo", "sync", "--src", "docker", "--dest", "dir", *_both(options, "src")),
        *(f"{site.host}/skopeo/synced", str(folder)),
    )
    client.run(
        *("skopeo", "sync", "--src", "dir", "--dest", "docker", *_both(options, "dest")),
        *(str(folder), f"{site.host}/skopeo/again"),
    )
    again = f"docker://{site.host}/skopeo/again/synced"
    assert json.loads(client.run("skopeo", "list-tags", *options, again))["Tags"] == ["one", "two"]
    seen = json.loads(client.run("skopeo", "inspect", *options, f"{again}:two"))
    assert seen["Digest"] == digest_of(layout, "two")


def test_deleted_images_are_gone(
    site: Site, client: Client, options: list[str], layout: Path
) -> None:
    """skopeo deletes by digest: the image is gone under its tag too, the other one stays."""
    repository = f"docker://{site.host}/skopeo/deleted"
    for tag in ("one", "two"):
        target = f"{repository}:{tag}"
        client.run("skopeo", "copy", *_both(options, "dest"), f"oci:{layout}:{tag}", target)
    client.run("skopeo", "delete", *options, f"{repository}:one")
    assert "manifest unknown" in client.fails("skopeo", "inspect", *options, f"{repository}:one")
    assert json.loads(client.run("skopeo", "list-tags", *options, repository))["Tags"] == ["two"]
    client.run("skopeo", "inspect", *options, f"{repository}:two")


@pytest.mark.parametrize("site", WITH_ACCOUNTS, indirect=True, scope="session")
def test_strangers_are_refused(site: Site, client: Client, layout: Path) -> None:
    """Without logging in, a site with accounts takes and gives nothing."""
    speak = f"--cert-dir={site.folder}" if site.tls else "--tls-verify=false"
    image = f"docker://{site.host}/skopeo/refused:one"
    assert "unauthorized" in client.fails("skopeo", "inspect", speak, image)
    wrong = ["--dest-creds", f"{USER}:wrong", *_both([speak], "dest")]
    said = client.fails("skopeo", "copy", *wrong, f"oci:{layout}:one", image)
    assert "unauthorized" in said
