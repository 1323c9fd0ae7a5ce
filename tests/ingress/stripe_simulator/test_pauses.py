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

MIDDLE, FEBRUARY = NEW_YEAR + 31 * DAY // 2, NEW_YEAR + 31 * DAY
DECLINED = "pm_card_chargeCustomerFail"


async def begin(client: stripe.StripeClient, **params: Any) -> tuple[str, Json]:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month", **params)
    await advance(client, clock, MIDDLE)
    return clock, made


async def pause(client: stripe.StripeClient, made: Json, **params: Any) -> Json:
    return await ask(client, "post", f"/v1/subscriptions/{made['id']}/pause", **params)


async def resume(client: stripe.StripeClient, made: Json, **params: Any) -> Json:
    return await ask(client, "post", f"/v1/subscriptions/{made['id']}/resume", **params)


@pytest.mark.parametrize(
    ("behavior", "becomes"),
    [("keep_as_draft", "draft"), ("mark_uncollectible", "uncollectible"), ("void", "void")],
)
async def test_paused_collection_bills_without_collecting_and_stays_active(
    client: stripe.StripeClient, behavior: str, becomes: str
) -> None:
    clock, made = await begin(client)
    resumes_at = FEBRUARY + DAY
    paused = {"behavior": behavior, "resumes_at": resumes_at}
    await ask(client, "post", f"/v1/subscriptions/{made['id']}", pause_collection=paused)
    await advance(client, clock, FEBRUARY + 2 * HOUR)
    renewed = await read(client, made)
    assert (renewed["status"], renewed["pause_collection"]) == ("active", paused)
    assert (await invoices_of(client, made))[0]["status"] == becomes
    await advance(client, clock, resumes_at)
    assert (await read(client, made))["pause_collection"] is None
    await advance(client, clock, NEW_YEAR + 59 * DAY + HOUR)
    assert [row["status"] for row in await invoices_of(client, made)] == ["paid", becomes, "paid"]


async def test_pause_credits_the_unused_time_and_nothing_is_billed_meanwhile(
    client: stripe.StripeClient,
) -> None:
    clock, made = await begin(client)
    paused = await pause(client, made)
    assert (paused["status"], paused["status_details"]["paused"]["subscription"]["type"]) == (
        "paused",
        "pause_requested",
    )
    assert [name for name, at in await happened(client, "customer.subscription") if at == MIDDLE] == [
        "customer.subscription.updated",
        "customer.subscription.paused",
    ]
    pending = await ask(client, "get", "/v1/invoiceitems", customer=made["customer"], pending=True)
    assert [row["amount"] for row in pending["data"]] == [-950]
    await advance(client, clock, FEBRUARY + 10 * DAY)
    assert len(await invoices_of(client, made)) == 1
    resumed = await resume(client, made)
    assert (resumed["status"], resumed["status_details"]) == ("active", None)
    assert resumed["billing_cycle_anchor"] == FEBRUARY + 10 * DAY
    assert (await invoices_of(client, made))[0]["amount_paid"] == 950
    assert [name for name, _at in await happened(client, "customer.subscription")][-1].endswith("resumed")


