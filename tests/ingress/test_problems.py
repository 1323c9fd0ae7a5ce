"""Every refusal and failure is a problem, carries its request's id, and tells no secrets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import Message

from domain import errors
from domain.errors import Broken, Conflict, FieldError, Invalid, TooMany, Unavailable
from domain.settings import Settings
from ingress import api, read
from ingress.lifespan import Running
from ingress.middleware import Edge
from ingress.problems import describe_error
from ingress.wire import WireStruct, read_body
from tests.ingress.doors import client_of, running_reader


class Order(WireStruct, frozen=True):
    name: str
    count: int = 1


async def take_order(request: Request) -> Response:
    order = await read_body(request, Order)
    return Response(order.name)


def failing(error: Exception) -> Callable[[Request], Response]:
    async def fail(_request: Request) -> Response:
        raise error

    return fail  # type: ignore[return-value]  # Starlette takes coroutine functions as well


async def stall(_request: Request) -> Response:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits for this")


async def break_off(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise Broken("the other half is missing")

    return StreamingResponse(pieces())


FAILURES: dict[str, Exception] = {
    "invalid": Invalid("No.", errors=(FieldError("items[0].plan", "unknown"),)),
    "conflict": Conflict("Already.", code="customer_exists"),
    "many": TooMany("Slower.", name="read", quota=5, window_s=1, retry_after_s=2),
    "away": Unavailable("Postgres at 10.0.0.7 did not answer", retry_after_s=7),
    "broken": Broken("secret detail"),
    "bug": ZeroDivisionError("secret detail"),
}
ROUTES = [
    Route("/orders", take_order, methods=["POST"]),
    Route("/stall", stall),
    Route("/break-off", break_off),
    *(Route(f"/{name}", failing(error)) for name, error in FAILURES.items()),
]


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with running_reader(settings) as opened:
        yield opened


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx2.AsyncClient]:
    edge = Edge(Router(ROUTES, redirect_slashes=False), body_bytes=1024, deadline_s=0.2)
    async with client_of(edge, running) as opened:
        yield opened


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert list(body) == ["type", "title", "status", "detail", "code", "errors", "request_id"]
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    return body["status"], body["code"]


@pytest.mark.parametrize("app", [read.app, api.app])
@pytest.mark.parametrize(
    "path", ["/", "/api/v1/nothing", "/api/v1/entitlements/a/b", "/health/", "//", "/%00"]
)
async def test_an_unknown_path_is_a_404_problem(running: Running, app: Edge, path: str) -> None:
    async with client_of(app, running) as opened:
        assert refusal(await opened.get("http://door" + path)) == (404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
async def test_another_method_is_a_405_problem_that_names_the_right_ones(
    running: Running, method: str
) -> None:
    async with client_of(read.app, running) as opened:
        answer = await opened.request(method, "/api/v1/entitlements")
    assert refusal(answer) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/invalid", (422, "invalid")),
        ("/conflict", (409, "customer_exists")),
        ("/many", (429, "rate_limited")),
        ("/away", (503, "unavailable")),
        ("/broken", (500, "internal_error")),
        ("/bug", (500, "internal_error")),
    ],
)
async def test_the_class_of_an_error_decides_its_status(
    client: httpx2.AsyncClient, path: str, expected: tuple[int, str]
) -> None:
    assert refusal(await client.get(path)) == expected


def test_every_class_of_error_has_a_status_that_http_knows() -> None:
    classes = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.TollhouseError)
    ]
    assert len(classes) > 12
    for kind in classes:
        assert HTTPStatus(kind.status).phrase, kind
    problem = describe_error(errors.Unknown("detail"), "r").problem
    assert (problem.status, problem.title) == (404, "Not Found")


async def test_wrong_fields_are_listed(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/invalid")
    assert answer.json()["errors"] == [{"field": "items[0].plan", "detail": "unknown"}]


async def test_an_outage_says_when_to_come_back_and_not_what_is_away(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/away")
    assert answer.headers["retry-after"] == "7"
    assert "10.0.0.7" not in answer.text


@pytest.mark.parametrize("path", ["/broken", "/bug"])
async def test_our_failure_is_told_to_the_log_alone(
    client: httpx2.AsyncClient, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await client.get(path, headers={"x-request-id": "find-me"})
    assert "secret detail" not in answer.text
    printed = "".join(capsys.readouterr())
    assert "secret detail" in printed
    assert "Traceback" in printed
    assert "find-me" in printed


async def test_a_request_that_takes_too_long_ends_as_503(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/stall")
    assert refusal(answer) == (503, "deadline_exceeded")
    assert "something this service waits for is slow" in answer.json()["detail"]


async def test_a_caller_whose_body_does_not_arrive_is_not_told_that_we_are_slow(
    client: httpx2.AsyncClient,
) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b'{"plan":'
        await asyncio.sleep(60)

    headers = {"content-type": "application/json"}
    answer = await client.post("/orders", content=trickle(), headers=headers)
    assert refusal(answer) == (503, "deadline_exceeded")
    assert "body did not arrive within 0.2 s" in answer.json()["detail"]


async def test_half_an_answer_breaks_the_connection_instead_of_looking_whole(
    client: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Broken, match="other half"):
        await client.get("/break-off")
    assert "request_failed" in "".join(capsys.readouterr())


async def test_a_caller_that_leaves_is_answered_nothing_and_logged_as_gone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/orders", "query_string": b"", "headers": headers}
    await Edge(Router(ROUTES, redirect_slashes=False))(scope, receive, send)
    assert sent == []
    assert '"status": 499' in "".join(capsys.readouterr())


async def test_a_body_is_read(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/orders", json={"name": "tea"})).text == "tea"


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b'{"name": "\xff"}', 400, None),
        (b"[" * 900, 422, ""),
        (b'{"name": NaN}', 400, None),
        (b'{"name": 1}', 422, "name"),
        (b"{}", 422, "name"),
        (b'{"name": "a", "nmae": "b"}', 422, "nmae"),
        (b'{"name": "a", "count": 1e400}', 422, "count"),
        (b'{"name": "a", "count": 1.5}', 422, "count"),
        (b"null", 422, ""),
    ],
)
async def test_a_wrong_body_is_refused_by_name(
    client: httpx2.AsyncClient, content: bytes, status: int, field: str | None
) -> None:
    answer = await client.post("/orders", content=content, headers={"content-type": "application/json"})
    assert refusal(answer)[0] == status
    assert [error["field"] for error in answer.json()["errors"]] == ([] if field is None else [field])


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_a_body_that_is_not_plain_json_is_415(
    client: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.post("/orders", content=b'{"name":"a"}', headers=headers)
    assert refusal(answer) == (415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_413_declared_or_not(client: httpx2.AsyncClient) -> None:
    json = {"content-type": "application/json"}
    declared = await client.post("/orders", content=b'{"name":"' + b"a" * 1024 + b'"}', headers=json)
    assert refusal(declared) == (413, "body_too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"a" * 256

    assert refusal(await client.post("/orders", content=pieces(), headers=json)) == (413, "body_too_large")


@pytest.mark.parametrize("given", ["abc-DEF_1.2", "x" * 128])
async def test_a_request_id_is_kept(client: httpx2.AsyncClient, given: str) -> None:
    assert (await client.get("/nothing", headers={"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "é", "a\tb"])
async def test_a_request_id_that_could_harm_a_log_is_replaced(client: httpx2.AsyncClient, given: str) -> None:
    answer = await client.get("/nothing", headers={b"x-request-id": given.encode("latin-1")})
    assert len(answer.headers["x-request-id"]) == 32


async def test_two_requests_have_two_ids(client: httpx2.AsyncClient) -> None:
    ids = {(await client.get("/nothing")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5
