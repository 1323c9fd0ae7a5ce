"""`GET /api/v1/entitlements/changes`: what changed for an app, for a caller that polls."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.flows.changes import START, ChangesPage, read_changes
from ingress.auth import authenticate, choose_app
from ingress.lifespan import Running
from ingress.wire import parse_limit, parse_query

KNOWN = frozenset({"cursor", "limit", "app", "project"})


async def list_changes(request: Request) -> Response:
    """200 with a page; `next_cursor` is always there, so that a poller goes on from it."""
    running = Running.of(request.scope)
    principal = await authenticate(request.scope, running.keys, "entitlements:read")
    parameters = parse_query(request.scope["query_string"], KNOWN)
    project, app = choose_app(principal, parameters)
    limit = parse_limit(parameters)
    page = await read_changes(running.context, project, app, parameters.get("cursor", START), limit)
    return Response(_encode(page), headers={"cache-control": "no-store"}, media_type="application/json")


def _encode(page: ChangesPage) -> bytes:
    data = [
        {
            "user_id": change.user_id,
            "version": change.version,
            "changed": change.changed,
            "cause": change.cause,
            "recorded_at": change.recorded_at,
        }
        for change in page.changes
    ]
    return msgspec.json.encode({"data": data, "next_cursor": page.next_cursor})


ROUTES = [Route("/api/v1/entitlements/changes", list_changes, methods=["GET"])]
