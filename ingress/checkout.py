"""`POST /api/v1/checkout/session`: an app sends its user to Stripe's checkout page."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from domain.flows.checkout import Item, OpenedCheckout, Person, Wish, open_checkout
from ingress.operation import Call, Example, operation
from ingress.wire import NoQuery, UserId, WireStruct

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


@operation(
    "POST",
    "/api/v1/checkout/session",
    summary="Open a page where the user buys",
    scope="checkout:write",
    of="app",
    answers={201: OpenedCheckout},
    refuses=("unknown_app", "items_invalid", "checkout_invalid", "price_not_in_stripe"),
    example=Example(
        body={
            "user_id": "u_example",
            "items": [{"plan": "pro", "price": "month"}],
            "success_url": "http://localhost:3000/welcome?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "http://localhost:3000/pricing",
        }
    ),
)
async def create_checkout_session(call: Call[NoQuery, CheckoutBody]) -> Response:
    """201 with the page to send the customer to."""
    return call.answer(await open_checkout(call.context, call.project, call.app, _wish(call.body)))


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


ROUTES = [create_checkout_session]
