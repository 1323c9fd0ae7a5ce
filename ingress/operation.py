"""What a door takes and answers, said once: requests are taken apart by it, and the API's document is written
from it (`ingress/openapi.py`), so that neither can say something else than the other.

    class ListQuery(QueryStruct, frozen=True):
        limit: Limit = MAX_LIMIT
        cursor: str | None = None

    @operation(
        "GET",
        "/api/v1/admin/dead",
        summary="What gave up",
        scope="admin:read",
        of="project",
        answers={200: DeadPage},
        refuses=("unknown_project",),
    )
    async def list_dead_targets(call: Call[ListQuery, None]) -> Response:
        page = await list_dead(call.context, call.project, cursor=call.query.cursor)
        return call.answer(page)

    ROUTES = [list_dead_targets]

The handler's annotation says the query's struct and the body's (None: there is none). Before it runs, the key
was found to be valid and to have the scope, every parameter and header was parsed or refused by name, and the
body was decoded. `refuses` are the codes that its own flow raises; those that follow from the declaration (a
scope: `unauthorized`, `missing_scope`; a body: `malformed_json`, …) are added by themselves. The function's
name is the operation's id: one of its kind in the whole API.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType, UnionType
from typing import Any, Generic, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from domain.context import Context
from domain.errors import Broken
from domain.flows.authenticate import Principal
from domain.flows.manage_keys import Scope
from domain.flows.record_action import Operator
from ingress.acting import find_idempotency_key, operator_of
from ingress.auth import (
    authenticate,
    choose_app,
    choose_named,
    choose_project,
    choose_project_or_all,
    require_all,
)
from ingress.lifespan import Running
from ingress.wire import NoQuery, parse_query, parse_query_struct, read_body

Query = TypeVar("Query")
Body = TypeVar("Body")
Said = TypeVar("Said")
Method = Literal["GET", "POST"]

#: Whom a request concerns: an app, a project, the project that the path's `{project}` names, what its key may
#: see (`project=` is free for an operator of all), or the deployment as a whole. Each adds the parameters
#: that keys of other kinds need. None: no key is asked for.
Of = Literal["app", "project", "named", "all", "deployment"]

TENANT_PARAMETERS: dict[Of | None, frozenset[str]] = {
    "app": frozenset({"app", "project"}),
    "project": frozenset({"project"}),
    "named": frozenset(),
    "all": frozenset({"project"}),
    "deployment": frozenset(),
    None: frozenset(),
}


class Example(Struct, frozen=True, kw_only=True):
    """A request that works against the local deployment, where the examples are sent in their order.

    A text `{name}` stands for what an earlier example's answer had under that name in `keeps`.
    """

    path: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    body: Any = None
    #: Name → where it stands in the answer, such as `data.0.id`.
    keeps: Mapping[str, str] = {}


_NO_EXAMPLE = Example()


class Operation(Struct, frozen=True, kw_only=True, dict=True):
    """One method of one path, as `operation` was told it."""

    #: Unique, snake_case: a client generator's function name.
    name: str
    method: Method
    path: str
    summary: str
    #: More than the summary, in Markdown.
    says: str = ""
    #: None: no key is needed.
    scope: Scope | None = None
    of: Of | None = None
    query: type[Any] = NoQuery
    body: type[Any] | None = None
    #: Status → type of the JSON body; None: there is no body.
    answers: Mapping[int, Any]
    #: Codes of problems (`ingress/problem_codes.py`) that only this operation's flow raises.
    refuses: tuple[str, ...] = ()
    #: Path parameter → what it names.
    names: Mapping[str, str] = {}
    #: Whether `Tollhouse-Actor` may say for whom an operator's key acts.
    is_acting: bool = False
    #: Whether `Idempotency-Key` makes it safe to send again.
    is_repeatable: bool = False
    #: Whether 200 is a table too: text/csv where `Accept` or `format=csv` asks for it.
    is_table: bool = False
    #: Largest body, in bytes; None: the limit of every path.
    body_bytes: int | None = None
    example: Example = _NO_EXAMPLE

    @cached_property
    def known(self) -> frozenset[str]:
        """Every query parameter that it takes."""
        own = frozenset(field.encode_name for field in msgspec.structs.fields(self.query))
        return own | TENANT_PARAMETERS[self.of]


#: Path → methods of all its doors.
_ALLOWED: dict[str, set[str]] = {}


class Door(Route):
    """A route that can say what it takes and answers."""

    def __init__(self, operation: Operation, endpoint: Callable[..., Any]) -> None:
        super().__init__(operation.path, endpoint, methods=[operation.method], name=operation.name)
        self.operation = operation
        self._allowed = _ALLOWED.setdefault(operation.path, set())
        self._allowed |= self.methods or set()

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """As a Route does; its refusal of a method names those of the path's other doors too."""
        if scope["method"] not in (self.methods or ()):
            raise HTTPException(405, headers={"allow": ", ".join(sorted(self._allowed))})
        await super().handle(scope, receive, send)


