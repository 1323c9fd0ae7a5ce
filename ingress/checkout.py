"""`POST /api/v1/checkout/session`: an app sends its user to Stripe's checkout page."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.flows.checkout import Item, Person, Wish, open_checkout
from ingress.auth import authenticate, choose_app
from ingress.lifespan import Running
from ingress.wire import UserId, WireStruct, parse_query, read_body

Text = Annotated[str, Meta(min_length=1, max_length=255)]

#: Languages of Stripe's page at our API version.
Locale = Literal[
    "auto", "bg", "cs", "da", "de", "el", "en", "en-GB", "es", "es-419", "et", "fi", "fil", "fr", "fr-CA",
    "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "mt", "nb", "nl", "pl", "pt", "pt-BR", "ro", "ru",
    "sk", "sl", "sv", "th", "tr", "vi", "zh", "zh-HK", "zh-TW",
]  # fmt: skip


class ItemBody(WireStruct, frozen=True):
    plan: Text
    price: Text
    #: Stripe's own limit of a line.
    quantity: Annotated[int, Meta(ge=1, le=999_999)] = 1


class CustomerBody(WireStruct, frozen=True):
    """Written to the Stripe customer; leave out what should stay."""

    email: Annotated[str, Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+\Z")] | None = None
    name: Text | None = None
    locale: Locale | None = None


class CheckoutBody(WireStruct, frozen=True):
    user_id: UserId
    items: Annotated[list[ItemBody], Meta(min_length=1, max_length=20)]
    #: At an origin the catalog allows; Stripe fills in `{CHECKOUT_SESSION_ID}`.
    success_url: str
    cancel_url: str
    #: At most what the catalog gives these plans; left out: no trial.
    trial_days: Annotated[int, Meta(ge=0, le=730)] = 0
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    customer: CustomerBody | None = None


async def create_session(request: Request) -> Response:
    """201 with the page to send the customer to."""
    running = Running.of(request.scope)
    principal = await authenticate(request.scope, running.keys, "checkout:write")
    parameters = parse_query(request.scope["query_string"], {"app", "project"})
    project, app = choose_app(principal, parameters)
    body = await read_body(request, CheckoutBody)
    opened = await open_checkout(running.context, project, app, _wish(body))
    return Response(msgspec.json.encode(opened), 201, media_type="application/json")


def _wish(body: CheckoutBody) -> Wish:
    said = body.customer
    person = Person(email=said.email, name=said.name, locale=said.locale) if said is not None else None
    return Wish(
        user_id=body.user_id,
        items=[Item(item.plan, item.price, item.quantity) for item in body.items],
        success_url=body.success_url,
        cancel_url=body.cancel_url,
        trial_days=body.trial_days,
        metadata=body.metadata,
        customer=person,
    )


ROUTES = [Route("/api/v1/checkout/session", create_session, methods=["POST"])]
