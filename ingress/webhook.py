"""The door for Stripe: `POST /api/v1/webhooks/stripe`. 2xx only once the event is durable in Postgres.

Nothing is read from Stripe and nothing is decided here: verify, store, mark, answer. The bell rings after
the answer is certain; Redis being away changes neither the answer nor its time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from domain.errors import UnsupportedMedia
from domain.flows.receive import Receiver
from ingress.health import ROUTES as HEALTH
from ingress.lifespan import Running, lifespan_of
from ingress.middleware import WEBHOOK_BODY_BYTES, Edge
from ingress.operation import Door, Operation
from workers.bell import Bell

PATH = "/api/v1/webhooks/stripe"


class Acknowledged(Struct, frozen=True):
    """The answer to Stripe; it looks at the status only, people look at the rest."""

    received: bool
    duplicate: bool


class State(TypedDict):
    running: Running
    receiver: Receiver
    bell: Bell


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[State]:
    """What every door opens, and the bell."""
    async with lifespan_of("webhook")(app) as opened:
        running = opened["running"]
        bell = Bell.of(running.context.settings)
        bell.start()
        receiver = Receiver(running.context)
        await receiver.warm()
        try:
            yield {"running": running, "receiver": receiver, "bell": bell}
        finally:
            await bell.stop()


async def receive_event(request: Request) -> Response:
    """Verify, store, ring, 200."""
    receiver: Receiver = request.scope["state"]["receiver"]
    bell: Bell = request.scope["state"]["bell"]
    _refuse_encoded(request)
    signature = _header(request, b"stripe-signature")
    received = await receiver.receive(await request.body(), signature, request.scope["tollhouse.request_id"])
    bell.ring(received.owed)
    answer = Acknowledged(received=True, duplicate=received.is_duplicate)
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _refuse_encoded(request: Request) -> None:
    """A compressed body is not what was signed, and unpacking it before that is known invites a bomb."""
    encoding = _header(request, b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedMedia("Send the body as it is, without Content-Encoding.")


def _header(request: Request, name: bytes) -> bytes | None:
    """The header as bytes; None where it is missing. Sent twice, it is joined and will not verify."""
    values = [value for key, value in request.scope["headers"] if key == name]
    return b",".join(values) if values else None


WEBHOOK = Operation(
    name="receive_event",
    method="POST",
    path=PATH,
    summary="Where Stripe sends events; process `webhook` only",
    says="Not for callers: `Stripe-Signature` says that Stripe sent it.",
    answers={200: Acknowledged},
    refuses=("bad_signature", "bad_body", "unsupported_media_type", "body_too_large"),
    body_bytes=WEBHOOK_BODY_BYTES,
)
ROUTES = [Door(WEBHOOK, receive_event)]

app = Edge(
    Router([*ROUTES, *HEALTH], redirect_slashes=False, lifespan=lifespan), body_bytes=WEBHOOK_BODY_BYTES
)
