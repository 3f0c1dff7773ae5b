"""cosign: signatures found by the referrers API, and by tag as older versions keep them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.sites import PASSWORD, USER, Client, Site

OLD = "0"
NEW = "1"
"""Values of COSIGN_EXPERIMENTAL: signatures by tag, signatures by the referrers API."""


@pytest.fixture
def signer(site: Site, client: Client) -> Client:
    """A client with a key pair, logged in where it must be."""
    own = Client(client.home, variables={**client.variables, "COSIGN_PASSWORD": "key"})
    own.run("cosign", "generate-key-pair")
    if site.accounts:
        own.run("cosign", "login", site.host, "-u", USER, "-p", PASSWORD)
    return own


@pytest.fixture
def image(site: Site, client: Client, layout: Path, request: pytest.FixtureRequest) -> str:
    """An image in a repository of the test's own, by its digest."""
    name = request.node.name.partition("[")[0].replace("_", "-")
    repository = f"{site.host}/cosign/{name}"
    speak = f"--dest-cert-dir={site.folder}" if site.tls else "--dest-tls-verify=false"
    options = [speak, *(["--dest-creds", f"{USER}:{PASSWORD}"] if site.accounts else [])]
    digest = client.home / "digest"
    client.run(
        *("skopeo", "copy", *options, "--digestfile", str(digest)),
        *(f"oci:{layout}:one", f"docker://{repository}:1"),
    )
    return f"{repository}@{digest.read_text().strip()}"


@pytest.fixture
def options(site: Site) -> list[str]:
    """How cosign speaks to the site."""
    return [] if site.tls else ["--allow-http-registry"]


def test_signature_by_referrers(site: Site, signer: Client, image: str, options: list[str]) -> None:
    """A signature pushed as a referrer is listed by the referrers API, and verifies."""
    new = Client(signer.home, variables={**signer.variables, "COSIGN_EXPERIMENTAL": NEW})
    sign = ["cosign", "sign", "--yes", "--key", "cosign.key", "--tlog-upload=false"]
    new.run(*sign, "--registry-referrers-mode", "oci-1-1", *options, image)
    name, _, digest = image.removeprefix(f"{site.host}/").partition("@")
    with site.http() as http:
        listed = http.get(f"/v2/{name}/referrers/{digest}").json()["manifests"]
        tags = http.get(f"/v2/{name}/tags/list").json()["tags"]
    assert len(listed) == 1
    assert tags == ["1"]
    verify = ["cosign", "verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true"]
    seen = json.loads(new.run(*verify, "--experimental-oci11", *options, image))
    assert seen[0]["critical"]["image"]["docker-manifest-digest"] == digest


def test_signature_by_tag(signer: Client, image: str, options: list[str]) -> None:
    """Signatures of older versions, kept under a tag, verify; an unsigned image does not."""
    verify = ["cosign", "verify", "--key", "cosign.pub", "--insecure-ignore-tlog=true", *options]
    assert "no signatures found" in signer.fails(*verify, image)
    sign = ["cosign", "sign", "--yes", "--key", "cosign.key", "--tlog-upload=false", *options]
    signer.run(*sign, image)
    assert json.loads(signer.run(*verify, image))
