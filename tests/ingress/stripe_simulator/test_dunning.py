from http import HTTPStatus
from typing import Any

import aiohttp
import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import (
    DAY,
    HOUR,
    NEW_YEAR,
    advance,
    change_card,
    customer_on,
    happened,
    invoices_of,
    new_clock,
    read,
    subscribe_on,
)
from tests.ingress.stripe_simulator.sdk import Json, ask, open_session

FEBRUARY = NEW_YEAR + 31 * DAY
FIRST_ATTEMPT = FEBRUARY + HOUR
DECLINED, ASKING = "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"


async def fail_renewal(client: stripe.StripeClient, card: str = DECLINED) -> tuple[str, Json]:
    """A clock right after the first failed attempt of a renewal, and its subscription."""
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month")
    await change_card(client, made["customer"], card)
    await advance(client, clock, FIRST_ATTEMPT)
    return clock, made


async def newest(client: stripe.StripeClient, subscription: Json) -> Json:
    return (await invoices_of(client, subscription))[0]


async def test_failed_renewal_is_past_due_and_is_tried_again(client: stripe.StripeClient) -> None:
    _clock, made = await fail_renewal(client)
    invoice = await newest(client, made)
    assert (invoice["status"], invoice["attempt_count"]) == ("open", 1)
    assert invoice["next_payment_attempt"] == FIRST_ATTEMPT + 3 * DAY
    assert (await read(client, made))["status"] == "past_due"
    assert [
        name for name, at in await happened(client, "invoice", "customer.sub") if at == FIRST_ATTEMPT
    ] == [
        "invoice.finalized",
        "invoice.payment_failed",
        "customer.subscription.updated",
    ]