async def test_pause_without_credit_and_resumption_of_the_running_period_bill_nothing(
    client: stripe.StripeClient,
) -> None:
    clock, made = await begin(client)
    await pause(client, made, bill_for={"unused_time_from": {"type": "none"}})
    await advance(client, clock, MIDDLE + DAY)
    terms = {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": "none"}
    resumed = await resume(client, made, **terms)
    assert (resumed["status"], resumed["latest_invoice"]) == ("active", made["latest_invoice"])
    await advance(client, clock, FEBRUARY + HOUR)
    assert [row["amount_paid"] for row in await invoices_of(client, made)] == [1900, 1900]


async def test_trial_that_ended_in_a_pause_is_resumed_by_paying(client: stripe.StripeClient) -> None:
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    _clock, made = await begin(client, card=None, trial_period_days=9, trial_settings=settings)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        await resume(client, made)
    await change_card(client, made["customer"], "pm_card_visa")
    assert (await resume(client, made))["status"] == "active"
    assert (await invoices_of(client, made))[0]["amount_paid"] == 1900


async def test_resumption_by_default_falls_behind_when_its_payment_fails(client: stripe.StripeClient) -> None:
    _clock, made = await begin(client)
    await pause(client, made, bill_for={"unused_time_from": {"type": "none"}})
    await change_card(client, made["customer"], DECLINED)
    assert (await resume(client, made))["status"] == "past_due"


async def test_resumption_on_success_waits_for_its_invoice_23_hours(client: stripe.StripeClient) -> None:
    clock, made = await begin(client)
    await pause(client, made, bill_for={"unused_time_from": {"type": "none"}})
    await change_card(client, made["customer"], DECLINED)
    waiting = await resume(client, made, payment_behavior="resume_on_payment_success")
    assert waiting["status"] == "paused"
    await advance(client, clock, MIDDLE + 23 * HOUR)
    assert (await read(client, made))["status"] == "paused"
    assert (await invoices_of(client, made))[0]["status"] == "void"
    again = await resume(client, made, payment_behavior="resume_on_payment_success")
    await change_card(client, made["customer"], "pm_card_visa")
    await ask(client, "post", f"/v1/invoices/{again['latest_invoice']}/pay")
    assert (await read(client, made))["status"] == "active"


async def test_only_what_runs_is_paused_and_only_what_is_paused_resumed(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    _clock, made = await begin(client)
    with pytest.raises(stripe.InvalidRequestError, match="not paused"):
        await resume(client, made)
    await ask(client, "delete", f"/v1/subscriptions/{made['id']}")
    with pytest.raises(stripe.InvalidRequestError, match="cannot pause"):
        await pause(client, made)


async def test_scheduled_end_comes_at_its_moment_and_wins_over_the_renewal(
    client: stripe.StripeClient,
) -> None:
    clock, made = await begin(client)
    await ask(client, "post", f"/v1/subscriptions/{made['id']}", cancel_at_period_end=True)
    await advance(client, clock, FEBRUARY)
    ended = await read(client, made)
    assert (ended["status"], ended["canceled_at"], ended["ended_at"]) == ("canceled", MIDDLE, FEBRUARY)
    assert len(await invoices_of(client, made)) == 1


async def test_end_at_a_moment_comes_in_the_middle_of_a_period(client: stripe.StripeClient) -> None:
    clock, made = await begin(client)
    moment = FEBRUARY + 5 * DAY
    changed = await ask(client, "post", f"/v1/subscriptions/{made['id']}", cancel_at=moment)
    assert changed["cancel_at_period_end"] is False
    await advance(client, clock, FEBRUARY + 10 * DAY)
    assert (await read(client, made))["ended_at"] == moment
    assert ("customer.subscription.deleted", moment) in await happened(client, "customer.subscription")
    assert [row["status"] for row in await invoices_of(client, made)] == ["paid", "paid"]


async def test_end_at_the_end_of_the_period_moves_with_the_period(client: stripe.StripeClient) -> None:
    clock, made = await begin(client)
    path, item = f"/v1/subscriptions/{made['id']}", made["items"]["data"][0]["id"]
    await ask(client, "post", path, cancel_at_period_end=True)
    yearly = await ask(client, "post", path, items=[{"id": item, "price": "price_year"}])
    assert yearly["cancel_at"] == yearly["items"]["data"][0]["current_period_end"] == MIDDLE + 365 * DAY
    await advance(client, clock, FEBRUARY + DAY)
    assert (await read(client, made))["status"] == "active"


async def test_end_that_is_taken_back_does_not_come(client: stripe.StripeClient) -> None:
    clock, made = await begin(client)
    path = f"/v1/subscriptions/{made['id']}"
    await ask(client, "post", path, cancel_at_period_end=True)
    await ask(client, "post", path, cancel_at_period_end=False)
    await advance(client, clock, FEBRUARY + HOUR)
    assert (await read(client, made))["status"] == "active"
    assert len(await invoices_of(client, made)) == 2
