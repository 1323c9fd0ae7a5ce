import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.money import buy, events_about
from tests.ingress.stripe_simulator.sdk import Json, ask, open_session, subscribe


async def funds_of(client: stripe.StripeClient, dispute: Json) -> list[int]:
    read = await ask(client, "get", f"/v1/disputes/{dispute['id']}")
    return [entry["amount"] for entry in read["balance_transactions"]]


@pytest.mark.parametrize(
    ("path", "expected", "funds"),
    [
        (["needs_response"], ["created", "funds_withdrawn"], [-500]),
        (
            ["needs_response", "under_review", "won"],
            ["created", "funds_withdrawn", "updated", "closed", "funds_reinstated"],
            [-500, 500],
        ),
        (["needs_response", "lost"], ["created", "funds_withdrawn", "closed"], [-500]),
        (["needs_response", "prevented"], ["created", "funds_withdrawn", "closed"], [-500]),
        (["prevented"], ["created", "funds_withdrawn", "closed"], [-500]),
        (
            ["warning_needs_response", "warning_under_review", "warning_closed"],
            ["created", "updated", "closed"],
            [],
        ),
        (
            ["warning_needs_response", "needs_response", "lost"],
            ["created", "updated", "funds_withdrawn", "closed"],
            [-500],
        ),
        (
            ["needs_response", "lost", "appeal_needs_response", "appeal_under_review", "won"],
            ["created", "funds_withdrawn", "closed", "updated", "updated", "closed", "funds_reinstated"],
            [-500, 500],
        ),
        (
            ["needs_response", "won", "lost"],
            ["created", "funds_withdrawn", "closed", "funds_reinstated", "closed", "funds_withdrawn"],
            [-500, 500, -500],
        ),
    ],
)
async def test_dispute_tells_each_step_and_moves_the_money(
    sim: SimulatorHandle,
    client: stripe.StripeClient,
    path: list[str],
    expected: list[str],
    funds: list[int],
) -> None:
    charge = await buy(sim, client)
    dispute = await sim.dispute(charge["id"], status=path[0])
    for status in path[1:]:
        await sim.move_dispute(dispute["id"], status)
    assert await events_about(client, "charge.dispute") == [f"charge.dispute.{name}" for name in expected]
    read = await client.v1.disputes.retrieve_async(dispute["id"])
    assert (read.status, read.charge, read.payment_intent) == (
        path[-1],
        charge["id"],
        charge["payment_intent"],
    )
    assert await funds_of(client, dispute) == funds
    assert (await ask(client, "get", f"/v1/charges/{charge['id']}"))["disputed"] is True


async def test_any_part_of_a_purchase_names_its_charge(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    session = await open_session(client, "price_month")
    await sim.pay(session["id"])
    once = await open_session(client, "price_once")
    await sim.pay(once["id"])
    charge = await buy(sim, client)
    names = [made["id"], session["id"], once["id"], charge["payment_intent"]]
    charges = {(await sim.dispute(name, status="warning_needs_response"))["charge"] for name in names}
    assert len(charges) == 4
    other = await subscribe(client, "price_year")
    disputed = await sim.dispute(other["latest_invoice"])
    by_intent = {"type": "payment_intent", "payment_intent": disputed["payment_intent"]}
    found = await ask(client, "get", "/v1/invoice_payments", payment=by_intent)
    assert [row["invoice"] for row in found["data"]] == [other["latest_invoice"]]
    with pytest.raises(AssertionError, match="names no payment"):
        await sim.dispute("price_once")


async def test_lists_of_disputes_are_filtered_by_charge_and_payment(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    charges = [await buy(sim, client) for _ in range(2)]
    made = [await sim.dispute(charge["id"]) for charge in charges]
    for charge, dispute in zip(charges, made, strict=True):
        for name, value in (("charge", charge["id"]), ("payment_intent", charge["payment_intent"])):
            listed = await ask(client, "get", "/v1/disputes", **{name: value})
            assert [row["id"] for row in listed["data"]] == [dispute["id"]]
    deep = await ask(client, "get", f"/v1/disputes/{made[0]['id']}", expand=["charge.payment_intent"])
    assert deep["charge"]["payment_intent"]["id"] == charges[0]["payment_intent"]


async def test_merchant_who_closes_a_dispute_has_lost_it(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    dispute = await sim.dispute((await buy(sim, client))["id"])
    assert (await client.v1.disputes.close_async(dispute["id"])).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        await client.v1.disputes.close_async(dispute["id"])


@pytest.mark.parametrize(
    ("text", "status"),
    [("winning_evidence", "won"), ("losing_evidence", "lost"), ("a receipt", "under_review")],
)
async def test_evidence_is_submitted_and_decided(
    sim: SimulatorHandle, client: stripe.StripeClient, text: str, status: str
) -> None:
    dispute = await sim.dispute((await buy(sim, client))["id"])
    path = f"/v1/disputes/{dispute['id']}"
    draft = await ask(client, "post", path, evidence={"uncategorized_text": "draft"}, submit=False)
    assert (draft["status"], draft["evidence_details"]["submission_count"]) == ("needs_response", 0)
    sent = await ask(client, "post", path, evidence={"uncategorized_text": text})
    assert (sent["status"], sent["evidence_details"]["submission_count"]) == (status, 1)
    with pytest.raises(stripe.InvalidRequestError, match="can no longer be changed"):
        await ask(client, "post", path, evidence={"uncategorized_text": "more"})


@pytest.mark.parametrize(
    ("card", "status", "reason"),
    [
        ("pm_card_createDispute", "needs_response", "fraudulent"),
        ("pm_card_createDisputeProductNotReceived", "needs_response", "product_not_received"),
        ("pm_card_createDisputeInquiry", "warning_needs_response", "fraudulent"),
    ],
)
async def test_test_cards_of_stripe_dispute_their_own_charge(
    client: stripe.StripeClient, card: str, status: str, reason: str
) -> None:
    wish = {"amount": 700, "currency": "usd", "confirm": True, "payment_method": card}
    paid = await ask(client, "post", "/v1/payment_intents", **wish)
    (dispute,) = (await ask(client, "get", "/v1/disputes", payment_intent=paid["id"]))["data"]
    assert (dispute["status"], dispute["reason"]) == (status, reason)


async def test_charge_taken_back_cannot_be_refunded_but_one_asked_about_can(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    taken, asked = await buy(sim, client), await buy(sim, client)
    await sim.dispute(taken["id"])
    await sim.dispute(asked["id"], status="warning_needs_response")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "post", "/v1/refunds", charge=taken["id"])
    assert caught.value.code == "charge_disputed"
    assert (await ask(client, "post", "/v1/refunds", charge=asked["id"]))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"status": "won"}, "cannot begin"),
        ({"reason": "bad_mood"}, "reason"),
        ({"amount": 501}, "amount"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_bank_cannot_open_what_no_bank_opens(
    sim: SimulatorHandle, client: stripe.StripeClient, wish: Json, said: str
) -> None:
    charge = await buy(sim, client)
    with pytest.raises(AssertionError, match=said):
        await sim.dispute(charge["id"], **wish)
    assert (await ask(client, "get", f"/v1/charges/{charge['id']}"))["disputed"] is False


async def test_dispute_moves_only_where_it_can(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    charge = await buy(sim, client)
    dispute = await sim.dispute(charge["id"])
    with pytest.raises(AssertionError, match="possible: lost, prevented, under_review, won"):
        await sim.move_dispute(dispute["id"], "warning_closed")
    with pytest.raises(AssertionError, match="disputed already"):
        await sim.dispute(charge["id"])
