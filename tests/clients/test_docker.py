"""docker, with a real engine: log in, build, push, pull, run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.clients.daemons import dockerd
from tests.clients.provide import path_of
from tests.clients.sites import PASSWORD, PLAIN, USER, WITH_ACCOUNTS, Client, Site

DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY greeting /greeting
CMD ["/bin/busybox", "cat", "/greeting"]
"""


@pytest.fixture(scope="module")
def engine(site: Site) -> Iterator[str]:
    """The address of an engine for this site."""
    with dockerd({"SSL_CERT_FILE": str(site.ca)} if site.tls else {}) as address:
        yield address


@pytest.fixture
def stranger(client: Client, engine: str) -> Client:
    """A docker client of the engine, not logged in."""
    variables = {"DOCKER_HOST": engine, "DOCKER_BUILDKIT": "0"}
    return Client(client.home, variables={**client.variables, **variables})


@pytest.fixture
def docker(stranger: Client, site: Site) -> Client:
    """A docker client of the engine, logged in where it must be."""
    if site.accounts:
        login = ["docker", "login", "--username", USER, "--password-stdin", site.host]
        assert "Login Succeeded" in stranger.run(*login, given=PASSWORD)
    return stranger


def _build(docker: Client, image: str, *, greeting: str) -> None:
    """An image of two layers, the first of which is the same for all."""
    context = docker.home / "context"
    context.mkdir(exist_ok=True)
    shutil.copy(path_of("busybox"), context / "busybox")
    (context / "greeting").write_text(greeting)
    (context / "Dockerfile").write_text(DOCKERFILE)
    docker.run("docker", "build", "--quiet", "--network", "none", "--tag", image, str(context))


def _digest(pushed: str) -> str:
    """The digest that `docker push` printed."""
    return next(word for word in pushed.split() if word.startswith("sha256:"))


def test_push_pull_run(site: Site, docker: Client) -> None:
    """An image built here runs after it was pushed, removed and pulled."""
    image = f"{site.host}/docker/app:1"
    _build(docker, image, greeting="from the registry\n")
    pushed = docker.run("docker", "push", image)
    docker.run("docker", "rmi", image)
    pulled = docker.run("docker", "pull", image)
    assert f"Digest: {_digest(pushed)}" in pulled
    assert docker.run("docker", "run", "--rm", "--network", "none", image) == "from the registry\n"
    with site.http() as http:
        assert http.get("/v2/docker/app/tags/list").json()["tags"] == ["1"]


def test_pull_by_digest(site: Site, docker: Client) -> None:
    """The digest that a push printed pulls the image."""
    image = f"{site.host}/docker/digest"
    _build(docker, f"{image}:1", greeting="by digest\n")
    docker.run("docker", "push", f"{image}:1")
    inspected = json.loads(docker.run("docker", "image", "inspect", f"{image}:1"))
    reference = next(r for r in inspected[0]["RepoDigests"] if r.startswith(image))
    docker.run("docker", "rmi", f"{image}:1")
    docker.run("docker", "pull", reference)
    assert docker.run("docker", "run", "--rm", "--network", "none", reference) == "by digest\n"


def test_shared_layers_are_mounted(site: Site, docker: Client) -> None:
    """The engine offers a layer it pushed before for mounting, and does not send it again."""
    first, second = f"{site.host}/docker/mount-from:1", f"{site.host}/docker/mount-to:1"
    _build(docker, first, greeting="mounted\n")
    docker.run("docker", "push", first)
    docker.run("docker", "tag", first, second)
    said = docker.run("docker", "push", second)
    assert said.count("Mounted from docker/mount-from") == 2


def test_push_again_finds_everything(site: Site, docker: Client) -> None:
    """A second push of the same image sends no layer."""
    image = f"{site.host}/docker/again:1"
    _build(docker, image, greeting="again\n")
    docker.run("docker", "push", image)
    assert docker.run("docker", "push", image).count("Layer already exists") == 2


@pytest.mark.parametrize("site", PLAIN, indirect=True, scope="session")
def test_manifest_list(site: Site, docker: Client) -> None:
    """`docker manifest` makes a list of two images; pulling it takes the one for this machine.

    Not over TLS: this command speaks plain HTTP to every registry on a loopback address.
    """
    repository = f"{site.host}/docker/list"
    _build(docker, f"{repository}:here", greeting="here\n")
    _build(docker, f"{repository}:there", greeting="there\n")
    for tag in ("here", "there"):
        docker.run("docker", "push", f"{repository}:{tag}")
    each = [f"{repository}:here", f"{repository}:there"]
    docker.run("docker", "manifest", "create", "--insecure", f"{repository}:all", *each)
    other = ["--os", "linux", "--arch", "s390x", f"{repository}:all", f"{repository}:there"]
    docker.run("docker", "manifest", "annotate", *other)
    docker.run("docker", "manifest", "push", "--insecure", f"{repository}:all")
    docker.run("docker", "rmi", *each)
    run = ["docker", "run", "--rm", "--network", "none", "--pull", "always"]
    assert docker.run(*run, f"{repository}:all") == "here\n"


@pytest.mark.parametrize("site", WITH_ACCOUNTS, indirect=True, scope="session")
def test_strangers_are_refused(site: Site, stranger: Client) -> None:
    """Without logging in nothing is taken; a wrong password does not log in."""
    image = f"{site.host}/docker/refused:1"
    _build(stranger, image, greeting="refused\n")
    said = stranger.fails("docker", "push", image)
    assert "no basic auth credentials" in said or "denied: requested access" in said
    wrong = ["docker", "login", "--username", USER, "--password", "wrong", site.host]
    assert "unauthorized" in stranger.fails(*wrong).lower()


def test_deleted_images_are_gone(site: Site, docker: Client) -> None:
    """What was deleted from the registry cannot be pulled any more."""
    image = f"{site.host}/docker/deleted:1"
    _build(docker, image, greeting="deleted\n")
    digest = _digest(docker.run("docker", "push", image))
    docker.run("docker", "rmi", image)
    with site.http() as http:
        assert http.delete(f"/v2/docker/deleted/manifests/{digest}").status_code == 202
    assert "manifest unknown" in docker.fails("docker", "pull", image)