class Call(Generic[Query, Body]):
    """A request that was let in, taken apart."""

    def __init__(
        self,
        *,
        operation: Operation,
        request: Request,
        principal: Principal,
        whose: tuple[str | None, str | None],
        query: Query,
        body: Body,
        operator: Operator | None,
        idempotency_key: str | None,
    ) -> None:
        self.operation = operation
        self.request = request
        self.running = Running.of(request.scope)
        self.principal = principal
        self.query = query
        self.body = body
        #: The path's parameters.
        self.path: dict[str, str] = request.path_params
        #: None: the caller sent none, or the operation is not `is_repeatable`.
        self.idempotency_key = idempotency_key
        self._project, self._app = whose
        self._operator = operator

    @property
    def context(self) -> Context:
        return self.running.context

    @property
    def project(self) -> str:
        """Of an operation of a project or an app."""
        return _said(self._project)

    @property
    def app(self) -> str:
        """Of an operation of an app."""
        return _said(self._app)

    @property
    def project_or_all(self) -> str | None:
        """Of an operation of `all`: None is every project."""
        return self._project

    @property
    def operator(self) -> Operator:
        """Who acts, of an operation that `is_acting`: the key's name, and whom an operator's key names."""
        return _said(self._operator)

    def answer(
        self, body: object, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """`body` as JSON; `status` None: the first declared. Bytes are JSON already.

        Raises:
            Broken: the operation does not say that it answers so.
        """
        status = status if status is not None else next(iter(self.operation.answers))
        _refuse_undeclared(self.operation, status, body)
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        kept = {"cache-control": "no-store", **(headers or {})}
        return Response(content, status, kept, media_type="application/json")


def larger_bodies(routes: Iterable[BaseRoute]) -> dict[str, int]:
    """Path → bytes, of the operations whose bodies may be larger than others'."""
    doors = [route.operation for route in routes if isinstance(route, Door)]
    return {door.path: door.body_bytes for door in doors if door.body_bytes is not None}


def operation(
    method: Method,
    path: str,
    *,
    summary: str,
    scope: Scope,
    of: Of,
    answers: Mapping[int, Any],
    says: str = "",
    refuses: tuple[str, ...] = (),
    names: Mapping[str, str] = MappingProxyType({}),
    is_acting: bool = False,
    is_repeatable: bool = False,
    is_table: bool = False,
    body_bytes: int | None = None,
    example: Example = _NO_EXAMPLE,
) -> Callable[[Callable[[Call[Query, Body]], Awaitable[Response]]], Door]:
    """Make a door of a handler; the parameters are the fields of `Operation`."""

    def declare(handler: Callable[[Call[Query, Body]], Awaitable[Response]]) -> Door:
        query, body = get_args(get_type_hints(handler)["call"])
        declared = Operation(
            name=handler.__name__,
            method=method,
            path=path,
            summary=summary,
            scope=scope,
            of=of,
            query=query,
            body=None if body is type(None) else body,
            answers=answers,
            says=says,
            refuses=refuses,
            names=names,
            is_acting=is_acting,
            is_repeatable=is_repeatable,
            is_table=is_table,
            body_bytes=body_bytes,
            example=example,
        )

        async def enter(request: Request) -> Response:
            return await handler(await _take_apart(declared, request))

        return Door(declared, enter)

    return declare


async def _take_apart(declared: Operation, request: Request) -> Call[Any, Any]:
    """Refusals in this order: the key, its scope, the query, whom it concerns, headers, the body."""
    if declared.scope is None or declared.of is None:
        raise Broken(f"{declared.name} asks for no key: it needs a handler of its own.")
    principal = await authenticate(request.scope, Running.of(request.scope).keys, declared.scope)
    parameters = parse_query(request.scope["query_string"], declared.known)
    whose = _choose(declared.of, principal, parameters, request.path_params)
    own = {name: text for name, text in parameters.items() if name not in TENANT_PARAMETERS[declared.of]}
    query = parse_query_struct(own, declared.query)
    operator = operator_of(request.scope, principal) if declared.is_acting else None
    key = find_idempotency_key(request) if declared.is_repeatable else None
    body = await read_body(request, declared.body) if declared.body is not None else None
    return Call(
        operation=declared,
        request=request,
        principal=principal,
        whose=whose,
        query=query,
        body=body,
        operator=operator,
        idempotency_key=key,
    )


def _choose(
    of: Of, principal: Principal, parameters: Mapping[str, str], path: Mapping[str, str]
) -> tuple[str | None, str | None]:
    match of:
        case "app":
            return choose_app(principal, parameters)
        case "project":
            return choose_project(principal, parameters), None
        case "named":
            return choose_named(principal, path["project"]), None
        case "all":
            return choose_project_or_all(principal, parameters), None
        case "deployment":
            require_all(principal)
            return None, None


def _refuse_undeclared(declared: Operation, status: int, body: object) -> None:
    if status not in declared.answers:
        raise Broken(f"{declared.name} does not declare that it answers {status}.")
    wanted = cases_of(declared.answers[status])
    if not isinstance(body, (bytes, *wanted)):
        names = " or ".join(case.__name__ for case in wanted)
        raise Broken(f"{declared.name} answers {status} with {names}, not {type(body).__name__}.")


def cases_of(answer: Any) -> tuple[Any, ...]:
    """The structs that an answer may be: one, or each of `One | Other`."""
    return get_args(answer) if isinstance(answer, UnionType) else (answer,)


def _said(value: Said | None) -> Said:
    if value is None:
        raise Broken("The handler asks for what its operation does not declare.")
    return value