async def test_control_plane_changes_the_card_of_a_customer_and_all_its_subscriptions(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    clock = await new_clock(client)
    customer = await customer_on(client, clock)
    session = await open_session(client, "price_month", customer=customer)
    await sim.pay(session["id"])
    bought = (await ask(client, "get", "/v1/subscriptions", customer=customer))["data"][0]
    assert bought["default_payment_method"] is not None
    method = await sim.change_card(customer, DECLINED)
    assert (await read(client, bought))["default_payment_method"] == method["id"]
    await advance(client, clock, FIRST_ATTEMPT)
    assert (await read(client, bought))["status"] == "past_due"


async def test_card_changed_before_a_retry_makes_it_active_again(client: stripe.StripeClient) -> None:
    clock, made = await fail_renewal(client)
    await change_card(client, made["customer"], "pm_card_visa")
    await advance(client, clock, FIRST_ATTEMPT + 3 * DAY)
    invoice = await newest(client, made)
    assert (invoice["status"], invoice["attempt_count"]) == ("paid", 2)
    assert (await read(client, made))["status"] == "active"


@pytest.mark.parametrize(
    ("action", "status"), [("cancel", "canceled"), ("unpaid", "unpaid"), ("past_due", "past_due")]
)
async def test_used_up_retries_end_as_the_account_says(
    sim: SimulatorHandle, client: stripe.StripeClient, action: str, status: str
) -> None:
    await sim.billing(after_final_failure=action)
    clock, made = await fail_renewal(client)
    await advance(client, clock, FIRST_ATTEMPT + 15 * DAY - 1)
    assert (await read(client, made))["status"] == "past_due"
    await advance(client, clock, FIRST_ATTEMPT + 15 * DAY)
    ended = await read(client, made)
    assert ended["status"] == status
    assert ended["cancellation_details"]["reason"] == ("payment_failed" if action == "cancel" else None)
    failed = [at for _name, at in await happened(client, "invoice.payment_failed")]
    assert failed == [FIRST_ATTEMPT + days * DAY for days in (0, 3, 8, 15)]
    invoice = await newest(client, made)
    assert (invoice["status"], invoice["next_payment_attempt"]) == ("open", None)


async def test_unpaid_subscription_goes_on_in_drafts_until_the_newest_invoice_is_paid(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.billing(after_final_failure="unpaid", retry_days=[1])
    clock, made = await fail_renewal(client)
    await sim.advance(clock, NEW_YEAR + 90 * DAY + 2 * HOUR)
    draft = await newest(client, made)
    assert (draft["status"], draft["auto_advance"]) == ("draft", False)
    assert (await read(client, made))["status"] == "unpaid"
    card = await change_card(client, made["customer"], "pm_card_visa")
    await ask(client, "post", f"/v1/invoices/{draft['id']}/finalize")
    assert (await read(client, made))["status"] == "unpaid"
    await ask(client, "post", f"/v1/invoices/{draft['id']}/pay", payment_method=card)
    assert (await read(client, made))["status"] == "active"


async def test_past_due_for_ever_is_billed_on_and_only_the_newest_invoice_counts(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.billing(after_final_failure="past_due", retry_days=[])
    clock, made = await fail_renewal(client)
    await advance(client, clock, NEW_YEAR + 59 * DAY + HOUR)
    (newer, older, _first) = await invoices_of(client, made)
    assert [newer["status"], older["status"]] == ["open", "open"]
    await change_card(client, made["customer"], "pm_card_visa")
    await ask(client, "post", f"/v1/invoices/{older['id']}/pay")
    assert (await read(client, made))["status"] == "past_due"
    await ask(client, "post", f"/v1/invoices/{newer['id']}/pay")
    assert (await read(client, made))["status"] == "active"


@pytest.mark.parametrize(
    ("when", "cause"), [("after_first_failure", "first_payment_failure"), ("after_final_failure", None)]
)
async def test_failure_can_pause_instead_and_payment_resumes(
    sim: SimulatorHandle, client: stripe.StripeClient, when: str, cause: str | None
) -> None:
    await sim.billing(retry_days=[], **{when: "pause"})
    _clock, made = await fail_renewal(client)
    paused = await read(client, made)
    assert paused["status"] == "paused"
    assert paused["status_details"]["paused"] == {
        "subscription": {"type": cause or "final_payment_failure"},
        "transitioned_at": FIRST_ATTEMPT,
        "type": "subscription",
    }
    await change_card(client, made["customer"], "pm_card_visa")
    await ask(client, "post", f"/v1/invoices/{paused['latest_invoice']}/pay")
    active = await read(client, made)
    assert (active["status"], active["status_details"]) == ("active", None)
    assert [name for name, _at in await happened(client, "customer.subscription")][-1].endswith("resumed")


@pytest.mark.parametrize(("verb", "status"), [("void", "active"), ("mark_uncollectible", "active")])
async def test_given_up_newest_invoice_no_longer_holds_a_subscription_back(
    client: stripe.StripeClient, verb: str, status: str
) -> None:
    _clock, made = await fail_renewal(client)
    await ask(client, "post", f"/v1/invoices/{(await newest(client, made))['id']}/{verb}")
    assert (await read(client, made))["status"] == status


async def test_failed_pay_call_is_an_error_and_leaves_the_schedule(client: stripe.StripeClient) -> None:
    _clock, made = await fail_renewal(client)
    before = await newest(client, made)
    with pytest.raises(stripe.CardError, match="declined"):
        await ask(client, "post", f"/v1/invoices/{before['id']}/pay")
    after = await newest(client, made)
    assert after["attempt_count"] == before["attempt_count"] + 1
    assert after["next_payment_attempt"] == before["next_payment_attempt"]


async def test_bank_that_asks_the_customer_is_heard_and_then_paid(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    _clock, made = await fail_renewal(client, ASKING)
    invoice = await newest(client, made)
    assert ("invoice.payment_action_required", FIRST_ATTEMPT) in await happened(client, "invoice")
    (payment,) = (await ask(client, "get", "/v1/invoice_payments", invoice=invoice["id"]))["data"]
    assert payment["status"] == "open"
    await sim.settle_intent(payment["payment"]["payment_intent"])
    assert (await newest(client, made))["status"] == "paid"
    assert (await read(client, made))["status"] == "active"


async def test_customer_settles_an_open_invoice_on_its_page(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    _clock, made = await fail_renewal(client, ASKING)
    page = (await newest(client, made))["hosted_invoice_url"]
    async with aiohttp.ClientSession() as browser:
        shown = await (await browser.get(page)).text()
        assert "19.00 USD" in shown
        assert "Authenticate" in shown
        declined = await (await browser.post(f"{page}/decline")).text()
        assert "Due:" in declined
        assert (await read(client, made))["status"] == "past_due"
        paid = await (await browser.post(f"{page}/pay")).text()
        assert "This invoice is paid." in paid
        again = await (await browser.post(f"{page}/pay")).text()
        assert "This invoice is paid." in again
        assert (await browser.get(f"{page}x")).status == HTTPStatus.NOT_FOUND
    assert (await read(client, made))["status"] == "active"


async def test_first_payment_that_fails_leaves_it_incomplete_for_23_hours(
    client: stripe.StripeClient,
) -> None:
    clock = await new_clock(client)
    made = await subscribe_on(client, clock, "price_month", card=DECLINED)
    assert made["status"] == "incomplete"
    await advance(client, clock, NEW_YEAR + 23 * HOUR - 1)
    assert (await read(client, made))["status"] == "incomplete"
    await advance(client, clock, NEW_YEAR + 23 * HOUR)
    ended = await read(client, made)
    assert (ended["status"], ended["ended_at"]) == ("incomplete_expired", NEW_YEAR + 23 * HOUR)
    assert (await newest(client, made))["status"] == "void"
    assert ("payment_intent.canceled", NEW_YEAR + 23 * HOUR) in await happened(client, "payment_intent")


async def test_incomplete_subscription_cannot_be_changed_but_gets_another_card(
    client: stripe.StripeClient,
) -> None:
    made = await subscribe_on(client, await new_clock(client), "price_month", card=DECLINED)
    path = f"/v1/subscriptions/{made['id']}"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "post", path, cancel_at_period_end=True)
    assert caught.value.param == "cancel_at_period_end"
    card = await change_card(client, made["customer"], "pm_card_visa")
    assert (await ask(client, "post", path, default_payment_method=card))["default_payment_method"] == card


@pytest.mark.parametrize(("verb", "status"), [("pay", "active"), ("void", "incomplete_expired")])
async def test_first_invoice_decides_what_becomes_of_an_incomplete_subscription(
    client: stripe.StripeClient, verb: str, status: str
) -> None:
    made = await subscribe_on(client, await new_clock(client), "price_month", card=DECLINED)
    await change_card(client, made["customer"], "pm_card_visa")
    await ask(client, "post", f"/v1/invoices/{made['latest_invoice']}/{verb}")
    assert (await read(client, made))["status"] == status


async def test_error_if_incomplete_makes_nothing_when_the_card_is_declined(
    client: stripe.StripeClient,
) -> None:
    clock = await new_clock(client)
    with pytest.raises(stripe.CardError):
        await subscribe_on(
            client, clock, "price_month", card=DECLINED, payment_behavior="error_if_incomplete"
        )
    assert (await ask(client, "get", "/v1/subscriptions", test_clock=clock, status="all"))["data"] == []


async def test_default_incomplete_waits_for_the_customer_to_confirm(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    waits: dict[str, Any] = {"card": None, "payment_behavior": "default_incomplete"}
    made = await subscribe_on(client, clock, "price_month", **waits)
    assert made["status"] == "incomplete"
    (payment,) = (await ask(client, "get", "/v1/invoice_payments", invoice=made["latest_invoice"]))["data"]
    path = f"/v1/payment_intents/{payment['payment']['payment_intent']}"
    secret = {"expand": ["latest_invoice.confirmation_secret", "test_clock"]}
    shown = await ask(client, "get", f"/v1/subscriptions/{made['id']}", **secret)
    intent = payment["payment"]["payment_intent"]
    assert shown["latest_invoice"]["confirmation_secret"]["client_secret"].startswith(f"{intent}_secret_")
    assert shown["test_clock"]["frozen_time"] == NEW_YEAR
    assert (await ask(client, "get", path))["status"] == "requires_payment_method"
    await ask(client, "post", f"{path}/confirm", payment_method="pm_card_visa")
    assert (await read(client, made))["status"] == "active"
    assert (await newest(client, made))["status"] == "paid"


async def test_dunning_stops_when_the_subscription_is_canceled(client: stripe.StripeClient) -> None:
    clock, made = await fail_renewal(client)
    await ask(client, "delete", f"/v1/subscriptions/{made['id']}")
    await advance(client, clock, FIRST_ATTEMPT + 20 * DAY)
    invoice = await newest(client, made)
    assert (invoice["status"], invoice["attempt_count"], invoice["auto_advance"]) == ("open", 1, False)


async def test_sent_invoice_is_overdue_then_past_due_then_given_up(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    terms = {"collection_method": "send_invoice", "days_until_due": 14}
    made = await subscribe_on(client, clock, "price_month", card=None, **terms)
    assert made["status"] == "active"
    await advance(client, clock, NEW_YEAR + HOUR)
    invoice = await newest(client, made)
    assert (invoice["status"], invoice["due_date"]) == ("open", NEW_YEAR + 14 * DAY)
    assert ("invoice.sent", NEW_YEAR + HOUR) in await happened(client, "invoice")
    await advance(client, clock, NEW_YEAR + 14 * DAY)
    assert ("invoice.overdue", NEW_YEAR + 14 * DAY) in await happened(client, "invoice")
    assert (await read(client, made))["status"] == "past_due"
    await advance(client, clock, NEW_YEAR + 44 * DAY)
    assert (await read(client, made))["status"] == "canceled"


async def test_sent_invoice_paid_out_of_band_makes_the_subscription_active(
    client: stripe.StripeClient,
) -> None:
    clock = await new_clock(client)
    terms = {"collection_method": "send_invoice", "days_until_due": 14}
    made = await subscribe_on(client, clock, "price_month", card=None, **terms)
    await advance(client, clock, NEW_YEAR + 15 * DAY)
    await ask(client, "post", f"/v1/invoices/{made['latest_invoice']}/pay", paid_out_of_band=True)
    paid = await newest(client, made)
    assert (paid["status"], paid["amount_paid"], paid["amount_paid_off_stripe"]) == ("paid", 1900, 1900)
    assert (await read(client, made))["status"] == "active"
