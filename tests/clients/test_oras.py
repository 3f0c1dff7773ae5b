"""oras: artifacts pushed, attached to one another, discovered, copied, listed, deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.sites import PASSWORD, USER, Client, Site

SBOM = "application/vnd.example.sbom.v1"
REPORT = "application/vnd.example.report.v1"


@pytest.fixture
def options(site: Site, client: Client) -> list[str]:
    """How oras speaks to the site; logs in first where it must."""
    speak = f"--ca-file={site.ca}" if site.tls else "--plain-http"
    if site.accounts:
        login = ["oras", "login", speak, f"--username={USER}", "--password-stdin", site.host]
        client.run(*login, given=PASSWORD)
    return [speak]


def _file(client: Client, name: str, text: str) -> str:
    (client.home / name).write_text(text)
    return name


def _discover(client: Client, options: list[str], subject: str, *more: str) -> list[dict[str, Any]]:
    printed = client.run("oras", "discover", "--format", "json", *options, *more, subject)
    return list(json.loads(printed)["manifests"] or [])


def test_push_and_pull(site: Site, client: Client, options: list[str], tmp_path: Path) -> None:
    """A file pushed as an artifact with an empty config comes back with its name and content."""
    name = _file(client, "notes.txt", "from the warehouse\n")
    artifact = f"{site.host}/oras/notes:1"
    kind = ["--artifact-type", REPORT]
    client.run("oras", "push", *options, *kind, artifact, f"{name}:text/plain")
    client.run("oras", "pull", *options, "--output", str(tmp_path / "out"), artifact)
    assert (tmp_path / "out" / name).read_text() == "from the warehouse\n"
    manifest = json.loads(client.run("oras", "manifest", "fetch", *options, artifact))
    assert manifest["artifactType"] == REPORT


def test_attached_artifacts_are_discovered(site: Site, client: Client, options: list[str]) -> None:
    """What is attached to an artifact is found by the referrers API, and by its type."""
    subject = f"{site.host}/oras/subject:1"
    client.run("oras", "push", *options, subject, _file(client, "subject.txt", "subject"))
    for kind in (SBOM, REPORT):
        attached = _file(client, f"{kind.split('.')[-2]}.json", "{}")
        says = ["--annotation", f"kind={kind}"]
        client.run("oras", "attach", *options, *says, "--artifact-type", kind, subject, attached)
    found = _discover(client, options, subject)
    assert {row["artifactType"] for row in found} == {SBOM, REPORT}
    boms = _discover(client, options, subject, "--artifact-type", SBOM)
    assert [row["artifactType"] for row in boms] == [SBOM]
    assert boms[0]["annotations"]["kind"] == SBOM


def test_no_tag_is_left_for_referrers(site: Site, client: Client, options: list[str]) -> None:
    """oras sees the referrers API and leaves out the tag that stands in for it elsewhere."""
    subject = f"{site.host}/oras/tags:1"
    client.run("oras", "push", *options, subject, _file(client, "tags.txt", "tags"))
    report = _file(client, "report.json", "{}")
    client.run("oras", "attach", *options, "--artifact-type", REPORT, subject, report)
    tags = client.run("oras", "repo", "tags", *options, f"{site.host}/oras/tags").split()
    assert tags == ["1"]


def test_copied_with_all_that_refers_to_it(site: Site, client: Client, options: list[str]) -> None:
    """`oras cp --recursive` takes the referrers along into another repository."""
    source, target = f"{site.host}/oras/source:1", f"{site.host}/oras/target:1"
    client.run("oras", "push", *options, source, _file(client, "source.txt", "source"))
    report = _file(client, "attached.json", '{"attached": 1}')
    client.run("oras", "attach", *options, "--artifact-type", REPORT, source, report)
    within = [
        option.replace("--", f"--{side}-", 1) for side in ("from", "to") for option in options
    ]
    client.run("oras", "cp", "--recursive", *within, source, target)
    assert [row["artifactType"] for row in _discover(client, options, target)] == [REPORT]


def test_deleted_referrers_are_gone(site: Site, client: Client, options: list[str]) -> None:
    """A referrer that is deleted is not discovered any more."""
    subject = f"{site.host}/oras/deleted:1"
    client.run("oras", "push", *options, subject, _file(client, "deleted.txt", "deleted"))
    report = _file(client, "deleted.json", '{"deleted": 1}')
    client.run("oras", "attach", *options, "--artifact-type", REPORT, subject, report)
    referrer = _discover(client, options, subject)[0]["digest"]
    repository = subject.rpartition(":")[0]
    client.run("oras", "manifest", "delete", "--force", *options, f"{repository}@{referrer}")
    assert _discover(client, options, subject) == []


def test_catalog(site: Site, client: Client, options: list[str]) -> None:
    """`oras repo ls` lists the repositories of the registry."""
    artifact = f"{site.host}/oras/listed/deeply:1"
    client.run("oras", "push", *options, artifact, _file(client, "listed.txt", "listed"))
    assert "oras/listed/deeply" in client.run("oras", "repo", "ls", *options, site.host).split()
