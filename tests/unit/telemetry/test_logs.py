"""The application log in its four forms."""

import asyncio
import io
import json
import logging
import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

import pytest
import structlog

from entrepot.config.schema import Log

LogOf = Callable[[Log], io.StringIO]


def fail(error: Exception) -> None:
    raise error


def only_line(stream: io.StringIO) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


def test_ecs(log_of: LogOf) -> None:
    """Required fields of the schema first, our own fields where they collide with nothing."""
    stream = log_of(Log(fields={"service": "registry", "cloud.region": "eu"}))
    structlog.contextvars.bind_contextvars(**{"url.path": "/v2/"})
    log = structlog.get_logger("entrepot.test")
    log.warning("disk is slow", user="x", seconds=2.5, request_id="r1")
    line = only_line(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("@timestamp"))
    assert line == {
        "log.level": "warning",
        "message": "disk is slow",
        "ecs.version": "8.11.0",
        "service.name": "entrepot",
        "log.logger": "entrepot.test",
        "labels.service": "registry",
        "cloud.region": "eu",
        "url.path": "/v2/",
        "http.request.id": "r1",
        "entrepot.user": "x",
        "entrepot.seconds": 2.5,
    }
    assert stream.getvalue().startswith('{"@timestamp":')


def test_json_has_the_names_of_registry2(log_of: LogOf) -> None:
    stream = log_of(Log(formatter="json", fields={"service": "registry"}))
    structlog.get_logger("entrepot.test").info("listening", level="other", msg="m")
    line = only_line(stream)
    assert line.pop("time")
    assert line == {
        "level": "info",
        "msg": "listening",
        "service": "registry",
        "logger": "entrepot.test",
        "fields.msg": "m",
    }


def test_logstash_has_the_names_of_registry2(log_of: LogOf) -> None:
    stream = log_of(Log(formatter="logstash"))
    structlog.get_logger("entrepot.test").error("failed", code=5)
    line = only_line(stream)
    assert line.pop("@timestamp")
    assert line == {
        "@version": "1",
        "level": "error",
        "message": "failed",
        "logger": "entrepot.test",
        "code": 5,
    }


def test_text(log_of: LogOf) -> None:
    stream = log_of(Log(formatter="text", fields={"site": "a b"}))
    structlog.get_logger("entrepot.test").info("listening", port=5000, path="/x", empty="")
    assert re.fullmatch(
        r'\S+Z info     entrepot\.test: listening site="a b" port=5000 path=/x empty=""\n',
        stream.getvalue(),
    )


@pytest.mark.parametrize("formatter", ["ecs", "json", "logstash", "text"])
def test_nobody_can_forge_a_line(
    log_of: LogOf, formatter: Literal["ecs", "json", "logstash", "text"]
) -> None:
    """Line breaks and terminal sequences in values, names and exceptions stay inside one event."""
    stream = log_of(Log(formatter=formatter))
    evil = "a\nforged\r\x1b[31m\u2028\x00\udc80"
    try:
        fail(ValueError(evil))
    except ValueError:
        structlog.get_logger("entrepot.test").exception("failed", **{"path": evil, "k\n": evil})
    lines = stream.getvalue().split("\n")
    assert "\x1b" not in stream.getvalue()
    assert not any(line.startswith("forged") for line in lines)
    if formatter != "text":
        assert len(lines) == 2


def test_exceptions_have_ecs_fields(log_of: LogOf) -> None:
    stream = log_of(Log())
    try:
        fail(KeyError("digest"))
    except KeyError:
        structlog.get_logger("entrepot.test").exception("failed")
    line = only_line(stream)
    assert line["log.level"] == "error"
    assert line["error.type"] == "KeyError"
    assert line["error.message"] == "'digest'"
    assert line["error.stack_trace"].startswith("Traceback")


def test_an_exception_given_as_a_value(log_of: LogOf) -> None:
    stream = log_of(Log())
    structlog.get_logger("entrepot.test").error("failed", exc_info=OSError("disk"), error=OSError())
    line = only_line(stream)
    assert line["error.message"] == "disk"
    assert line["entrepot.error"] == ""


def test_secrets_are_masked(log_of: LogOf) -> None:
    stream = log_of(Log(fields={"api_key": "key-in-fields"}))
    try:
        fail(RuntimeError("can't reach https://me:in-exception@host/"))
    except RuntimeError:
        structlog.get_logger("entrepot.test").exception(
            "request failed",
            password="in-value",
            headers={"Authorization": "Basic in-header"},
            url="/v2/a?_state=in-query",
        )
    for secret in ("key-in-fields", "in-exception", "in-value", "in-header", "in-query"):
        assert secret not in stream.getvalue()


@pytest.mark.parametrize(
    "level, written",
    [
        ("error", ["error"]),
        ("warn", ["warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("debug", ["debug", "info", "warning", "error"]),
    ],
)
def test_levels(
    log_of: LogOf, level: Literal["error", "warn", "info", "debug"], written: list[str]
) -> None:
    """Ours and the standard library's loggers obey the same level."""
    stream = log_of(Log(level=level))
    for log in (structlog.get_logger("entrepot.test"), logging.getLogger("other.library")):
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["log.level"] for line in lines] == written * 2


def test_foreign_loggers_go_the_same_way(log_of: LogOf) -> None:
    """Those of the HTTP server, which brings handlers of its own, too; warnings as well."""
    own = io.StringIO()
    logging.getLogger("_granian").addHandler(logging.StreamHandler(own))
    stream = log_of(Log())
    logging.getLogger("_granian").info("Started worker-%d", 1)
    logging.getLogger("alembic.runtime.migration").info("Context impl SQLiteImpl.")
    logging.getLogger("asyncio").error("Task was destroyed", exc_info=RuntimeError("x"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["log.logger"] for line in lines] == ["_granian", "asyncio", "py.warnings"]
    assert lines[0]["message"] == "Started worker-1"
    assert lines[1]["error.type"] == "RuntimeError"
    assert own.getvalue() == ""


def test_configured_twice_logs_once(log_of: LogOf) -> None:
    first = log_of(Log())
    second = log_of(Log(formatter="text", level="debug"))
    structlog.get_logger("entrepot.test").debug("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_loggers_made_before_the_set_up_obey_it(log_of: LogOf) -> None:
    early = structlog.get_logger("entrepot.early")
    stream = log_of(Log())
    early.info("hello")
    log_of(Log(level="error"))
    early.info("hello")
    assert only_line(stream)["log.logger"] == "entrepot.early"


def test_caller(log_of: LogOf) -> None:
    stream = log_of(Log(reportcaller=True))
    structlog.get_logger("entrepot.test").info("here")
    line = only_line(stream)
    assert line["log.origin.function"] == "test_caller"
    assert line["log.origin.file.name"].endswith("test_logs.py")
    assert line["log.origin.file.line"] > 1


def test_context_belongs_to_a_task(log_of: LogOf) -> None:
    """What one request binds is on its own lines only."""
    stream = log_of(Log())

    async def handle(number: int) -> None:
        structlog.contextvars.bind_contextvars(request=number)
        await asyncio.sleep(0)
        structlog.get_logger("entrepot.test").info("handled", expected=number)

    async def handle_all() -> None:
        await asyncio.gather(*(handle(number) for number in range(5)))

    asyncio.run(handle_all())
    for line in map(json.loads, stream.getvalue().splitlines()):
        assert line["entrepot.request"] == line["entrepot.expected"]
