"""The keys of registry:2 and registry:3 that this version doesn't honour, and why: one table."""

from dataclasses import dataclass
from typing import Literal

from entrepot.config.errors import Notice, Problem
from entrepot.config.nodes import ListNode, MapNode, Node, ScalarNode

_DRIVERS_NOW = "use `filesystem`, `s3`, `gcs` or `azure`"


@dataclass(frozen=True, slots=True)
class NotHonoured:
    """A key without effect. An `error` refuses to start, because starting would be unsafe or wrong.

    With `when` "given" the key alone counts ("s3:"), with "asked" only a value that asks for
    something: not false, 0, empty or `disabled: true`. With `harmless_beside` given an error is
    a notice.
    """

    key: str
    effect: Literal["notice", "error"]
    reason: str
    when: Literal["asked", "given"] = "asked"
    harmless_beside: str = ""


NOT_HONOURED = (
    NotHonoured("log.hooks", "notice", "no mail is sent; watch the log or the metrics instead"),
    NotHonoured("log.reportcaller", "notice", "log lines name the event, not the calling function"),
    NotHonoured("storage.s3.loglevel", "notice", "log.level is for everything"),
    NotHonoured("storage.swift", "error", f"Swift is not supported; {_DRIVERS_NOW}", "given"),
    NotHonoured("storage.oss", "error", f"OSS is not supported; {_DRIVERS_NOW}", "given"),
    NotHonoured(
        "storage.filesystem.maxthreads",
        "notice",
        "not needed: http.limits.concurrency is the limit",
    ),
    NotHonoured("storage.tag", "notice", "not needed: the index finds a manifest's tags at once"),
    NotHonoured("storage.cache", "notice", "not needed: the index answers what the cache did"),
    NotHonoured("redis", "notice", "not needed: there is no cache that would be kept in Redis"),
    NotHonoured(
        "middleware", "error", "middleware is not supported; remove it or set `disabled: true`"
    ),
    NotHonoured(
        "proxy.remoteurl", "error", "a pull-through cache is not supported yet; remove `proxy`"
    ),
    NotHonoured("reporting", "notice", "nothing is sent to Bugsnag or New Relic"),
    NotHonoured(
        "notifications.endpoints", "notice", "webhooks are not supported yet; none is sent"
    ),
    NotHonoured("compatibility.schema1", "notice", "manifests of schema 1 are always refused"),
    NotHonoured(
        "policy.repository.classes", "notice", "classes are not checked; all artifacts are served"
    ),
    NotHonoured("validation.enabled", "notice", "the old form; use validation.disabled", "given"),
    NotHonoured(
        "http.tls.letsencrypt.cachefile",
        "error",
        "Let's Encrypt is not supported; give http.tls.certificate and http.tls.key",
        harmless_beside="http.tls.certificate",
    ),
    NotHonoured("http.tls.ciphersuites", "notice", "the TLS library picks safe cipher suites"),
)


def not_honoured(root: Node) -> tuple[list[Problem], list[Notice]]:
    """What the table says about the keys that are given in `root`."""
    problems: list[Problem] = []
    notices: list[Notice] = []
    for row in NOT_HONOURED:
        node = _find(root, row.key)
        if node is None or not (row.when == "given" or _asks(node)):
            continue
        beside = _find(root, row.harmless_beside) if row.harmless_beside else None
        if row.effect == "error" and (beside is None or not _asks(beside)):
            problems.append(Problem(f"{row.key}: {row.reason}", node.origin))
        else:
            notices.append(Notice(row.key, row.reason, node.origin))
    return problems, notices


def _find(node: Node | None, key: str) -> Node | None:
    for step in key.split("."):
        if not isinstance(node, MapNode):
            return None
        node = node.entries.get(step)
    return node


def _asks(node: Node) -> bool:
    match node:
        case ScalarNode():
            return bool(node.value)
        case ListNode():
            return any(_asks(item) for item in node.items)
        case MapNode():
            disabled = node.entries.get("disabled")
            if isinstance(disabled, ScalarNode) and disabled.value is True:
                return False
            return any(_asks(value) for value in node.entries.values())
