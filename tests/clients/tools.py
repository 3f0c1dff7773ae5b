"""How each client logs in, pushes and pulls: the commands, as a table, and what they push."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.clients.sites import Client


@dataclass(frozen=True, slots=True)
class Tool:
    """Commands, with `{name}`, `{host}`, `{repository}` and `{home}` for what differs. What is
    pushed is in the client's home; of what is pulled nothing is at hand.
    """

    login: str
    """Reads the password from its standard input."""
    push: tuple[str, ...]
    pull: tuple[str, ...]
    token_options: tuple[str, str] | None = ("", "")
    """What pushing and pulling need to go with a given `{token}`: nothing where it is taken from
    docker's file (`registrytoken`). None where a client can't be given one.
    """


_IMAGE: Final = "{host}/{repository}:1"

TOOLS: Final = {
    "docker": Tool(
        login="docker login --username={name} --password-stdin {host}",
        push=(
            f"docker import {{home}}/image.tar {_IMAGE}",
            f"docker push {_IMAGE}",
            f"docker rmi {_IMAGE}",
        ),
        pull=(f"docker pull {_IMAGE}", f"docker rmi {_IMAGE}"),
    ),
    "podman": Tool(
        login="podman login --tls-verify=false --username={name} --password-stdin {host}",
        push=(
            f"podman import {{home}}/image.tar {_IMAGE}",
            f"podman push --tls-verify=false {_IMAGE}",
            f"podman rmi {_IMAGE}",
        ),
        pull=(f"podman pull --tls-verify=false {_IMAGE}",),
        token_options=None,
    ),
    "skopeo": Tool(
        login="skopeo login --tls-verify=false --username={name} --password-stdin {host}",
        push=(f"skopeo copy --dest-tls-verify=false oci:{{home}}/layout:one docker://{_IMAGE}",),
        pull=(f"skopeo copy --src-tls-verify=false docker://{_IMAGE} oci:{{home}}/back:one",),
        token_options=("--dest-registry-token={token}", "--src-registry-token={token}"),
    ),
    "helm": Tool(
        login="helm registry login --plain-http --username={name} --password-stdin {host}",
        push=("helm push --plain-http {home}/chart-1.0.0.tgz oci://{host}/{repository}",),
        pull=("helm pull --plain-http -d {home}/back oci://{host}/{repository}/chart",),
    ),
    "oras": Tool(
        login="oras login --plain-http --username={name} --password-stdin {host}",
        push=(f"oras push --plain-http {_IMAGE} notes.txt:text/plain",),
        pull=(f"oras pull --plain-http --output={{home}}/back {_IMAGE}",),
    ),
}


@dataclass(frozen=True, slots=True)
class Workbench:
    """A tool in the hands of one client, at one registry; `token` is one that was given to it."""

    tool: Tool
    client: Client
    host: str
    token: str = ""

    def log_in(self, name: str, password: str) -> None:
        """Raises ClientError if the registry refuses it."""
        self.client.run(*self._words(self.tool.login, name=name), given=password)

    def push(self, repository: str) -> None:
        """Raises ClientError."""
        self._run(self.tool.push, repository, option=0)

    def pull(self, repository: str) -> None:
        """Raises ClientError."""
        self._run(self.tool.pull, repository, option=1)

    def _run(self, commands: tuple[str, ...], repository: str, *, option: int) -> None:
        more = self.tool.token_options[option] if self.token and self.tool.token_options else ""
        for command in commands:
            self.client.run(*self._words(f"{command} {more}", repository=repository))

    def _words(self, command: str, **values: str) -> list[str]:
        known = {"host": self.host, "home": self.client.home, "token": self.token, **values}
        return [word.format_map(known) for word in command.split()]


def make_chart(folder: Path) -> Path:
    """A packaged chart of helm's, in a folder of its own."""
    (folder / "chart").mkdir()
    (folder / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: chart\nversion: 1.0.0\n")
    maker = Client(folder, variables={})
    maker.run("helm", "package", str(folder / "chart"), "--destination", str(folder))
    return folder / "chart-1.0.0.tgz"


def furnish(home: Path, *, engine: str, layout: Path, chart: Path) -> Client:
    """Make a home that has something for each client to push, and return who lives there."""
    policy = home / ".config" / "containers" / "policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    storage = home / "storage"
    (home / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{storage}"\nrunroot = "{storage}-run"\n'
    )
    (home / "notes.txt").write_text(f"{home}\n")  # so that no other home has its layer
    command = ["tar", "-cf", str(home / "image.tar"), "-C", str(home), "notes.txt"]
    subprocess.run(command, check=True)
    (home / "layout").symlink_to(layout)
    (home / chart.name).symlink_to(chart)
    for folder in ("back", ".docker"):
        (home / folder).mkdir()
    variables = {"DOCKER_HOST": engine, "CONTAINERS_STORAGE_CONF": str(home / "storage.conf")}
    return Client(home, variables=variables)
