"""Probes: is the process up (`/live`), should it be sent requests (`/ready`)."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.flows.check_ready import Readiness
from ingress.lifespan import Running


async def tell_live(_request: Request) -> Response:
    """The process answers, so it is up: nothing is asked, because a restart cures no other part's outage."""
    return _json({"status": "ok"}, 200)


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


ROUTES = [
    *(Route(path, tell_live, name=path) for path in ("/health", "/live", "/livez")),
    *(Route(path, tell_ready, name=path) for path in ("/ready", "/readyz")),
]
