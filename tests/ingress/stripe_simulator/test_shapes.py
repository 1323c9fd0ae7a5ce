"""Every object has Stripe's shape: `shapes.json` lists the names of its properties.

The table was made from Stripe's public OpenAPI document of 2026-08-26, the last before the pinned version;
`status_details` of a subscription and `pause_schedules` of a schedule are from the SDK, which is of the
pinned version.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import stripe

from deploy.local.stripe_simulator.rendering import INCLUDABLE, expand, render
from deploy.local.stripe_simulator.store import SATELLITES, Account
from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import DAY, NEW_YEAR, change_card, new_clock, subscribe_on
from tests.ingress.stripe_simulator.money import buy
from tests.ingress.stripe_simulator.receiver import Receiver
from tests.ingress.stripe_simulator.sdk import Json, ask, open_session, subscribe

SHAPES: dict[str, Any] = msgspec.json.decode((Path(__file__).parent / "shapes.json").read_bytes())
PAUSES = {"end_behavior": {"missing_payment_method": "pause"}}
#: Rows that are ours and that Stripe never shows.
OURS = {*SATELLITES.values(), "api_version", "billing_settings", "delivery", "idempotency"}


def problems_of(subject: Json) -> list[str]:
    """What is wrong with an object and the hashes in it; empty when nothing is."""
    kind = subject["object"]
    shape = SHAPES[kind]
    found = [f"{kind} lacks {name}" for name in shape["required"] if name not in subject]
    found += [f"{kind} has unknown {name}" for name in subject if name not in shape["known"]]
    found += [f"{kind}.{name} is null" for name in shape["not_null"] if subject.get(name, "") is None]
    for name, nested in shape["nested"].items():
        inner = subject.get(name)
        if isinstance(inner, dict):
            found += [f"{kind}.{name} lacks {key}" for key in nested["required"] if key not in inner]
            found += [f"{kind}.{name} has unknown {key}" for key in inner if key not in nested["known"]]
    for inner in subject.values():
        found += problems_inside(inner)
    return found


def problems_inside(value: Any) -> list[str]:
    if isinstance(value, list):
        return [problem for each in value for problem in problems_inside(each)]
    if not isinstance(value, dict):
        return []
    kind = value.get("object")
    if isinstance(kind, str) and kind in SHAPES and not value.get("deleted"):
        return problems_of(value)
    return [problem for each in value.values() for problem in problems_inside(each)]


def everything(account: Account) -> list[Json]:
    """Every object the account has, as Stripe shows it, with all that can be expanded in it."""
    rows = [row for kind, found in account.rows.items() if kind not in OURS for row in found.values()]
    shown = []
    for row in rows:
        paths = [field for kind, field in INCLUDABLE if kind == row["object"]]
        shown.append(expand(account, render(account, row), paths))
    return shown


async def live_through_everything(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    for prices in (["price_once"], ["price_month", "price_once"]):
        session = await open_session(client, *prices)
        await sim.decline(session["id"])
        await sim.pay(session["id"])
        for outcome in ("succeeded", "failed"):
            session = await open_session(client, *prices)
            await sim.pay_later(session["id"])
            await sim.settle(session["id"], outcome)
    session = await open_session(client, "price_month", subscription_data={"trial_period_days": 7})
    await sim.pay(session["id"])
    half = await ask(client, "post", "/v1/coupons", percent_off=50, applies_to={"products": ["acme_pro"]})
    promotion = {"type": "coupon", "coupon": half["id"]}
    code = await ask(client, "post", "/v1/promotion_codes", promotion=promotion)
    session = await open_session(client, "price_month", discounts=[{"promotion_code": code["id"]}])
    await sim.pay(session["id"])
    session = await open_session(client, "price_once", tax_id_collection={"enabled": True})
    await client.v1.checkout.sessions.expire_async(session["id"])
    elements = {"ui_mode": "elements", "return_url": "http://localhost/back"}
    items = [{"price": "price_once"}]
    await ask(client, "post", "/v1/checkout/sessions", mode="payment", line_items=items, **elements)
    made = await subscribe(client, "price_month", trial_period_days=3)
    path = f"/v1/subscriptions/{made['id']}"
    await ask(client, "post", path, trial_end="now")
    await ask(client, "post", path, cancel_at_period_end=True, pause_collection={"behavior": "void"})
    await ask(client, "delete", path, cancellation_details={"comment": "enough"})
    await ask(client, "post", f"/v1/customers/{made['customer']}", address={"city": "Bern"})
    await let_time_pass(sim, client)
    await take_everything_back(sim, client)
    await open_portals(sim, client)
    planned = await subscribe(client, "price_month")
    await ask(client, "post", "/v1/subscription_schedules", from_subscription=planned["id"])


async def let_time_pass(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    """A renewal that fails for good, prorations that are paid and one that waits, a pause, a trial's end."""
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    path, item = f"/v1/subscriptions/{made['id']}", made["items"]["data"][0]["id"]
    await ask(client, "post", path, items=[{"id": item, "quantity": 2}])
    await ask(client, "post", path, items=[{"id": item, "quantity": 3}], proration_behavior="always_invoice")
    await change_card(client, made["customer"], "pm_card_chargeCustomerFail")
    waits = {"payment_behavior": "pending_if_incomplete", "proration_behavior": "always_invoice"}
    await ask(client, "post", path, items=[{"id": item, "quantity": 9}], **waits)
    await subscribe_on(client, clock, "price_month", card=None, trial_period_days=9, trial_settings=PAUSES)
    await sim.advance(clock, NEW_YEAR + 60 * DAY)
    await ask(client, "post", "/v1/invoiceitems", customer=made["customer"], amount=7, currency="usd")
    include = {"pending_invoice_items_behavior": "include"}
    await ask(client, "post", "/v1/invoices", customer=made["customer"], **include)


