"""`POST /api/v1/checkout/session`, `GET …/{id}`, `POST …/{id}/claim`: Stripe's page, and its outcome."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from domain.flows.checkout import Item, OnExisting, OpenedCheckout, Person, Wish, open_checkout
from domain.flows.claim_checkout import ClaimedCheckout, ShownCheckout, claim_checkout, show_checkout
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import NoQuery, UserId, WireStruct

PATH = "/api/v1/checkout/session"
NAMES = {"id": "Stripe's id of the session (cs_…), or the ref that opening it answered."}
#: When a page asks again: a claim is worked off at most this often.
RETRY_AFTER_S = 2

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
    #: What customers type, or promo_…; its coupon has to be limited to products of the project.
    promotion_code: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,255}\Z")] | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    customer: CustomerBody | None = None
    #: Which change a refusal proposes to a user who has a subscription of the group: `add` keeps what that
    #: holds besides, `switch` and `refuse` put these items in its place.
    on_existing: OnExisting = "refuse"


@operation(
    "POST",
    PATH,
    summary="Open a page where the user buys",
    scope="checkout:write",
    of="app",
    answers={201: OpenedCheckout},
    refuses=(
        "unknown_app",
        "items_invalid",
        "checkout_invalid",
        "price_not_in_stripe",
        "subscription_exists",
        "trial_used",
        "already_bought",
        "currency_mismatch",
        "import_pending",
        "change_in_progress",
        "stripe_refused",
    ),
    is_repeatable=True,
    example=Example(
        body={
            "user_id": "u_example",
            "items": [{"plan": "pro", "price": "month"}],
            "success_url": "http://localhost:3000/ok?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "http://localhost:3000/pricing",
        },
        keeps={"checkout_id": "id"},
    ),
)
async def create_checkout_session(call: Call[NoQuery, CheckoutBody]) -> Response:
    """201 with the page to send the customer to."""
    wish = _wish(call.body)
    return await answer_once(
        call, lambda attempt: open_checkout(call.context, call.project, call.app, wish, attempt)
    )


@operation(
    "GET",
    f"{PATH}/{{id}}",
    summary="What is known of a checkout, without asking Stripe",
    scope="checkout:write",
    of="app",
    answers={200: ShownCheckout},
    refuses=("unknown_checkout",),
    names=NAMES,
    example=Example(path={"id": "{checkout_id}"}),
)
async def get_checkout_session(call: Call[NoQuery, None]) -> Response:
    """200 with our row."""
    return call.answer(await show_checkout(call.context, call.project, call.app, call.path["id"]))


@operation(
    "POST",
    f"{PATH}/{{id}}/claim",
    summary="Have Stripe read now, for a success page",
    says="202 with `Retry-After`: Stripe was too slow, or was read for another claim within the last 2 s; "
    "what is answered was known before.",
    scope="checkout:write",
    of="app",
    answers={200: ClaimedCheckout, 202: ClaimedCheckout},
    refuses=("unknown_checkout", "unknown_project", "unknown_app"),
    names=NAMES,
    example=Example(path={"id": "{checkout_id}"}),
)
async def claim_checkout_session(call: Call[NoQuery, None]) -> Response:
    """200 once Stripe was read, 202 when that took too long."""
    running = call.running
    claim = await claim_checkout(running.context, running.syncer, call.project, call.app, call.path["id"])
    running.ring(claim.owed)
    if claim.is_read:
        return call.answer(claim.claimed)
    return call.answer(claim.claimed, 202, {"retry-after": str(RETRY_AFTER_S)})


def _wish(body: CheckoutBody) -> Wish:
    said = body.customer
    person = Person(email=said.email, name=said.name, locale=said.locale) if said is not None else None
    return Wish(
        user_id=body.user_id,
        items=[Item(item.plan, item.price, item.quantity) for item in body.items],
        success_url=body.success_url,
        cancel_url=body.cancel_url,
        trial_days=body.trial_days,
        promotion_code=body.promotion_code,
        on_existing=body.on_existing,
        metadata=body.metadata,
        customer=person,
    )


ROUTES = [create_checkout_session, get_checkout_session, claim_checkout_session]
