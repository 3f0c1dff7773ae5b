"""What was signed is deleted with its signatures, and comes back with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import programs
from tests.clients.sites import Client
from tests.servers import Registry, start_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    config = {"storage": {"delete": {"enabled": True}}}
    with start_registry(tmp_path_factory.mktemp("undo") / "registry", config=config) as running:
        yield running


@pytest.fixture
def signer(tmp_path: Path) -> Client:
    """A client with a key pair."""
    home = tmp_path / "home"
    policy = home / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    variables = {"DOCKER_CONFIG": str(home / ".docker"), "COSIGN_PASSWORD": "key"}
    made = Client(home, variables=variables)
    made.run("cosign", "generate-key-pair")
    return made


@pytest.mark.parametrize("experimental", ["0", "1"])
def test_a_signature_follows_its_image(
    registry: Registry, signer: Client, layout: Path, experimental: str
) -> None:
    """Whether it is kept under a tag or as a referrer: cosign verifies what was restored, and
    finds neither image nor signature in between.
    """
    variables = {**signer.variables, "COSIGN_EXPERIMENTAL": experimental}
    client = Client(signer.home, variables=variables)
    name = f"followed/by-{experimental}"
    speak = "--dest-tls-verify=false"
    place, digest_file = f"docker://{registry.host}/{name}:1", client.home / "digest"
    client.run(
        *("skopeo", "copy", speak, "--digestfile", str(digest_file), f"oci:{layout}:one", place)
    )
    image = f"{registry.host}/{name}@{digest_file.read_text().strip()}"
    sign = ["cosign", "sign", "--yes", "--key", "cosign.key", "--tlog-upload=false"]
    verify = ["cosign", "verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true"]
    if experimental == "1":
        sign += ["--registry-referrers-mode", "oci-1-1"]
        verify += ["--experimental-oci11"]
    client.run(*sign, "--allow-http-registry", image)
    client.run(*verify, "--allow-http-registry", image)
    client.run("skopeo", "delete", "--tls-verify=false", place)
    client.fails(*verify, "--allow-http-registry", image)
    here = ("--config", str(registry.config_path))
    listed = programs.run("trash", "list", "--repository", name, *here, "-o", "json")
    assert '"tag": "1"' in listed.stdout
    restored = programs.run("trash", "restore", "--repository", name, *here)
    assert restored.stdout.startswith("restored 2 manifests and "), restored.stderr
    client.run(*verify, "--allow-http-registry", image)
    source = ("--src-tls-verify=false", place)
    client.run("skopeo", "copy", *source, f"oci:{client.home / 'pulled'}:one")
