import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.money import buy, charge_of_session, events_about
from tests.ingress.stripe_simulator.sdk import Json, ask, new_payer, open_session


async def read_charge(client: stripe.StripeClient, charge: Json) -> tuple[int, bool]:
    found = await ask(client, "get", f"/v1/charges/{charge['id']}")
    return found["amount_refunded"], found["refunded"]


async def test_partial_refunds_add_up_to_a_refunded_charge(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    charge = await buy(sim, client)
    first = await client.v1.refunds.create_async({"charge": charge["id"], "amount": 200})
    assert (first.status, first.amount, first.payment_intent) == ("succeeded", 200, charge["payment_intent"])
    assert await read_charge(client, charge) == (200, False)
    rest = await client.v1.refunds.create_async({"payment_intent": charge["payment_intent"]})
    assert rest.amount == 300
    assert await read_charge(client, charge) == (500, True)
    assert await events_about(client, "refund", "charge.refund") == ["refund.created", "charge.refunded"] * 2


async def test_charge_refunded_says_what_the_charge_was_before(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    charge = await buy(sim, client)
    await ask(client, "post", "/v1/refunds", charge=charge["id"])
    (event,) = (await ask(client, "get", "/v1/events", type="charge.refunded"))["data"]
    assert event["data"]["previous_attributes"] == {"amount_refunded": 0, "refunded": False}
    assert event["data"]["object"]["amount_refunded"] == 500


async def test_refund_that_fails_gives_back(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    charge = await buy(sim, client)
    kept = await ask(client, "post", "/v1/refunds", charge=charge["id"], amount=100)
    failing = await ask(client, "post", "/v1/refunds", charge=charge["id"])
    assert await read_charge(client, charge) == (500, True)
    await sim.fail_refund(failing["id"], failure_reason="lost_or_stolen_card")
    assert await read_charge(client, charge) == (100, False)
    read = await ask(client, "get", f"/v1/refunds/{failing['id']}")
    assert (read["status"], read["failure_reason"]) == ("failed", "lost_or_stolen_card")
    ending = ["refund.failed", "refund.updated", "charge.refund.updated"]
    assert (await events_about(client, "refund", "charge.refund."))[-3:] == ending
    again = await ask(client, "post", "/v1/refunds", charge=charge["id"])
    assert again["amount"] == 400
    assert kept["status"] == "succeeded"


async def test_refund_of_a_bank_transfer_is_pending_until_the_bank_says_so(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_once")
    await sim.pay_later(session["id"])
    await sim.settle(session["id"])
    charge = await charge_of_session(client, session["id"])
    refund = await ask(client, "post", "/v1/refunds", charge=charge["id"])
    assert (refund["status"], refund["pending_reason"]) == ("pending", "processing")
    assert await read_charge(client, charge) == (500, True)
    done = await sim.move_refund(refund["id"], "succeeded")
    assert (done["status"], "pending_reason" in done) == ("succeeded", False)
    assert (await events_about(client, "refund"))[-1] == "refund.updated"


async def test_test_card_of_stripe_makes_a_pending_refund(client: stripe.StripeClient) -> None:
    paid = await ask(
        client,
        "post",
        "/v1/payment_intents",
        amount=700,
        currency="usd",
        confirm=True,
        payment_method="pm_card_pendingRefund",
    )
    refund = await ask(client, "post", "/v1/refunds", payment_intent=paid["id"])
    assert refund["status"] == "pending"


async def test_refund_that_waits_for_its_customer_can_be_canceled(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    session = await open_session(client, "price_once")
    await sim.pay_later(session["id"])
    await sim.settle(session["id"])
    charge = await charge_of_session(client, session["id"])
    refund = await ask(client, "post", "/v1/refunds", charge=charge["id"])
    path = f"/v1/refunds/{refund['id']}/cancel"
    with pytest.raises(stripe.InvalidRequestError, match="status of pending"):
        await ask(client, "post", path)
    await sim.move_refund(refund["id"], "requires_action")
    assert (await ask(client, "post", path))["status"] == "canceled"
    assert await read_charge(client, charge) == (0, False)


async def test_lists_of_refunds_are_filtered_by_charge_and_payment(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    charges = [await buy(sim, client) for _ in range(2)]
    made = [await ask(client, "post", "/v1/refunds", charge=charge["id"]) for charge in charges]
    for charge, refund in zip(charges, made, strict=True):
        for name, value in (("charge", charge["id"]), ("payment_intent", charge["payment_intent"])):
            listed = await ask(client, "get", "/v1/refunds", **{name: value})
            assert [row["id"] for row in listed["data"]] == [refund["id"]]
    shown = await ask(client, "get", f"/v1/charges/{charges[0]['id']}", expand=["refunds"])
    assert [row["id"] for row in shown["refunds"]["data"]] == [made[0]["id"]]


async def test_subscriptions_payment_is_refunded_by_its_invoice(client: stripe.StripeClient) -> None:
    payer = await new_payer(client)
    made = await ask(
        client, "post", "/v1/subscriptions", customer=payer["id"], items=[{"price": "price_month"}]
    )
    payments = await ask(client, "get", "/v1/invoice_payments", invoice=made["latest_invoice"])
    intent = payments["data"][0]["payment"]["payment_intent"]
    refund = await ask(client, "post", "/v1/refunds", payment_intent=intent)
    by_intent = {"type": "payment_intent", "payment_intent": refund["payment_intent"]}
    found = await ask(client, "get", "/v1/invoice_payments", payment=by_intent)
    assert [row["invoice"] for row in found["data"]] == [made["latest_invoice"]]


async def test_what_cannot_be_refunded_is_refused(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    charge = await buy(sim, client)

    async def refused(**wish: object) -> stripe.InvalidRequestError:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await ask(client, "post", "/v1/refunds", **wish)
        return caught.value

    assert "params should be provided" in str(await refused())
    assert (await refused(charge=charge["id"], amount=501)).param == "amount"
    assert (await refused(charge=charge["id"], amount=0)).param == "amount"
    assert (await refused(charge="ch_unknown")).code == "resource_missing"
    unpaid = await ask(client, "post", "/v1/payment_intents", amount=100, currency="usd")
    assert "successful charge" in str(await refused(payment_intent=unpaid["id"]))
    await ask(client, "post", "/v1/refunds", charge=charge["id"])
    assert (await refused(charge=charge["id"])).code == "charge_already_refunded"


async def test_bank_cannot_do_the_impossible_to_a_refund(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    refund = await ask(client, "post", "/v1/refunds", charge=(await buy(sim, client))["id"])
    with pytest.raises(AssertionError, match="possible: failed"):
        await sim.move_refund(refund["id"], "pending")
    with pytest.raises(AssertionError, match="failure_reason"):
        await sim.fail_refund(refund["id"], failure_reason="bad_mood")
    assert (await ask(client, "get", f"/v1/refunds/{refund['id']}"))["status"] == "succeeded"


async def test_money_goes_back_at_the_time_of_the_customers_test_clock(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    frozen = 1_900_000_000
    clock = await ask(client, "post", "/v1/test_helpers/test_clocks", frozen_time=frozen)
    payer = await new_payer(client, test_clock=clock["id"])
    items = [{"price": "price_month"}]
    made = await ask(client, "post", "/v1/subscriptions", customer=payer["id"], items=items)
    dispute = await sim.dispute(made["id"], status="warning_needs_response")
    refund = await ask(client, "post", "/v1/refunds", charge=dispute["charge"], amount=100)
    assert (dispute["created"], refund["created"]) == (frozen, frozen)
