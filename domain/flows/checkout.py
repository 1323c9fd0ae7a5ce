"""Open a checkout: judge it by the catalog, make sure of the customer, then ask Stripe for a session.

Every row is committed before the call it belongs to, and every call carries a key derived from its row: a
process that dies in between leaves a row without a session, never a session or customer nobody knows. The row
is named after the attempt's call, so the same call sent again goes on with the row, and with what Stripe made
for it.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid, ObjectMissing
from domain.flows.checkout_turn import expire_others, taking_turn
from domain.flows.ensure_customer import OurCustomer, ensure_customer
from domain.flows.idempotency import Attempt
from domain.flows.judge_checkout import Judged, Person, Wish, judge_checkout, refuse_obstacles
from domain.flows.read_budget import CLAIM_WAIT_S, budget_of, noting_429
from domain.flows.stripe_refusal import telling_refusals
from domain.model import TargetRef
from domain.rules.catalog import CheckoutOptions
from domain.rules.events import internal_event
from domain.rules.obstacles import (
    OnExisting,
    refuse_existing,
    refuse_lifetime_elsewhere,
    refuse_trial_elsewhere,
)
from domain.rules.order import Item
from domain.rules.promotion import find_usable_code
from domain.store import checkouts, inbox
from domain.store.checkouts import NewCheckout
from domain.stripe_gateway import StripeRefused
from domain.telemetry import get_logger

__all__ = ["Item", "OnExisting", "OpenedCheckout", "Person", "Wish", "open_checkout"]

log = get_logger()


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


class _Offer(Struct, frozen=True, kw_only=True):
    """A judged wish with what is known of it in Stripe."""

    wish: Wish
    judged: Judged
    #: promo_…; None: none was asked for.
    promotion: str | None


async def open_checkout(
    context: Context, project: str, app: str, wish: Wish, attempt: Attempt | None = None
) -> OpenedCheckout:
    """A Stripe checkout session in which this user can buy these items.

    The user's other open ones of the same groups are over then, and with a trial those with the trial of the
    same plan without a group; with a plan for a lifetime those with the same one. `attempt` None: a call
    nobody sends again.

    Raises:
        Unknown: there is no such project or app.
        Invalid: items, URLs, trial, metadata or promotion code that cannot be, or that Stripe refuses.
        Conflict: a price has no Stripe price yet; what the user holds is in the way; another checkout or
            change of it is under way; or the user was erased.
        Unavailable: Stripe or Postgres is away; asking again is safe.
    """
    attempt = attempt or Attempt(uuid.uuid4(), status=201)
    judged = await judge_checkout(context, project, app, wish)
    async with noting_429(context):
        with telling_refusals("this checkout"):
            offer = _Offer(wish=wish, judged=judged, promotion=await _find_promotion(context, wish, judged))
            customer = await ensure_customer(context, project, wish.user_id)
            await context.faults.reach("checkout.customer")
            async with taking_turn(context, project, customer.user_key, judged.turns, attempt.id):
                return await _open(context, project, app, offer, customer, attempt)


async def _open(
    context: Context, project: str, app: str, offer: _Offer, customer: OurCustomer, attempt: Attempt
) -> OpenedCheckout:
    await _clear_the_way(context, project, offer, customer, attempt.id)
    checkout = _new_checkout(project, app, offer, customer, attempt.id)
    async with context.database.transaction() as connection:
        await checkouts.insert_checkout(connection, checkout)
        # After the row, whose reference to the user waits for whoever renames, merges or erases it.
        if not await checkouts.is_still_of(connection, project, customer.customer_id, offer.wish.user_id):
            raise _user_moved()
    await context.faults.reach("checkout.inserted")
    opened = await _ask_stripe(context, offer, checkout, customer)
    await context.faults.reach("checkout.created")
    async with context.database.transaction() as connection:
        await checkouts.write_session(
            connection,
            project,
            checkout.ref,
            opened.id,
            status=opened.status,
            expires_at=opened.expires_at,
        )
        await attempt.keep(connection, opened)
    log.info("checkout_opened", ref=opened.ref, session=opened.id, user_key=customer.user_key, app=app)
    return opened


def _user_moved() -> Conflict:
    return Conflict(
        "This user was renamed, merged or erased at this moment: ask again.",
        code="change_in_progress",
        retry_after_s=1,
    )


async def _clear_the_way(
    context: Context, project: str, offer: _Offer, customer: OurCustomer, ref: UUID
) -> None:
    wish, judged = offer.wish, offer.judged
    groups = judged.order.groups
    if not judged.turns:
        return
    await refuse_obstacles(context, project, wish, judged)
    if await expire_others(context, project, customer.user_key, groups, ref):
        raise refuse_existing(judged.catalog, wish.user_id, wish.items, (None, groups[0]), wish.on_existing)
    if await expire_others(context, project, customer.user_key, judged.trials, ref):
        raise refuse_trial_elsewhere(judged.trials)
    if await expire_others(context, project, customer.user_key, judged.lifetimes, ref):
        raise refuse_lifetime_elsewhere(judged.lifetimes)


def _new_checkout(project: str, app: str, offer: _Offer, customer: OurCustomer, ref: UUID) -> NewCheckout:
    return NewCheckout(
        ref=ref,
        project=project,
        app=app,
        user_key=customer.user_key,
        mode=offer.judged.order.mode,
        items=msgspec.json.encode(offer.wish.items),
        groups=offer.judged.turns,
    )


async def _find_promotion(context: Context, wish: Wish, judged: Judged) -> str | None:
    """The promo_… of what was asked for. Raises: Invalid, where it is not this project's to give."""
    code = wish.promotion_code
    if code is None:
        return None
    reserve, shown = budget_of(context, CLAIM_WAIT_S), "promotion.coupon.applies_to"
    stripe = context.stripe_or_raise
    try:
        if code.startswith("promo_"):
            found = [await stripe.read(f"/v1/promotion_codes/{code}", reserve, expand=[shown])]
        else:
            listed = await stripe.read(
                "/v1/promotion_codes", reserve, code=code, active=True, limit=100, expand=[f"data.{shown}"]
            )
            found = listed["data"]
    except ObjectMissing:
        found = []
    products = {plan.product_id for plan in judged.catalog.plans.values()}
    bought = {judged.catalog.plans[item.plan].product_id for item in wish.items}
    promotion = find_usable_code(found, products, judged.customer_id, bought=bought)
    if promotion is None:
        what = (
            "unknown, over, another customer's, for nothing of these items, or its coupon is not limited to "
            "this project's products"
        )
        raise Invalid(
            "This promotion code cannot be used: in Stripe it has to be active, and its coupon's applies_to "
            "has to list products of this project alone, one of these items' among them.",
            code="checkout_invalid",
            errors=(FieldError("promotion_code", what),),
        )
    return promotion


