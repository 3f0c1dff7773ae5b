"""What must fit together in the sections of Google's and Azure's stores."""

from pathlib import Path

import pytest

from tests.unit.config.writing import load_text, problems_of


@pytest.mark.parametrize(
    "text, problem",
    [
        ("gcs: {bucket: ''}", "storage.gcs.bucket: no bucket is given"),
        ("gcs: {bucket: b, chunksize: 300000}", "storage.gcs.chunksize: expected a multiple of"),
        ("gcs: {bucket: b, chunksize: 1}", "storage.gcs.chunksize: "),
        (
            "gcs: {bucket: b, keyfile: /k, serviceaccount: /s}",
            "storage.gcs.keyfile: the account's key is given by serviceaccount; keep one",
        ),
        (
            "gcs: {bucket: b, keyfile: /k, credentials: {client_email: a@b}}",
            "storage.gcs.credentials: the account's key is given by keyfile; keep one",
        ),
        ("azure: {container: c}", "storage.azure.accountname: no storage account is given"),
        ("azure: {accountname: a}", "storage.azure.container: no container is given"),
        (
            "azure: {accountname: a, container: c, credentials: {type: shared_key}}",
            "storage.azure.accountkey: credentials.type is shared_key",
        ),
        (
            (
                "azure: {accountname: a, container: c, accountkey: k, "
                "credentials: {type: default_credentials}}"
            ),
            "storage.azure.accountkey: credentials.type is default_credentials; keep one",
        ),
        (
            (
                "azure: {accountname: a, container: c, credentials: "
                "{type: client_secret, clientid: i, secret: s}}"
            ),
            "storage.azure.credentials.tenantid: client_secret needs it",
        ),
        (
            "azure: {accountname: a, container: c, serviceurl: a.example.com}",
            "storage.azure.serviceurl: expected a URL",
        ),
    ],
)
def test_refused(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, f"storage: {{{text}}}")
    assert problem in found


@pytest.mark.parametrize(
    "text",
    [
        "gcs: {bucket: b, project: p, serviceaccount: /key.json}",
        "gcs: {bucket: b, keyfile: /key.json, rootdirectory: /r, chunksize: 5242880}",
        "gcs: {bucket: b, credentials: {type: service_account, private_key: k, client_email: e}}",
        "azure: {accountname: a, accountkey: k, container: c, realm: core.chinacloudapi.cn}",
        "azure: {accountname: a, container: c, max_retries: 3, retry_delay: 200ms}",
        "azure: {accountname: a, container: c, copy_status_poll_max_retry: -1}",
    ],
)
def test_accepted(tmp_path: Path, text: str) -> None:
    """registry:2's and registry:3's keys, and ours."""
    assert load_text(tmp_path, f"storage: {{{text}}}").notices == ()
