from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import (
    DAY,
    HOUR,
    NEW_YEAR,
    advance,
    customer_on,
    happened,
    new_clock,
    subscribe_on,
)
from tests.ingress.stripe_simulator.sdk import Json, ask, event_types, new_payer, subscribe

SENT: dict[str, Any] = {"collection_method": "send_invoice", "days_until_due": 30}


async def draft(client: stripe.StripeClient, customer: str, **params: Any) -> Json:
    """A one-off draft of two price_once."""
    invoice = await ask(client, "post", "/v1/invoices", customer=customer, **params)
    item = {"customer": customer, "invoice": invoice["id"], "quantity": 2}
    await ask(client, "post", "/v1/invoiceitems", pricing={"price": "price_once"}, **item)
    return await ask(client, "get", f"/v1/invoices/{invoice['id']}")


async def act(client: stripe.StripeClient, invoice: Json, verb: str, **params: Any) -> Json:
    return await ask(client, "post", f"/v1/invoices/{invoice['id']}/{verb}", **params)


async def test_one_off_invoice_goes_from_draft_to_paid(client: stripe.StripeClient) -> None:
    customer = (await new_payer(client))["id"]
    made = await draft(client, customer)
    assert (made["status"], made["billing_reason"], made["parent"]) == ("draft", "manual", None)
    (line,) = made["lines"]["data"]
    assert (line["amount"], line["quantity"], line["subscription"]) == (1000, 2, None)
    assert line["pricing"]["price_details"] == {"price": "price_once", "product": "acme_pass"}
    opened = await act(client, made, "finalize")
    assert (opened["status"], opened["amount_remaining"]) == ("open", 1000)
    paid = await act(client, opened, "pay")
    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 1000, 0)
    (payment,) = (await ask(client, "get", "/v1/invoice_payments", invoice=made["id"]))["data"]
    assert (payment["status"], payment["amount_paid"]) == ("paid", 1000)
    assert [name for name in await event_types(client) if name.startswith(("invoice.", "invoice_"))] == [
        "invoice.created",
        "invoice.finalized",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


async def test_business_pays_a_sent_invoice_by_a_bank_transfer_outside(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await draft(client, await customer_on(client, clock, None), **SENT)
    sent = await act(client, made, "send")
    assert (sent["status"], sent["due_date"]) == ("open", NEW_YEAR + 30 * DAY)
    assert "invoice.sent" in await event_types(client)
    with pytest.raises(stripe.InvalidRequestError, match="default_payment_method"):
        await act(client, made, "pay")
    paid = await act(client, made, "pay", paid_out_of_band=True)
    assert (paid["status"], paid["amount_paid_off_stripe"]) == ("paid", 1000)
    (payment,) = (await ask(client, "get", "/v1/invoice_payments", invoice=made["id"]))["data"]
    assert payment["status"] == "canceled"


async def test_sent_invoice_that_nobody_pays_is_overdue(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await draft(client, await customer_on(client, clock, None), **SENT)
    await act(client, made, "send")
    await advance(client, clock, NEW_YEAR + 40 * DAY)
    assert ("invoice.overdue", NEW_YEAR + 30 * DAY) in await happened(client, "invoice")


@pytest.mark.parametrize(
    ("verb", "status", "moment"),
    [("void", "void", "voided_at"), ("mark_uncollectible", "uncollectible", "marked_uncollectible_at")],
)
async def test_open_invoice_is_given_up(
    client: stripe.StripeClient, verb: str, status: str, moment: str
) -> None:
    made = await act(client, await draft(client, (await new_payer(client))["id"]), "finalize")
    closed = await act(client, made, verb)
    assert closed["status"] == status
    assert closed["status_transitions"][moment] is not None
    event = "invoice.voided" if verb == "void" else "invoice.marked_uncollectible"
    assert event in await event_types(client)
    if verb == "void":
        with pytest.raises(stripe.InvalidRequestError, match="cannot be paid"):
            await act(client, made, "pay")
    else:
        assert (await act(client, made, "pay"))["status"] == "paid"


async def test_draft_that_advances_is_finalized_and_charged_by_itself(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await draft(client, await customer_on(client, clock), auto_advance=True)
    assert made["automatically_finalizes_at"] == NEW_YEAR + HOUR
    await advance(client, clock, NEW_YEAR + HOUR)
    assert (await ask(client, "get", f"/v1/invoices/{made['id']}"))["status"] == "paid"


async def test_draft_that_does_not_advance_stays_until_it_is_told_to(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = await draft(client, await customer_on(client, clock))
    await advance(client, clock, NEW_YEAR + 40 * DAY)
    path = f"/v1/invoices/{made['id']}"
    assert (await ask(client, "get", path))["status"] == "draft"
    changed = await ask(client, "post", path, auto_advance=True)
    assert changed["automatically_finalizes_at"] == NEW_YEAR + 40 * DAY
    assert "invoice.updated" in await event_types(client)


async def test_pending_items_wait_for_an_invoice_that_includes_them(client: stripe.StripeClient) -> None:
    customer = (await new_payer(client))["id"]
    item = await ask(client, "post", "/v1/invoiceitems", customer=customer, amount=700, currency="usd")
    assert (await ask(client, "post", "/v1/invoices", customer=customer))["total"] == 0
    include = {"pending_invoice_items_behavior": "include"}
    made = await ask(client, "post", "/v1/invoices", customer=customer, **include)
    assert made["total"] == 700
    assert (await ask(client, "get", f"/v1/invoiceitems/{item['id']}"))["invoice"] == made["id"]


async def test_items_of_a_draft_can_be_changed_and_removed(client: stripe.StripeClient) -> None:
    customer = (await new_payer(client))["id"]
    made = await ask(client, "post", "/v1/invoices", customer=customer)
    wanted = {"customer": customer, "invoice": made["id"], "currency": "usd"}
    first = await ask(client, "post", "/v1/invoiceitems", amount=300, **wanted)
    second = await ask(client, "post", "/v1/invoiceitems", amount=50, **wanted)
    await ask(client, "post", f"/v1/invoiceitems/{first['id']}", amount=400, description="More")
    await ask(client, "delete", f"/v1/invoiceitems/{second['id']}")
    opened = await act(client, made, "finalize")
    assert (opened["total"], [line["description"] for line in opened["lines"]["data"]]) == (400, ["More"])
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "delete", f"/v1/invoiceitems/{first['id']}")
    assert caught.value.code == "invoice_not_editable"


async def test_draft_can_be_deleted_and_its_items_wait_again(client: stripe.StripeClient) -> None:
    customer = (await new_payer(client))["id"]
    made = await draft(client, customer)
    await ask(client, "delete", f"/v1/invoices/{made['id']}")
    pending = await ask(client, "get", "/v1/invoiceitems", customer=customer, pending=True)
    assert [row["amount"] for row in pending["data"]] == [1000]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "get", f"/v1/invoices/{made['id']}")
    assert caught.value.http_status == 404


async def test_subscriptions_invoices_are_voided_and_not_deleted(client: stripe.StripeClient) -> None:
    made = await subscribe(client, "price_month")
    with pytest.raises(stripe.InvalidRequestError, match="void any other"):
        await ask(client, "delete", f"/v1/invoices/{made['latest_invoice']}")


async def test_recurring_price_is_no_invoice_item(client: stripe.StripeClient) -> None:
    customer = (await new_payer(client))["id"]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "post", "/v1/invoiceitems", customer=customer, pricing={"price": "price_month"})
    assert caught.value.param == "pricing[price]"


async def test_payment_that_asks_for_the_customer_is_an_error_until_they_answer(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    customer = (await new_payer(client))["id"]
    made = await draft(client, customer)
    with pytest.raises(stripe.CardError) as caught:
        await act(client, made, "pay", payment_method="pm_card_authenticationRequired")
    assert caught.value.code == "invoice_payment_intent_requires_action"
    (payment,) = (await ask(client, "get", "/v1/invoice_payments", invoice=made["id"]))["data"]
    intent = payment["payment"]["payment_intent"]
    await sim.settle_intent(intent)
    assert (await ask(client, "get", f"/v1/invoices/{made['id']}"))["status"] == "paid"
    with pytest.raises(AssertionError, match="waits neither"):
        await sim.settle_intent(intent)


async def test_invoice_of_a_clocked_subscription_pages_its_lines(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    month = {"currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"}}
    names = [f"price_{number:02d}" for number in range(12)]
    await sim.seed(prices=[{"id": name, "product": "acme_pro", **month} for name in names])
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, *names)
    await advance(client, clock, NEW_YEAR + 31 * DAY + HOUR)
    (renewal, _first) = (await ask(client, "get", "/v1/invoices", subscription=made["id"]))["data"]
    assert (len(renewal["lines"]["data"]), renewal["lines"]["has_more"], renewal["total"]) == (10, True, 1200)
    lines = await ask(client, "get", f"/v1/invoices/{renewal['id']}/lines", limit=100)
    assert [line["pricing"]["price_details"]["price"] for line in lines["data"]] == names
