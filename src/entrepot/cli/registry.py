"""Where the commands about accounts and rights do their work: in the index of the registry that is
configured here, or, with `--url`, over the API of one that runs somewhere. The operations, their
forms and their results are those of `/api/v1` in both cases.
"""

import json
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, NamedTuple, ParamSpec, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import typer

from entrepot.cli.accounts import caller, fail, run
from entrepot.core.errors import EntrepotError

if TYPE_CHECKING:
    import httpx

    from entrepot.api.route import Route
    from entrepot.api.v1.forms import Page, Stream
    from entrepot.api.v1.operation import Call, Operation
    from entrepot.services.administration import Administration

T = TypeVar("T")
P = ParamSpec("P")
Does = Callable[Concatenate["Call", P], Awaitable[T]]

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Do it over the API of the registry at this address, as whoever logged in there with "
        "`entrepot login` or `docker login`, instead of here.",
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="SECRET",
        envvar="ENTREPOT_TOKEN",
        help="With --url: a personal access token or a robot's secret, instead of the login.",
    ),
]

_SECONDS = 30.0
_OPEN = (
    "access control is off here: whoever is known may do everything, whatever is granted; say in "
    "the configuration who the administrators are, or access: {enabled: true}"
)
_PATIENCE = 600.0
"""Seconds to wait for an answer: a long audit log takes its time to verify."""
_MOST = 1000
"""Entries that are asked for at once."""


class RemoteError(EntrepotError):
    """The registry can't be asked, or refuses; the text says why."""


class Place(NamedTuple):
    """The options that say where a command works."""

    config: Path | None
    url: str | None
    token: str | None

    def do(self, operation: "Does[P, T]", /, *args: P.args, **query: P.kwargs) -> T:
        """Carry out one operation; what goes wrong ends the program with its reason."""
        if self.url is not None:
            try:
                return self._ask(operation, args, query)
            except EntrepotError as error:
                fail(str(error))
        if self.token is not None and "ENTREPOT_TOKEN" not in os.environ:
            fail("--token is for a registry at a --url; here nobody logs in")

        async def work(services: "Administration") -> T:
            from entrepot.core.roles import CONTENT

            done = await operation(_on_host(services), *args, **query)
            route, _ = _route_of(operation, args)
            given = route.method == "POST" and route.action not in CONTENT
            if given and not services.access.enabled:
                typer.secho(_OPEN, fg=typer.colors.YELLOW, err=True)
            return done

        return run(self.config, work)

    def pour(
        self,
        operation: "Callable[..., Awaitable[Stream]]",
        take: Callable[[bytes], None],
        **query: Any,
    ) -> None:
        """Carry out an operation whose result comes in pieces, and give each to `take`."""
        if self.url is None:

            async def work(services: "Administration") -> None:
                async for piece in (await operation(_on_host(services), **query)).pieces:
                    take(piece)

            return run(self.config, work)
        import httpx

        try:
            route, path = _route_of(operation, ())
            with self._asked(httpx, route.method, path, _words(query)) as answer:
                for piece in answer.iter_bytes():
                    take(piece)
        except EntrepotError as error:
            fail(str(error))

    def every(
        self, operation: "Callable[..., Awaitable[Page[T]]]", /, *args: Any, **query: Any
    ) -> list[T]:
        """Return the entries of all pages."""
        page = self.do(operation, *args, limit=_MOST, **query)
        found = list(page.items)
        while page.next is not None:
            page = self.do(operation, *args, limit=_MOST, after=page.next, **query)
            found += page.items
        return found

    def _ask(
        self, operation: Callable[..., Awaitable[T]], args: tuple[Any, ...], query: dict[str, Any]
    ) -> T:
        import httpx
        import msgspec

        from entrepot.api.v1.forms import Page

        route, path = _route_of(operation, args)
        handler: Any = route.handler
        body = msgspec.json.encode(args[-1]) if handler.body is not None else None
        with self._asked(httpx, route.method, path, _words(query), body) as answer:
            content = answer.read()
        try:
            result = _decoded(handler, content)
        except msgspec.MsgspecError as error:
            raise RemoteError(f"{self.url} is another version of registry: {error}") from error
        if isinstance(result, Page) and result.next is not None:
            after = parse_qs(urlsplit(result.next).query)["after"][0]
            result = msgspec.structs.replace(result, next=after)
        done: T = result
        return done

    @contextmanager
    def _asked(
        self, client: Any, method: str, path: str, query: dict[str, Any], body: bytes | None = None
    ) -> "Iterator[httpx.Response]":
        """Give the answer of the registry, whose body isn't read yet."""
        from entrepot.upstream.address import UpstreamAddress

        text = self.url or ""
        address = UpstreamAddress.parse(text if "://" in text else f"https://{text}")
        headers = {"content-type": "application/json"} if body is not None else {}
        auth = None
        if self.token is None or self.token.startswith("entr_"):
            auth = client.BasicAuth(*_login(address.host, self.token))
        else:
            headers["authorization"] = f"Bearer {self.token}"
        answer: httpx.Response
        try:
            with client.stream(
                method,
                address.url + path,
                params=query,
                content=body,
                headers=headers,
                auth=auth,
                timeout=client.Timeout(_SECONDS, read=_PATIENCE),
            ) as answer:
                if answer.status_code >= 300:
                    answer.read()
                    raise RemoteError(_reason(answer))
                yield answer
        except (client.HTTPError, client.InvalidURL) as error:
            raise RemoteError(f"{address.url} can't be asked: {error}") from error


