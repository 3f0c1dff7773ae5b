"""An operation of `/api/v1`: a function that takes what was sent and returns what is answered.

    async def change_user(call: Call, user: str, body: UserChange) -> UserView
    async def list_users(call: Call, *, limit: Limit = PAGE, after: After = "") -> Page[UserView]

What stands before `body` are fields of the path, what is keyword-only is the query. A request is
let in by these steps, and nobody learns more than the step says:

1. Without access control there is no API at all: it would be open to everybody.
2. Whoever is unknown, or brings a credential that is no good, gets 401.
3. What was sent is read, at most `LARGEST` bytes of it, and must have the form of the operation.
4. The action is decided, where the operation's `need` says. Who may not see the place, or the
   thing, gets 404 as if it did not exist; everybody else 403 with the reason.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, get_origin, get_type_hints
from urllib.parse import urlencode

import msgspec

from entrepot.api.context import Context
from entrepot.api.http import Headers, Request, Response, empty_response, json_response
from entrepot.api.v1.forms import Page, Stream
from entrepot.core.access import Action, Identity
from entrepot.core.accounts import AccountConflictError, AccountError, AccountUnknownError
from entrepot.core.audit import Actor, on_host
from entrepot.core.cron import CronError
from entrepot.core.decision import AccessConflictError, AccessError, AccessUnknownError
from entrepot.core.errors import (
    ConflictError,
    DeniedError,
    InsufficientScopeError,
    NotFoundError,
    ObjectUnknownError,
    ProtocolError,
    RequestInvalidError,
    RequestTooLargeError,
    UnauthorizedError,
)
from entrepot.core.names import RepositoryName
from entrepot.core.patterns import PatternInvalidError
from entrepot.core.protections import (
    ProtectionConflictError,
    ProtectionError,
    ProtectionUnknownError,
)
from entrepot.core.quotas import QuotaError, QuotaUnknownError
from entrepot.core.retention_policy import RetentionInvalidError
from entrepot.core.roles import RoleInvalidError
from entrepot.core.undo import UndoError, UndoUnknownError
from entrepot.core.work import WorkError, WorkUnknownError
from entrepot.services.access import Visible
from entrepot.services.administration import Administration
from entrepot.services.auditing import AuditError
from entrepot.services.discovery import has_repository
from entrepot.services.retention import RetentionUnknownError
from entrepot.services.stores import Stores
from entrepot.telemetry import Metrics

LARGEST: Final = 65_536
"""Bytes of a body at most."""

_LONGEST_FIELD: Final = 512
_LONGEST_MARK: Final = 19
_MOST_ID: Final = 2**63 - 1
_NEVER_KEPT: Final[Headers] = [(b"cache-control", b"no-store")]
_INVALID: Final = (
    *(AccessError, AccountError, AuditError, CronError, RoleInvalidError, PatternInvalidError),
    *(ProtectionError, QuotaError, RetentionInvalidError, RetentionUnknownError),
    *(UndoError, WorkError),
)
_UNKNOWN: Final = (
    *(AccessUnknownError, AccountUnknownError, ProtectionUnknownError, QuotaUnknownError),
    *(RetentionUnknownError, UndoUnknownError, WorkUnknownError),
)
_CONFLICT: Final = (
    *(AccessConflictError, AccountConflictError, ProtectionConflictError, UndoError),
)


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls an operation, by whom it is recorded, and what it works on."""

    services: Administration
    identity: Identity
    by: Actor | str
    stores: Stores | None = None
    metrics: Metrics | None = None
    """Those of the server; a command on the host counts nothing."""

    @property
    def actor(self) -> Actor:
        """By whom it is recorded, also if that is a command on the host."""
        return on_host(self.by) if isinstance(self.by, str) else self.by

    def content(self) -> Stores:
        """Return what operations on content work on, or raise `NotFoundError`."""
        if self.stores is None:
            raise NotFoundError
        return self.stores

    async def readable(self) -> Visible | None:
        """Return the repositories that the caller may pull from; None is all there are. Sums over
        repositories are made over these alone.
        """
        return await self.services.access.visible(self.identity, Action.PULL)


class Need(NamedTuple):
    """What must be allowed, in a namespace, or on a repository or one of its tags. `missing` says
    what doesn't exist for those who may not see the place, which is the namespace, or the
    repository `about` which it is decided there; with `secret` for all who may not.
    """

    action: Action
    namespace: str = ""
    repository: str | None = None
    tag: str | None = None
    missing: str = ""
    secret: bool = False
    about: str | None = None


class Sent(NamedTuple):
    """What was sent: the fields of the path with the body, and the query."""

    positional: tuple[Any, ...]
    query: Mapping[str, Any]


Function = Callable[..., Awaitable[Any]]
Where = Callable[[Call, Action, Sent], Awaitable[Need]]


async def in_root(_call: Call, action: Action, _sent: Sent) -> Need:
    """The action is about the registry as a whole."""
    return Need(action)


