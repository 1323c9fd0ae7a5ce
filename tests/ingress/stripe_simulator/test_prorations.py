from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import (
    DAY,
    HOUR,
    NEW_YEAR,
    advance,
    change_card,
    happened,
    invoices_of,
    new_clock,
    read,
    subscribe_on,
)
from tests.ingress.stripe_simulator.sdk import Json, ask

#: The middle of a period of 31 days: half is left.
MIDDLE, FEBRUARY = NEW_YEAR + 31 * DAY // 2, NEW_YEAR + 31 * DAY
MONTH = {"currency": "usd", "recurring": {"interval": "month"}}
DECLINED = "pm_card_chargeCustomerFail"


@pytest.fixture
async def half_way(sim: SimulatorHandle, client: stripe.StripeClient) -> tuple[str, Json]:
    """A clock in the middle of a paid month of 19.00, and the subscription; a dearer price exists."""
    await sim.seed(
        prices=[
            {"id": "price_dear", "product": "acme_pass", "unit_amount": 4900, **MONTH},
            {"id": "price_extra", "product": "acme_pass", "unit_amount": 300, **MONTH},
        ]
    )
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    await advance(client, clock, MIDDLE)
    return clock, made


def path_of(subscription: Json) -> str:
    return f"/v1/subscriptions/{subscription['id']}"


def item_of(subscription: Json, **change: Any) -> Json:
    return {"id": subscription["items"]["data"][0]["id"], **change}


async def lines_of(client: stripe.StripeClient, invoice_id: str) -> list[tuple[int, bool, str]]:
    """(amount, is it a proration, price) of each line."""
    lines = (await ask(client, "get", f"/v1/invoices/{invoice_id}/lines", limit=100))["data"]
    return [
        (
            line["amount"],
            line["parent"][line["parent"]["type"]]["proration"],
            line["pricing"]["price_details"]["price"],
        )
        for line in lines
    ]


