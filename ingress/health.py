"""Probes: is the process up (`/live`), should it be sent requests (`/ready`)."""

from typing import Literal

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from domain.flows.check_ready import Readiness
from ingress.lifespan import Running
from ingress.operation import Door, Operation


class Alive(Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"


async def tell_live(_request: Request) -> Response:
    """The process answers, so it is up: nothing is asked, because a restart cures no other part's outage."""
    return _json(Alive(), 200)


async def tell_ready(request: Request) -> Response:
    """200 with what works and what does not; 503 where requests should go elsewhere."""
    running = Running.of(request.scope)
    readiness = await running.ready.check()
    if running.is_draining:
        readiness = Readiness(status="draining", checks=readiness.checks)
    return _json(readiness, 200 if readiness.status == "ready" else 503)


def _json(body: object, status: int) -> Response:
    return Response(
        msgspec.json.encode(body),
        status,
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )


def _live(path: str) -> Door:
    name = path.removeprefix("/")
    said = Operation(name=name, method="GET", path=path, summary="Is the process up", answers={200: Alive})
    return Door(said, tell_live)


def _ready(path: str) -> Door:
    name = path.removeprefix("/")
    said = Operation(
        name=name,
        method="GET",
        path=path,
        summary="Should requests be sent here, and if not, what is wrong",
        answers={200: Readiness, 503: Readiness},
    )
    return Door(said, tell_ready)


ROUTES = [
    *(_live(path) for path in ("/health", "/live", "/livez")),
    *(_ready(path) for path in ("/ready", "/readyz")),
]