class Operation:
    """A handler. `need` says where the route's action is decided, `status` what success is."""

    def __init__(self, function: Function, *, need: Where = in_root, status: int = 200) -> None:
        self.function = function
        self.status = status
        self._need = need
        hints = get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        self.result: Any = hints["return"]
        self.body: Any = hints.get("body")
        self.fields = [
            (each.name, hints[each.name])
            for each in parameters
            if each.kind is each.POSITIONAL_OR_KEYWORD and each.name != "body"
        ]
        self._several = {name for name, kind in hints.items() if get_origin(kind) is list}
        self.query = msgspec.defstruct(
            f"{function.__name__}_query",
            [
                (each.name, hints[each.name], *([each.default] * (each.default is not each.empty)))
                for each in parameters
                if each.kind is each.KEYWORD_ONLY
            ],
            kw_only=True,
            forbid_unknown_fields=True,
        )

    async def authorize(
        self, context: Context, request: Request, action: Action, fields: tuple[str, ...]
    ) -> None:
        """Return if the request may be answered; what it sent is in `request.sent` then."""
        access = context.access
        if not access.enabled:
            raise DeniedError(
                {"reason": "there is no API without access control: configure auth and access"}
            )
        known = await access.decide(request.identity, Action.CONNECT)
        if not known.allowed or request.identity.kind == "anonymous":
            raise UnauthorizedError
        sent = await self._read(request, fields)
        call = _call(context, request)
        try:
            need = await self._need(call, action, sent)
        except _INVALID as error:
            raise _told(error) from error
        decision = await access.decide(
            call.identity,
            need.action,
            namespace=need.namespace,
            repository=need.repository,
            tag=need.tag,
        )
        request.decision = decision
        if decision.allowed:
            request.sent = sent
            return
        if decision.limited and call.identity.method == "token":
            raise InsufficientScopeError
        if need.missing and (need.secret or not await _is_shown(call, need)):
            raise ObjectUnknownError({"reason": need.missing})
        raise DeniedError({"reason": decision.reason})

    async def __call__(self, context: Context, request: Request, *_fields: str) -> Response:
        """Carry it out, after `authorize`."""
        sent: Sent = request.sent
        call = _call(context, request)
        try:
            result = await self.function(call, *sent.positional, **sent.query)
        except _INVALID as error:
            raise _told(error) from error
        if result is None:
            return empty_response(204, [*_NEVER_KEPT])
        if isinstance(result, Stream):
            kind = (b"content-type", result.kind.encode())
            return Response(self.status, [kind, *_NEVER_KEPT], result.pieces)
        if isinstance(result, Page) and result.next is not None:
            query = {name: found[0] for name, found in request.query.items()}
            link = f"{request.path}?{urlencode(query | {'after': result.next})}"
            result = msgspec.structs.replace(result, next=link)
        return json_response(self.status, result, headers=_NEVER_KEPT)

    async def _read(self, request: Request, fields: tuple[str, ...]) -> Sent:
        positional: list[Any] = [
            _field(text, kind) for text, (_, kind) in zip(fields, self.fields, strict=True)
        ]
        query = self._read_query(request.query)
        if self.body is not None:
            positional.append(await self._read_body(request))
        return Sent(tuple(positional), query)

    def _read_query(self, given: dict[str, list[str]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, values in given.items():
            if not all(value.isprintable() for value in values):
                raise RequestInvalidError({"at": name[:64], "reason": "control characters"})
            several = name in self._several
            if len(values) > 1 and not several:
                raise RequestInvalidError({"at": name[:64], "reason": "is given more than once"})
            found[name] = values if several else values[0]
        try:
            return msgspec.structs.asdict(msgspec.convert(found, self.query, strict=False))
        except msgspec.ValidationError as error:
            raise RequestInvalidError({"in": "query", "reason": str(error)}) from error

    async def _read_body(self, request: Request) -> Any:
        kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestInvalidError({"in": "body", "reason": "expected application/json"})
        body = bytearray()
        async for piece in request.body():
            body += piece
            if len(body) > LARGEST:
                raise RequestTooLargeError({"most": LARGEST})
        try:
            return msgspec.json.decode(body, type=self.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RequestInvalidError({"in": "body", "reason": str(error)}) from error


def parse_mark(after: str, *, first: int) -> int:
    """Return the number of the entry after which a page begins; `first` if it is the first one."""
    if not after:
        return first
    if not (after.isascii() and after.isdigit() and len(after) < _LONGEST_MARK):
        reason = f"{after[:32]!r} is not the mark of a page"
        raise RequestInvalidError({"at": "after", "reason": reason})
    return int(after)


async def _is_shown(call: Call, need: Need) -> bool:
    """Tell whether the place of a need is there, and somebody may see it. Where it would be seen if
    it were there, what is not must look like what may not be seen.
    """
    repository = need.repository or need.about
    if not await sees(call, repository or need.namespace):
        return False
    if repository:
        return await has_repository(call.content(), RepositoryName.parse(repository))
    return await call.services.access.has_namespace(need.namespace)


async def sees(call: Call, namespace: str) -> bool:
    """Tell whether there is such a namespace for somebody: whether they could list a repository
    of its name.
    """
    decision = await call.services.access.decide(call.identity, Action.LIST, repository=namespace)
    return decision.allowed


def _call(context: Context, request: Request) -> Call:
    return Call(context.accounts, request.identity, request.caller, context.stores, context.metrics)


def _field(text: str, kind: type) -> object:
    """Return a field of the path; what can't be one names nothing."""
    if not text.isprintable() or len(text) > _LONGEST_FIELD:
        raise ObjectUnknownError({"reason": "there is nothing of this name"})
    if kind is not int:
        return text
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MOST_ID):
        raise ObjectUnknownError({"reason": f"{text[:32]!r} is no number"})
    return int(text)


def _told(error: Exception) -> ProtocolError:
    detail = {"reason": str(error)}
    if isinstance(error, _UNKNOWN):
        return ObjectUnknownError(detail)
    if isinstance(error, _CONFLICT):
        return ConflictError(detail)
    return RequestInvalidError(detail)
