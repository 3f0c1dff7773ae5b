"""The description in OpenAPI: it has every route, and the registry does as it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from entrepot.api.routes import TABLE
from tests.programs import run
from tests.servers import start_registry

PASSWORD = "correct horse battery"
RUN_SECONDS = 30
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
LOCAL = {
    "auth": {
        "local": {"admin": {"password": PASSWORD}, "argon2": {"timecost": 1, "memorycost": 1024}},
        "limits": {"attempts": 1_000_000, "addressattempts": 1_000_000},
    }
}


@pytest.mark.timeout(300)
def test_the_registry_does_as_its_description_says(tmp_path: Path) -> None:
    """Requests of every form, good and bad, for half a minute: no answer but those described."""
    with start_registry(tmp_path / "registry", config=LOCAL, workers=1) as registry:
        url = f"{registry.url}/api/v1/openapi.json"
        description = httpx.get(url).raise_for_status().json()
        assert {
            (method.upper(), path)
            for path, found in description["paths"].items()
            for method in found
        } == {
            (route.method, route.path)
            for route in TABLE
            if route.path.startswith("/api/v1/") and not route.path.endswith("/openapi.json")
        }
        assert description["openapi"].startswith("3.1.")
        assert description["servers"] == [{"url": registry.url}]
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "run",
                url,
                f"--auth=admin:{PASSWORD}",
                f"--checks={','.join(CHECKS)}",
                "--phases=examples,coverage,fuzzing",
                f"--max-time={RUN_SECONDS}",
                "--max-examples=20",
                "--continue-on-failure",
                "--generation-deterministic",
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        # Somebody may have got another password, but there is an administrator.
        listed = run("user", "list", "--output", "json", "--config", str(registry.config_path))
        users = json.loads(listed.stdout)
        assert any(user["administrator"] and not user["disabled"] for user in users), users
