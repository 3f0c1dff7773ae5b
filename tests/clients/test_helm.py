"""helm: a chart pushed to the registry, shown, and pulled from it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.clients.sites import PASSWORD, USER, Client, Site

CHART = """\
apiVersion: v2
name: warehouse
description: A chart for a test
version: 1.2.3+build.4
"""
"""Helm writes the `+` of a version as `_` in the tag, which no registry needs to know."""

TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
"""


@pytest.fixture
def options(site: Site, client: Client) -> list[str]:
    """How helm speaks to the site; logs in first where it must."""
    speak = f"--ca-file={site.ca}" if site.tls else "--plain-http"
    if site.accounts:
        login = ["helm", "registry", "login", speak, f"--username={USER}", "--password-stdin"]
        client.run(*login, site.host, given=PASSWORD)
    return [speak]


@pytest.fixture
def package(client: Client) -> Path:
    """A packaged chart."""
    chart = client.home / "warehouse"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(CHART)
    (chart / "templates" / "map.yaml").write_text(TEMPLATE)
    client.run("helm", "package", str(chart), "--destination", str(client.home))
    return client.home / "warehouse-1.2.3+build.4.tgz"


def test_push_and_pull(site: Site, client: Client, options: list[str], package: Path) -> None:
    """A chart comes back byte for byte, and is rendered right from the registry."""
    charts = f"oci://{site.host}/charts"
    client.run("helm", "push", str(package), charts, *options)
    back = client.home / "back"
    back.mkdir()
    which = [f"{charts}/warehouse", "--version", "1.2.3+build.4"]
    client.run("helm", "pull", *which, *options, "--destination", str(back))
    assert (back / package.name).read_bytes() == package.read_bytes()
    with tarfile.open(back / package.name) as tar:
        assert "warehouse/Chart.yaml" in tar.getnames()
    assert "name: warehouse" in client.run("helm", "show", "chart", *which, *options)
    assert "name: tried" in client.run("helm", "template", "tried", *which, *options)


def test_newest_version_is_found_among_the_tags(
    site: Site, client: Client, options: list[str], package: Path
) -> None:
    """Without a version helm lists the tags and takes the newest that is not a preview."""
    charts = f"oci://{site.host}/newest"
    chart = client.home / "warehouse"
    for version in ("1.9.0", "1.10.0", "1.11.0-rc.1"):
        client.run("helm", "package", str(chart), "--version", version)
        client.run("helm", "push", f"warehouse-{version}.tgz", charts, *options)
    shown = client.run("helm", "show", "chart", f"{charts}/warehouse", *options)
    assert "version: 1.10.0" in shown