async def test_upgrade_credits_unused_time_and_bills_the_rest_with_the_renewal(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    clock, made = half_way
    changed = await ask(client, "post", path_of(made), items=[item_of(made, price="price_dear")])
    assert changed["latest_invoice"] == made["latest_invoice"]
    pending = await ask(client, "get", "/v1/invoiceitems", customer=made["customer"], pending=True)
    assert [(row["amount"], row["proration"]) for row in reversed(pending["data"])] == [
        (-950, True),
        (2450, True),
    ]
    assert pending["data"][0]["parent"]["subscription_details"]["subscription"] == made["id"]
    await advance(client, clock, FEBRUARY + HOUR)
    invoice = (await invoices_of(client, made))[0]
    assert await lines_of(client, invoice["id"]) == [
        (-950, True, "price_month"),
        (2450, True, "price_dear"),
        (4900, False, "price_dear"),
    ]
    assert (invoice["total"], invoice["status"]) == (6400, "paid")


async def test_upgrade_can_be_invoiced_at_once(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    wanted = {"items": [item_of(made, price="price_dear")], "proration_behavior": "always_invoice"}
    changed = await ask(client, "post", path_of(made), expand=["latest_invoice"], **wanted)
    invoice = changed["latest_invoice"]
    assert (invoice["billing_reason"], invoice["amount_paid"]) == ("subscription_update", 1500)
    assert changed["items"]["data"][0]["current_period_end"] == FEBRUARY


async def test_change_without_proration_bills_nothing_until_the_renewal(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    clock, made = half_way
    wanted = {"items": [item_of(made, price="price_dear")], "proration_behavior": "none"}
    await ask(client, "post", path_of(made), **wanted)
    await advance(client, clock, FEBRUARY + HOUR)
    assert [row["amount_paid"] for row in await invoices_of(client, made)] == [4900, 1900]


async def test_downgrade_leaves_a_credit_that_pays_the_next_invoice(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    clock, made = half_way
    wanted = {"items": [item_of(made, price="price_extra")], "proration_behavior": "always_invoice"}
    changed = await ask(client, "post", path_of(made), expand=["latest_invoice"], **wanted)
    assert (changed["latest_invoice"]["total"], changed["latest_invoice"]["status"]) == (-800, "paid")
    assert (await ask(client, "get", f"/v1/customers/{made['customer']}"))["balance"] == -800
    await advance(client, clock, FEBRUARY + HOUR)
    renewal = (await invoices_of(client, made))[0]
    assert (renewal["total"], renewal["starting_balance"], renewal["amount_due"]) == (300, -800, 0)
    assert (await ask(client, "get", f"/v1/customers/{made['customer']}"))["balance"] == -500


async def test_items_that_come_and_go_and_quantities_are_prorated_too(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    items = [item_of(made, quantity=3), {"price": "price_extra", "quantity": 2}]
    wanted = {"items": items, "proration_behavior": "always_invoice"}
    changed = await ask(client, "post", path_of(made), **wanted)
    assert await lines_of(client, changed["latest_invoice"]) == [
        (-950, True, "price_month"),
        (2850, True, "price_month"),
        (300, True, "price_extra"),
    ]
    added = changed["items"]["data"][1]
    wanted = {"items": [{"id": added["id"], "deleted": True}], "proration_behavior": "always_invoice"}
    changed = await ask(client, "post", path_of(made), **wanted)
    assert await lines_of(client, changed["latest_invoice"]) == [(-300, True, "price_extra")]


async def test_trial_is_not_prorated(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month", trial_period_days=10)
    wanted = {"items": [item_of(made, quantity=5)], "proration_behavior": "always_invoice"}
    changed = await ask(client, "post", path_of(made), **wanted)
    assert changed["latest_invoice"] == made["latest_invoice"]


async def test_anchor_now_begins_a_new_period_less_the_unused_time(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    changed = await ask(client, "post", path_of(made), billing_cycle_anchor="now")
    assert changed["billing_cycle_anchor"] == MIDDLE
    assert [amount for amount, *_rest in await lines_of(client, changed["latest_invoice"])] == [-950, 1900]


async def test_first_period_before_a_later_anchor_costs_its_part(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    clock = await new_clock(client, MIDDLE)
    made = await subscribe_on(client, clock, "price_month", billing_cycle_anchor=FEBRUARY)
    assert made["items"]["data"][0]["current_period_end"] == FEBRUARY
    assert (await invoices_of(client, made))[0]["amount_paid"] == 950
    await advance(client, clock, FEBRUARY + HOUR)
    assert (await invoices_of(client, made))[0]["amount_paid"] == 1900


async def test_upgrade_that_cannot_be_paid_falls_behind_by_default(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    await change_card(client, made["customer"], DECLINED)
    wanted = {"items": [item_of(made, price="price_dear")], "proration_behavior": "always_invoice"}
    changed = await ask(client, "post", path_of(made), **wanted)
    assert (changed["status"], changed["items"]["data"][0]["price"]["id"]) == ("past_due", "price_dear")


async def test_upgrade_that_must_be_paid_is_refused_and_changes_nothing(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    await change_card(client, made["customer"], DECLINED)
    before, told = await read(client, made), await happened(client, "")
    wanted = {"items": [item_of(made, price="price_dear")], "proration_behavior": "always_invoice"}
    with pytest.raises(stripe.CardError):
        await ask(client, "post", path_of(made), payment_behavior="error_if_incomplete", **wanted)
    assert (await read(client, made), await happened(client, "")) == (before, told)


async def hold_upgrade(client: stripe.StripeClient, made: Json) -> Json:
    await change_card(client, made["customer"], DECLINED)
    return await ask(
        client,
        "post",
        path_of(made),
        items=[item_of(made, price="price_dear")],
        payment_behavior="pending_if_incomplete",
        proration_behavior="always_invoice",
    )


async def test_pending_update_waits_and_is_applied_when_its_invoice_is_paid(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    held = await hold_upgrade(client, made)
    assert (held["status"], held["items"]["data"][0]["price"]["id"]) == ("active", "price_month")
    assert held["pending_update"]["expires_at"] == MIDDLE + 23 * HOUR
    assert held["pending_update"]["subscription_items"][0]["price"]["id"] == "price_dear"
    invoice = (await invoices_of(client, made))[0]
    assert (invoice["status"], invoice["amount_due"]) == ("open", 1500)
    await change_card(client, made["customer"], "pm_card_visa")
    await ask(client, "post", f"/v1/invoices/{invoice['id']}/pay")
    applied = await read(client, made)
    assert (applied["pending_update"], applied["items"]["data"][0]["price"]["id"]) == (None, "price_dear")
    assert [name for name, _at in await happened(client, "customer.subscription")][-2:] == [
        "customer.subscription.updated",
        "customer.subscription.pending_update_applied",
    ]


async def test_pending_update_expires_with_its_invoice(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    clock, made = half_way
    held = await hold_upgrade(client, made)
    await advance(client, clock, held["pending_update"]["expires_at"])
    expired = await read(client, made)
    assert (expired["status"], expired["pending_update"]) == ("active", None)
    assert expired["items"]["data"][0]["price"]["id"] == "price_month"
    assert (await invoices_of(client, made))[0]["status"] == "void"
    moment = MIDDLE + 23 * HOUR
    assert ("customer.subscription.pending_update_expired", moment) in await happened(client, "customer")


async def test_pending_update_that_is_paid_at_once_does_not_wait(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    wanted = {"items": [item_of(made, price="price_dear")], "proration_behavior": "always_invoice"}
    changed = await ask(client, "post", path_of(made), payment_behavior="pending_if_incomplete", **wanted)
    assert (changed["pending_update"], changed["items"]["data"][0]["price"]["id"]) == (None, "price_dear")


async def test_pending_update_takes_no_other_changes(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    wanted = {"metadata": {"a": "b"}, "payment_behavior": "pending_if_incomplete"}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "post", path_of(made), **wanted)
    assert caught.value.param == "metadata"


async def test_cancellation_can_credit_the_unused_time(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    await ask(client, "delete", path_of(made), prorate=True, invoice_now=True)
    assert (await invoices_of(client, made))[0]["total"] == -950


async def preview(client: stripe.StripeClient, **wanted: Any) -> Json:
    return await ask(client, "post", "/v1/invoices/create_preview", **wanted)


async def test_preview_shows_what_a_change_would_cost_and_changes_nothing(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    before, told = await read(client, made), await happened(client, "")
    details = {"items": [item_of(made, price="price_dear")], "proration_behavior": "always_invoice"}
    shown = await preview(client, subscription=made["id"], subscription_details=details)
    assert (shown["amount_due"], shown["status"], shown["id"][:12]) == (1500, "draft", "upcoming_in_")
    assert [line["amount"] for line in shown["lines"]["data"]] == [-950, 2450]
    later = await preview(client, subscription=made["id"], subscription_details={"items": details["items"]})
    assert [line["amount"] for line in later["lines"]["data"]] == [-950, 2450, 4900]
    assert (await read(client, made), await happened(client, "")) == (before, told)
    assert len(await invoices_of(client, made)) == 1


async def test_preview_of_a_day_is_what_the_change_of_that_day_bills(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    terms = {"proration_behavior": "always_invoice", "proration_date": NEW_YEAR + 20 * DAY}
    wanted = {"items": [item_of(made, quantity=4)], **terms}
    shown = await preview(client, subscription=made["id"], subscription_details=wanted)
    changed = await ask(client, "post", path_of(made), expand=["latest_invoice"], **wanted)
    assert shown["amount_due"] == changed["latest_invoice"]["amount_paid"] > 0


async def test_preview_without_a_change_is_the_next_renewal(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    shown = await preview(client, subscription=made["id"])
    (line,) = shown["lines"]["data"]
    assert (line["amount"], line["period"]["start"]) == (1900, FEBRUARY)


async def test_preview_of_a_purchase_needs_only_a_customer_and_prices(
    client: stripe.StripeClient, half_way: tuple[str, Json]
) -> None:
    _clock, made = half_way
    details = {"items": [{"price": "price_dear", "quantity": 2}]}
    shown = await preview(client, customer=made["customer"], subscription_details=details)
    assert (shown["amount_due"], shown["billing_reason"]) == (9800, "subscription_create")


@pytest.mark.parametrize("details", [{"cancel_now": True}, {"cancel_at_period_end": True}])
async def test_preview_of_an_end_says_that_nothing_is_upcoming(
    client: stripe.StripeClient, half_way: tuple[str, Json], details: dict[str, Any]
) -> None:
    _clock, made = half_way
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await preview(client, subscription=made["id"], subscription_details=details)
    assert caught.value.code == "invoice_upcoming_none"
