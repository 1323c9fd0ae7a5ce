"""A-05 at every door of the API: whatever comes as body, query, path or header is refused, never a crash."""

import random
from collections import Counter
from typing import Any
from urllib.parse import quote

import msgspec

from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress.api import OPERATIONS, app
from ingress.lifespan import open_running
from ingress.operation import Operation
from tests.attacks.asking import Headers, Said, ask
from tests.attacks.conftest import Line, broken
from tests.attacks.mutations import nasty, spoil
from tests.attacks.sizes import chance, chosen
from tests.flows.event_path import running_path

#: Documented answers of a door whose dependencies are there.
EXPECTED = {200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 409, 413, 415, 422}


async def test_no_door_of_the_api_breaks_whatever_it_is_sent(settings: Settings, logged: list[Line]) -> None:
    draw = chance()
    answers: Counter[int] = Counter()
    rates = {"read_rate": 0.0, "write_rate": 0.0, "failed_login_rate": 0.0}
    async with running_path(settings, **rates) as path, open_running("api", path.context.settings) as running:
        state = {"running": running}
        keys = [await make_key(running, **words) for words in KEYS]
        for operation in list(OPERATIONS) * chosen(15, 300):
            said = await attack(state, operation, draw, draw.choice(keys))
            answers[said.status] += 1
            assert not broken(logged), (operation.name, broken(logged)[-1])
            assert said.status in EXPECTED, (operation.name, said)
            if said.status >= 400:
                assert said.headers[b"content-type"] == b"application/problem+json", operation.name
            logged.clear()
    # The attack met the flows behind the doors, not only the first check.
    assert answers[422] > 20, answers
    assert answers[200] + answers[201] > 20, answers


KEYS: tuple[dict[str, Any], ...] = (
    {"kind": "app", "project": "acme", "app": "editor", "name": "app"},
    {"kind": "project", "project": "acme", "name": "project"},
    {"kind": "operator", "name": "operator"},
)


async def make_key(running: Any, **words: Any) -> bytes:
    return b"Bearer " + (await create_key(running.context, **words)).key.encode()


async def attack(state: dict[str, Any], operation: Operation, draw: random.Random, key: bytes) -> Said:
    """The operation's own example with something wrong in one of its parts."""
    part = draw.choice(("body", "body", "query", "path", "headers"))
    example = operation.example
    path = operation.path
    for name in operation.names:
        value = quote(as_text(draw)) if part == "path" else str(example.path.get(name, "x")).strip("{}")
        path = path.replace("{" + name + "}", value.replace("/", "%2F") or "x")
    query = {"app": "editor", "project": "acme", **example.query}
    fields = [f"{name}={quote(str(value))}" for name, value in query.items() if name in operation.known]
    if part == "query":
        name = draw.choice([*operation.known, "unknown", "user_id", "limit", "cursor", "at"])
        fields += [f"{name}={as_text(draw)}"]
    body = b"" if operation.body is None else msgspec.json.encode(example.body)
    if part == "body":
        body = spoil(draw, example.body or {})
    headers: Headers = [
        (b"authorization", key),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *(spoiled_headers(draw) if part == "headers" else []),
    ]
    wire = "&".join(fields).encode("utf-8", "surrogatepass")
    return await ask(app, state, operation.method, unquoted(path), headers, body, query=wire)


def unquoted(path: str) -> str:
    """As the server hands it to an app."""
    return path.replace("%2F", "/") if path.count("%2F") > 3 else path


def as_text(draw: random.Random) -> str:
    return (
        nasty(draw).strip(b'"').decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()[:2_000]
    )


def spoiled_headers(draw: random.Random) -> Headers:
    value = nasty(draw)[:300]
    name = draw.choice(
        (
            *(b"idempotency-key", b"tollhouse-actor", b"if-none-match", b"authorization", b"content-type"),
            *(b"content-encoding", b"x-request-id", b"origin", b"host", b"x-forwarded-for", b"accept"),
        )
    )
    return [(name, value)] if draw.random() < 0.8 else [(name, value), (name, nasty(draw)[:300])]