async def take_everything_back(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    charge = await buy(sim, client)
    refund = await ask(client, "post", "/v1/refunds", charge=charge["id"], amount=100)
    await sim.fail_refund(refund["id"])
    dispute = await sim.dispute(charge["id"], status="warning_needs_response")
    await sim.move_dispute(dispute["id"], "needs_response")
    await client.v1.disputes.close_async(dispute["id"])
    intent = {"amount": 100, "currency": "usd", "confirm": True}
    await ask(client, "post", "/v1/payment_intents", payment_method="pm_card_pendingRefund", **intent)
    waiting = await ask(
        client, "post", "/v1/payment_intents", payment_method="pm_card_authenticationRequired", **intent
    )
    await client.v1.payment_intents.cancel_async(waiting["id"])
    sepa = {"type": "sepa_debit", "sepa_debit": {"iban": "AT611904300234573201"}}
    method = await ask(client, "post", "/v1/payment_methods", **sepa)
    await ask(client, "post", "/v1/payment_intents", **intent, payment_method=method["id"])
    await ask(
        client,
        "post",
        "/v1/payment_intents",
        **intent,
        payment_method="pm_card_visa",
        capture_method="manual",
    )


async def open_portals(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    await sim.save_portal()
    made = await subscribe(client, "price_month")
    path, customer = "/v1/billing_portal/sessions", made["customer"]
    await ask(client, "post", path, customer=customer)
    flow = {"type": "subscription_cancel", "subscription_cancel": {"subscription": made["id"]}}
    await ask(client, "post", path, customer=customer, flow_data=flow)


async def test_every_object_and_every_event_has_the_pinned_shape(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await live_through_everything(sim, client)
    shown = everything(sim.account)
    assert {subject["object"] for subject in shown} == SHAPES.keys()
    assert sorted({problem for subject in shown for problem in problems_of(subject)}) == []


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        ({"status": ...}, "subscription lacks status"),
        ({"colour": "red"}, "subscription has unknown colour"),
        ({"currency": None}, "subscription.currency is null"),
        ({"billing_mode": {}}, "subscription.billing_mode lacks type"),
        ({"items": {"data": [{"object": "item"}]}}, "item lacks id"),
    ],
)
async def test_the_check_of_shapes_sees_what_is_wrong(
    client: stripe.StripeClient, spoil: dict[str, Any], problem: str
) -> None:
    good = await subscribe(client, "price_month")
    assert problems_of(good) == []
    spoilt = {name: value for name, value in {**good, **spoil}.items() if value is not ...}
    assert problem in problems_of(spoilt)
