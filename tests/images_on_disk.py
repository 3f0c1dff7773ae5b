"""Real, runnable images made on the spot with umoci and a static busybox: no network, no engine.

An image consists of a layer with /bin/busybox and one layer for each further file. Running it
prints the content of /greeting.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
REFERENCE: Final = "org.opencontainers.image.ref.name"

GREETING: Final = "/greeting"
"""The file that a container made from one of these images prints."""


def make_image(
    layout: Path, tag: str, *, files: Mapping[str, str], architecture: str = "amd64"
) -> str:
    """Add an image to the OCI layout at `layout`, made if absent; the digest of its manifest."""
    if not layout.exists():
        _umoci("init", "--layout", str(layout))
    image = f"{layout}:{tag}"
    _umoci("new", "--image", image)
    _add_layer(layout, tag, "bin/busybox", Path(_busybox()))
    for path, text in files.items():
        source = layout.with_name(f"{layout.name}-file")
        source.write_text(text)
        _add_layer(layout, tag, path.lstrip("/"), source)
        source.unlink()
    _umoci(
        *("config", "--image", image, "--architecture", architecture, "--os", "linux"),
        *("--config.cmd", "/bin/busybox", "--config.cmd", "cat", "--config.cmd", GREETING),
    )
    return digest_of(layout, tag)


def make_index(index: Path, layout: Path, *, tags: Sequence[str]) -> str:
    """A copy of `layout` at `index`, where the tag `all` is a list of the images with `tags`.

    Gives the digest of the list.
    """
    shutil.copytree(layout, index)
    images = {row["digest"]: row for row in _rows(layout)}
    listed = []
    for tag in tags:
        row = images[digest_of(layout, tag)]
        config = json.loads(_blob(layout, json.loads(manifest_of(layout, tag))["config"]["digest"]))
        platform = {"os": config["os"], "architecture": config["architecture"]}
        listed.append({k: row[k] for k in ("mediaType", "digest", "size")} | {"platform": platform})
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
    data = json.dumps(document, indent=1).encode()
    encoded = hashlib.sha256(data).hexdigest()
    (index / "blobs" / "sha256" / encoded).write_bytes(data)
    row = {"mediaType": OCI_INDEX, "digest": f"sha256:{encoded}", "size": len(data)}
    row["annotations"] = {REFERENCE: "all"}
    top = {"schemaVersion": 2, "manifests": [row]}
    (index / "index.json").write_text(json.dumps(top))
    return f"sha256:{encoded}"


def digest_of(layout: Path, tag: str) -> str:
    """The digest that an OCI layout has for a tag. Raises KeyError."""
    for row in _rows(layout):
        if row.get("annotations", {}).get(REFERENCE) == tag:
            return str(row["digest"])
    raise KeyError(tag)


def manifest_of(layout: Path, tag: str) -> bytes:
    """The bytes of the manifest that an OCI layout has for a tag. Raises KeyError."""
    return _blob(layout, digest_of(layout, tag))


def _rows(layout: Path) -> list[dict[str, Any]]:
    return list(json.loads((layout / "index.json").read_text())["manifests"])


def _blob(layout: Path, digest: str) -> bytes:
    algorithm, _, encoded = digest.partition(":")
    return (layout / "blobs" / algorithm / encoded).read_bytes()


def _add_layer(layout: Path, tag: str, path: str, source: Path) -> None:
    _umoci("insert", "--image", f"{layout}:{tag}", str(source), f"/{path}")


def _busybox() -> str:
    found = shutil.which("busybox", path="/bin:/usr/bin")
    if found is None:
        raise FileNotFoundError("busybox (Debian package busybox-static)")
    return found


def _umoci(*arguments: str) -> None:
    done = subprocess.run(
        ["umoci", *arguments], check=False, capture_output=True, text=True, timeout=60
    )
    if done.returncode != 0:
        raise AssertionError(f"umoci {' '.join(arguments)} failed: {done.stderr or done.stdout}")
