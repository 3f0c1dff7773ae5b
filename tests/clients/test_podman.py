"""podman and buildah: build, push, pull, run, and manifest lists of several architectures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.clients.provide import path_of
from tests.clients.sites import PASSWORD, USER, WITH_ACCOUNTS, Client, Site
from tests.images_on_disk import digest_of

CONTAINERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "touch", "/built"]
CMD ["/bin/busybox", "ls", "/built"]
"""


@pytest.fixture
def stranger(client: Client) -> Client:
    """A client with a container storage of its own, not logged in."""
    storage = client.home / ".config" / "containers" / "storage.conf"
    place = client.home / "storage"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/graph"\nrunroot = "{place}/run"\n'
    )
    variables = {
        "CONTAINERS_STORAGE_CONF": str(storage),
        "BUILDAH_ISOLATION": "chroot",
        "BUILDAH_FORMAT": "oci",
    }
    return Client(client.home, variables={**client.variables, **variables})


@pytest.fixture
def speak(site: Site) -> str:
    """How the programs speak to the site."""
    return f"--cert-dir={site.folder}" if site.tls else "--tls-verify=false"


@pytest.fixture
def podman(stranger: Client, site: Site, speak: str) -> Client:
    """The client, logged in where it must be."""
    if site.accounts:
        login = ["podman", "login", speak, f"--username={USER}", "--password-stdin", site.host]
        assert "Login Succeeded" in stranger.run(*login, given=PASSWORD)
    return stranger


def test_build_push_pull_and_run(site: Site, podman: Client, speak: str) -> None:
    """An image built by buildah runs after podman removed it and pulled it from the registry.

    By buildah's own isolation: podman's needs rights that root does not have everywhere.
    """
    image = f"{site.host}/podman/built:1"
    context = podman.home / "context"
    context.mkdir()
    shutil.copy(path_of("busybox"), context / "busybox")
    (context / "Containerfile").write_text(CONTAINERFILE)
    podman.run("buildah", "build", "--tag", image, str(context))
    podman.run("buildah", "push", speak, image)
    podman.run("podman", "rmi", image)
    podman.run("podman", "pull", speak, image)
    container = podman.run("buildah", "from", "--pull-never", image).strip()
    printed = podman.run("buildah", "run", container, "--", "/bin/busybox", "ls", "/built")
    assert printed == "/built\n"


def test_manifest_list(site: Site, podman: Client, speak: str, layout: Path) -> None:
    """A list of two architectures is pushed with its images; each is pulled by its own."""
    listed, image = "localhost/many", f"{site.host}/podman/many:1"
    podman.run("podman", "manifest", "create", listed)
    for tag in ("one", "arm"):
        podman.run("podman", "manifest", "add", listed, f"oci:{layout}:{tag}")
    podman.run("podman", "manifest", "push", "--all", speak, listed, f"docker://{image}")
    with site.http() as http:
        accept = {"Accept": "application/vnd.oci.image.index.v1+json"}
        index = http.get("/v2/podman/many/manifests/1", headers=accept).json()
    pushed = {row["platform"]["architecture"]: row["digest"] for row in index["manifests"]}
    assert pushed == {"amd64": digest_of(layout, "one"), "arm64": digest_of(layout, "arm")}
    for architecture in pushed:
        podman.run("podman", "pull", speak, f"--arch={architecture}", image)
        seen = json.loads(podman.run("podman", "image", "inspect", image))
        assert seen[0]["Architecture"] == architecture


def test_manifest_list_in_docker_format(
    site: Site, podman: Client, speak: str, layout: Path
) -> None:
    """buildah converts a list and its images to Docker's media types."""
    listed, image = "localhost/v2s2", f"{site.host}/podman/v2s2:1"
    podman.run("buildah", "manifest", "create", listed)
    podman.run("buildah", "manifest", "add", listed, f"oci:{layout}:one")
    push = ["buildah", "manifest", "push", "--all", "--format=v2s2", speak]
    podman.run(*push, listed, f"docker://{image}")
    raw = json.loads(podman.run("skopeo", "inspect", "--raw", speak, f"docker://{image}"))
    assert raw["mediaType"] == "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.mark.parametrize("site", WITH_ACCOUNTS, indirect=True, scope="session")
def test_strangers_are_refused(site: Site, stranger: Client, speak: str, layout: Path) -> None:
    """Without logging in nothing is taken; a wrong password does not log in."""
    stranger.run("podman", "pull", f"oci:{layout}:one")
    image = stranger.run("podman", "images", "--quiet", "--no-trunc").split()[0]
    said = stranger.fails("podman", "push", speak, image, f"{site.host}/podman/refused:1")
    assert "unauthorized" in said or "authentication required" in said or "denied" in said
    login = ["podman", "login", speak, f"--username={USER}", "--password=wrong", site.host]
    assert "invalid username/password" in stranger.fails(*login)
