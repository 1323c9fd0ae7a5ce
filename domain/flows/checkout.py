"""Open a checkout: judge it by the catalog, make sure of the customer, then ask Stripe for a session.

Every row is committed before the call it belongs to, and every call carries a key derived from its row: a
process that dies in between leaves a row without a session, never a session or customer nobody knows.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid, Unknown
from domain.flows.ensure_customer import OurCustomer, ensure_customer
from domain.flows.read_budget import noting_429
from domain.flows.read_catalog import find_head
from domain.rules.catalog import Catalog, CheckoutOptions
from domain.rules.order import Item, Order, judge_order
from domain.rules.redirect import find_redirect_fault
from domain.settings import Mode
from domain.store import catalogs, checkouts
from domain.store.checkouts import NewCheckout
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = ["Item", "OpenedCheckout", "Person", "Wish", "open_checkout"]

log = get_logger()

RESERVED_PREFIX = "tollhouse_"
#: Stripe takes 50 pairs; the rest is ours and leaves room.
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 40, 40, 500


class Person(Struct, frozen=True, kw_only=True):
    """What the app knows of the customer; each is optional and then written to the Stripe customer."""

    email: str | None = None
    name: str | None = None
    #: Language of Stripe's page, as Stripe names it.
    locale: str | None = None


class Wish(Struct, frozen=True, kw_only=True):
    """A checkout as an app asks for it."""

    user_id: str
    items: Sequence[Item]
    success_url: str
    cancel_url: str
    #: 0: none. A plan's own trial is not given unless asked for.
    trial_days: int = 0
    metadata: Mapping[str, str] = {}
    customer: Person | None = None


class OpenedCheckout(Struct, frozen=True, kw_only=True):
    #: Stripe's, cs_….
    id: str
    #: Ours: the session's client_reference_id.
    ref: str
    #: Where to send the customer.
    url: str
    expires_at: datetime
    #: Stripe's: open.
    status: str


async def open_checkout(context: Context, project: str, app: str, wish: Wish) -> OpenedCheckout:
    """A Stripe checkout session in which this user can buy these items.

    Raises:
        Unknown: there is no such project or app.
        Invalid: items, URLs, trial or metadata that cannot be; nothing was created then.
        Conflict: a price has no Stripe price yet.
        Unavailable: Stripe or Postgres is away; asking again is safe.
    """
    judged = await _judge(context, project, app, wish)
    async with noting_429(context):
        return await _open(context, project, app, wish, judged)


async def _open(context: Context, project: str, app: str, wish: Wish, judged: "_Judged") -> OpenedCheckout:
    customer = await ensure_customer(context, project, wish.user_id)
    checkout = NewCheckout(
        ref=uuid.uuid4(),
        project=project,
        app=app,
        user_key=customer.user_key,
        mode=judged.order.mode,
        items=msgspec.json.encode(wish.items),
    )
    async with context.database.transaction() as connection:
        await checkouts.insert_checkout(connection, checkout)
    if wish.customer is not None:
        await _describe_customer(context, customer.customer_id, wish.customer, checkout.ref)
    opened = await _create_session(context, wish, judged, checkout, customer)
    async with context.database.transaction() as connection:
        await checkouts.write_session(
            connection,
            project,
            checkout.ref,
            opened.id,
            status=opened.status,
            expires_at=opened.expires_at,
        )
    log.info("checkout_opened", ref=opened.ref, session=opened.id, user_key=customer.user_key, app=app)
    return opened


class _Judged(Struct, frozen=True):
    order: Order
    #: Stripe's line_items.
    lines: list[dict[str, Any]]
    options: CheckoutOptions


async def _judge(context: Context, project: str, app: str, wish: Wish) -> _Judged:
    """The wish as the catalog head sees it; nothing is created before this."""
    async with context.database.connection() as connection:
        head = await find_head(connection, project)
        if head is None or app not in head.catalog.apps:
            raise Unknown(f"There is no app {app!r} of a project {project!r}.", code="unknown_app")
        order = judge_order(head.catalog, wish.items)
        _refuse_wrong(head.catalog, app, wish, order, context.stripe_or_raise.mode)
        lines = [await _find_line(connection, project, item) for item in wish.items]
    return _Judged(order, lines, head.catalog.checkout)


async def _create_session(
    context: Context, wish: Wish, judged: _Judged, checkout: NewCheckout, customer: OurCustomer
) -> OpenedCheckout:
    names = {
        "tollhouse_v": "1",
        "tollhouse_env": context.settings.env,
        "tollhouse_project": checkout.project,
        "tollhouse_app": checkout.app,
        "tollhouse_user": wish.user_id,
        # The customer's, not the checkout's: an event of this session then links a customer of ours too.
        "tollhouse_ref": str(customer.ref),
    }
    params = {
        **_session_params(wish, judged, {**wish.metadata, **names}),
        "customer": customer.customer_id,
        "client_reference_id": str(checkout.ref),
        "line_items": judged.lines,
    }
    session = await context.stripe_or_raise.create(
        "/v1/checkout/sessions", params, idempotency_key=f"checkout:{checkout.ref}"
    )
    return OpenedCheckout(
        id=session["id"],
        ref=str(checkout.ref),
        url=session["url"],
        expires_at=datetime.fromtimestamp(session["expires_at"], UTC),
        status=session["status"],
    )


def _refuse_wrong(catalog: Catalog, app: str, wish: Wish, order: Order, mode: Mode) -> None:
    origins = catalog.apps[app].redirect_origins
    errors = [
        FieldError(field, fault)
        for field, url in (("success_url", wish.success_url), ("cancel_url", wish.cancel_url))
        if (fault := find_redirect_fault(url, origins, mode)) is not None
    ]
    if wish.trial_days > order.trial_days:
        errors.append(FieldError("trial_days", f"the catalog allows {order.trial_days} for these items"))
    errors.extend(_metadata_faults(wish.metadata))
    if errors:
        raise Invalid("This checkout cannot be opened.", errors=tuple(errors), code="checkout_invalid")


def _metadata_faults(metadata: Mapping[str, str]) -> list[FieldError]:
    if len(metadata) > MAX_METADATA:
        return [FieldError("metadata", f"more than {MAX_METADATA} pairs")]
    faults = []
    for key, value in metadata.items():
        if key.lower().startswith(RESERVED_PREFIX):
            faults.append(FieldError(f"metadata.{key}", f"names that begin with {RESERVED_PREFIX} are ours"))
        elif not 1 <= len(key) <= MAX_METADATA_KEY or set(key) & set("[]"):
            faults.append(
                FieldError(
                    f"metadata.{key[:MAX_METADATA_KEY]}",
                    f"a name is 1 to {MAX_METADATA_KEY} characters, without square brackets",
                )
            )
        elif not 1 <= len(value) <= MAX_METADATA_VALUE:
            faults.append(FieldError(f"metadata.{key}", f"a value is 1 to {MAX_METADATA_VALUE} characters"))
    return faults


async def _find_line(connection: Connection, project: str, item: Item) -> dict[str, Any]:
    row = await catalogs.find_price_id(connection, project, item.plan, item.price)
    if row is None:
        raise Conflict(
            f"{item.plan}/{item.price} is in the catalog but not in Stripe yet: "
            "run `tollhouse catalog apply`.",
            code="price_not_in_stripe",
        )
    return {"price": row.price_id, "quantity": item.quantity}


async def _describe_customer(context: Context, customer_id: str, person: Person, ref: UUID) -> None:
    """Not part of creating the customer: two first checkouts at once may say different things, and would
    then be two different creations under one key.
    """
    said = {"email": person.email, "name": person.name}
    params = {name: value for name, value in said.items() if value is not None}
    if params:
        path = f"/v1/customers/{customer_id}"
        await context.stripe_or_raise.create(path, params, idempotency_key=f"describe:{ref}")


def _session_params(wish: Wish, judged: _Judged, metadata: Mapping[str, str]) -> dict[str, Any]:
    # Session metadata is copied to nothing, so it is said again for what the session makes.
    made = {"metadata": metadata}
    params: dict[str, Any] = {
        "mode": judged.order.mode,
        "currency": judged.order.currency,
        "success_url": wish.success_url,
        "cancel_url": wish.cancel_url,
        "metadata": metadata,
    }
    if judged.order.mode == "subscription":
        trial = {"trial_period_days": wish.trial_days} if wish.trial_days else {}
        params["subscription_data"] = {**made, **trial}
    else:
        params["payment_intent_data"] = made
    if wish.customer is not None and wish.customer.locale is not None:
        params["locale"] = wish.customer.locale
    return {**params, **_option_params(judged.options)}


def _option_params(options: CheckoutOptions) -> dict[str, Any]:
    params: dict[str, Any] = {}
    update = {}
    if options.allow_promotion_codes:
        params["allow_promotion_codes"] = True
    if options.automatic_tax:
        params["automatic_tax"] = {"enabled": True}
        update["address"] = "auto"
    if options.tax_id_collection:
        params["tax_id_collection"] = {"enabled": True}
        update["name"] = "auto"
    # Stripe collects these for a known customer only if it may write them back.
    return {**params, "customer_update": update} if update else params