def _route_of(
    operation: Callable[..., Awaitable[Any]], args: tuple[Any, ...]
) -> tuple["Route", str]:
    """Return the route of an operation, and its path."""
    from entrepot.api.v1.operation import Operation
    from entrepot.api.v1.table import TABLE

    for route in TABLE:
        handler = route.handler
        if isinstance(handler, Operation) and handler.function is operation:
            path = route.path
            for (name, _), value in zip(handler.fields, args, strict=False):
                path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
            return route, path
    raise LookupError(operation)


def _on_host(services: "Administration") -> "Call":
    from entrepot.api.v1.operation import Call
    from entrepot.core.access import Identity

    return Call(services, Identity("", "host", administrator=True), caller(), services.stores)


def _words(query: dict[str, Any]) -> dict[str, Any]:
    """Return a query as it is written; what is empty is left out."""
    from msgspec import to_builtins

    words = {k: v for k, v in to_builtins(query).items() if v not in ("", [], False, None)}
    return {name: "true" if value is True else value for name, value in words.items()}


def _decoded(operation: "Operation", content: bytes) -> Any:
    import msgspec

    if operation.result is type(None):
        return None
    return msgspec.json.decode(content, type=operation.result)


def _reason(answer: "httpx.Response") -> str:
    """Say why a registry refuses."""
    if answer.status_code == 401:
        return "the registry doesn't know you: log in with `entrepot login`, or give a good --token"
    try:
        first = answer.json()["errors"][0]
        detail = first.get("detail")
        reason = detail.get("reason") if isinstance(detail, dict) else None
        return str(reason or first["message"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"the registry answers {answer.status_code}, as none of this kind does"


def _login(host: str, token: str | None) -> tuple[str, str]:
    """Return the name and the password for a registry: the token, or what docker keeps."""
    from entrepot.upstream.logins import login_path

    if token is not None:
        return "token", token
    path = login_path(os.environ)
    try:
        known = json.loads(path.read_bytes()) if path is not None and path.exists() else {}
    except (OSError, ValueError) as error:
        raise RemoteError(f"{path} can't be read: {error}") from error
    store = (known.get("credHelpers") or {}).get(host) or known.get("credsStore")
    found = _from_store(str(store), host) if store else _from_file(path, host)
    if found is None:
        raise RemoteError(f"nobody is logged in at {host}: see `entrepot login`, or give a --token")
    if found[0] == "<token>":
        raise RemoteError(
            f"the login at {host} was in a browser and is for images alone: give a personal access "
            "token (--token)"
        )
    return found


def _from_file(path: Path | None, host: str) -> tuple[str, str] | None:
    from entrepot.upstream.address import UpstreamAddress
    from entrepot.upstream.logins import find_login

    if path is None:
        return None
    found = find_login(path, UpstreamAddress(f"https://{host}"))
    return None if found is None else (found.username, found.password)


def _from_store(store: str, host: str) -> tuple[str, str] | None:
    program = f"docker-credential-{store}"
    try:
        done = subprocess.run(
            [program, "get"], input=host, text=True, capture_output=True, check=False
        )
        told = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError) as error:
        raise RemoteError(f"{program} can't be asked: {error}") from error
    return None if told is None else (str(told["Username"]), str(told["Secret"]))