async def _ask_stripe(
    context: Context, offer: _Offer, checkout: NewCheckout, customer: OurCustomer
) -> OpenedCheckout:
    try:
        if offer.wish.customer is not None:
            await _describe_customer(context, customer.customer_id, offer.wish.customer, checkout.ref)
        return await _create_session(context, offer, checkout, customer)
    except ObjectMissing:
        await _refuse_lost_customer(context, customer)
    except StripeRefused as error:
        if error.param == "customer" and error.reason == "resource_missing":
            await _refuse_lost_customer(context, customer)
        raise


async def _refuse_lost_customer(context: Context, customer: OurCustomer) -> NoReturn:
    """Stripe has just deleted the customer: its event is on its way, and ours comes sooner."""
    target = TargetRef("customer", customer.customer_id)
    event_id = f"th_{uuid.uuid4().hex}"
    event = internal_event(event_id, "sync", "customer", customer.customer_id, target, cause="checkout")
    async with context.database.transaction() as connection:
        await inbox.mark(connection, [event])
    raise Invalid(
        "Stripe has no customer of this user any more, and is being read again: send the call again in some "
        "seconds, and the user gets a new one.",
        code="stripe_refused",
        errors=(FieldError("customer", "deleted in Stripe"),),
    )


async def _describe_customer(context: Context, customer_id: str, person: Person, ref: UUID) -> None:
    """Not part of creating the customer: two first checkouts at once may say different things, and would
    then be two different creations under one key.
    """
    said = {"email": person.email, "name": person.name}
    params = {name: value for name, value in said.items() if value is not None}
    if params:
        path = f"/v1/customers/{customer_id}"
        await context.stripe_or_raise.create(path, params, idempotency_key=f"describe:{ref}")


async def _create_session(
    context: Context, offer: _Offer, checkout: NewCheckout, customer: OurCustomer
) -> OpenedCheckout:
    names = {
        "tollhouse_v": "1",
        "tollhouse_env": context.settings.env,
        "tollhouse_project": checkout.project,
        "tollhouse_app": checkout.app,
        "tollhouse_user": offer.wish.user_id,
        # The customer's, not the checkout's: an event of this session then links a customer of ours too.
        "tollhouse_ref": str(customer.ref),
    }
    params = {
        **_session_params(offer, {**offer.wish.metadata, **names}),
        "customer": customer.customer_id,
        "client_reference_id": str(checkout.ref),
        "line_items": offer.judged.lines,
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


def _session_params(offer: _Offer, metadata: Mapping[str, str]) -> dict[str, Any]:
    wish, judged = offer.wish, offer.judged
    # Session metadata is copied to nothing, so it is said again for what the session makes.
    made = {"metadata": metadata}
    params: dict[str, Any] = {
        "mode": judged.order.mode,
        "currency": judged.currency,
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
    return {**params, **_option_params(judged.catalog.checkout, offer.promotion)}


def _option_params(options: CheckoutOptions, promotion: str | None) -> dict[str, Any]:
    params: dict[str, Any] = {}
    update = {}
    # Stripe takes one of them: a code that is given leaves no field for another.
    if promotion is not None:
        params["discounts"] = [{"promotion_code": promotion}]
    elif options.allow_promotion_codes:
        params["allow_promotion_codes"] = True
    if options.automatic_tax:
        params["automatic_tax"] = {"enabled": True}
        update["address"] = "auto"
    if options.tax_id_collection:
        params["tax_id_collection"] = {"enabled": True}
        update["name"] = "auto"
    # Stripe collects these for a known customer only if it may write them back.
    return {**params, "customer_update": update} if update else params
