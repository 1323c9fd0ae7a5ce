"""The doors of micro-apps that only read; here `GET /api/v1/entitlements` and `/{feature}`, the hot path.

Pure ASGI and ready bytes: an answer that memory holds is sent without a Request, a Response or an await
on anything but the socket.
"""

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.flows.lookup import Answer
from domain.flows.manage_keys import Scope as KeyScope
from ingress import catalog, changes, explain, query
from ingress.answers import EntitlementsAnswer, FeatureAnswer
from ingress.auth import authenticate, choose_app
from ingress.etag import is_held
from ingress.health import ROUTES as HEALTH
from ingress.lifespan import Running, lifespan_of
from ingress.middleware import Edge
from ingress.operation import Door, Example, Operation, larger_bodies
from ingress.wire import QueryStruct, UserId, parse_features, parse_query, require_user_id

PATH = "/api/v1/entitlements"
SCOPE: KeyScope = "entitlements:read"

#: An answer is one caller's: a shared cache must not keep it, a private one asks before each use.
_VARIES = (b"vary", b"Authorization")
_KEPT = (b"cache-control", b"private, must-revalidate")
_NOT_KEPT = (b"cache-control", b"no-store")
_JSON = (b"content-type", b"application/json")


class OneQuery(QueryStruct, frozen=True):
    user_id: UserId


class SetQuery(OneQuery, frozen=True):
    #: Keys, separated by commas; left out: every feature of the app.
    features: str | None = None


SET = Operation(
    name="get_entitlements",
    method="GET",
    path=PATH,
    summary="Everything a user may use in the app",
    scope=SCOPE,
    of="app",
    query=SetQuery,
    answers={200: EntitlementsAnswer, 304: None},
    refuses=("unknown_project", "unknown_app", "unknown_feature"),
    example=Example(query={"user_id": "u_example"}),
)
FEATURE = Operation(
    name="get_entitlement",
    method="GET",
    path=PATH + "/{feature:feature}",
    summary="One answer: may this user use this feature",
    scope=SCOPE,
    of="app",
    query=OneQuery,
    answers={200: FeatureAnswer, 304: None},
    refuses=("unknown_project", "unknown_app", "unknown_feature"),
    names={"feature": "Key of a feature that the app can see."},
    example=Example(path={"feature": "export"}, query={"user_id": "u_example"}),
)


class SetDoor:
    """`GET /api/v1/entitlements?user_id=[&features=]`: everything one user may use in one app."""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        parameters, answer = await _look_up(scope, SET)
        features = parameters.get("features")
        body = answer.body if features is None else answer.only(parse_features(features))
        await _send_answer(scope, send, answer, body)


class FeatureDoor:
    """`GET /api/v1/entitlements/{feature}?user_id=`: one of its answers."""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        _, answer = await _look_up(scope, FEATURE)
        await _send_answer(scope, send, answer, answer.one(scope["path_params"]["feature"]))


async def _look_up(scope: Scope, declared: Operation) -> tuple[dict[str, str], Answer]:
    running = Running.of(scope)
    principal = await authenticate(scope, running.keys, SCOPE)
    parameters = parse_query(scope["query_string"], declared.known)
    project, app = choose_app(principal, parameters)
    user_id = require_user_id(parameters)
    lookup = running.lookup
    answer = lookup.find_ready(project, app, user_id) or await lookup.find(project, app, user_id)
    return parameters, answer


async def _send_answer(scope: Scope, send: Send, answer: Answer, body: bytes) -> None:
    if answer.etag is None:
        headers = [_JSON, (b"content-length", b"%d" % len(body)), _NOT_KEPT, _VARIES]
        status = 200
    else:
        etag = answer.etag.encode()
        # The answer is the present one: a tag of the segment before `valid_until` does not match any more.
        status = 304 if is_held(scope, etag) else 200
        headers = [(b"etag", etag), _KEPT, _VARIES]
        if status == 200:  # noqa: PLR2004 - HTTP
            headers += [_JSON, (b"content-length", b"%d" % len(body))]
    is_bodiless = status == 304 or scope["method"] == "HEAD"  # noqa: PLR2004 - HTTP
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_bodiless else body})


class Shortcut:
    """Sends GETs of one fixed path to its door without walking the routes."""

    def __init__(self, routes: ASGIApp, path: str, door: ASGIApp) -> None:
        self._routes = routes
        #: As the metrics name it, like a Route's.
        self.path = path
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == self.path and scope.get("method") in {"GET", "HEAD"}:
            scope["route"] = self
            await self._door(scope, receive, send)
        else:
            await self._routes(scope, receive, send)


class FeatureConvertor(StringConvertor):
    """A feature's key: not a name of ours beside it, whose path takes other methods than GET."""

    regex = "(?!(?:changes|query)/?$)[^/]+"


register_url_convertor("feature", FeatureConvertor())

SET_DOOR = SetDoor()
ROUTES = [
    Door(SET, SET_DOOR),
    # Before `{feature}`: these names are ours.
    *changes.ROUTES,
    *query.ROUTES,
    Door(FEATURE, FeatureDoor()),
    *explain.ROUTES,
    *catalog.ROUTES,
]

app = Edge(
    Shortcut(
        Router([*ROUTES, *HEALTH], redirect_slashes=False, lifespan=lifespan_of("read")), PATH, SET_DOOR
    ),
    larger=larger_bodies(ROUTES),
)
