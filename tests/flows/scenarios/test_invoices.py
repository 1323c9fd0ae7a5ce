"""Business customers: invoices that are sent, paid by card or outside of Stripe, or not at all."""

from typing import Any

from tests.flows.scenarios.finale import Person
from tests.flows.scenarios.stage import DAY, GOOD_CARD, HOUR, NEW_YEAR, SECOND, Stage, no, yes

PASS, FOUNDER, PRO = "price_acme.pass.once", "price_acme.founder.once", "price_acme.pro.month"
TERMS: dict[str, Any] = {"collection_method": "send_invoice", "days_until_due": 14}
DUE = NEW_YEAR + 14 * DAY
ACTIVE = yes("subscription_active")


async def send(stage: Stage, user: Person, *prices: str) -> str:
    """An invoice by itself, finalized and sent."""
    made = await stage.post("/v1/invoices", customer=user.customer, auto_advance=False, **TERMS)
    for price in prices:
        await stage.post(
            "/v1/invoiceitems", customer=user.customer, invoice=made["id"], pricing={"price": price}
        )
    await stage.post(f"/v1/invoices/{made['id']}/send")
    return str(made["id"])


async def test_sent_invoice_is_a_purchase_once_it_is_paid(stage: Stage) -> None:
    user = await stage.person()
    invoice = await send(stage, user, FOUNDER)
    await stage.expects(user, export=no("no_subscription"))
    await stage.advance(NEW_YEAR + 9 * DAY)
    await stage.stripe.change_card(user.customer, GOOD_CARD)
    await stage.post(f"/v1/invoices/{invoice}/pay")
    await stage.expects(user, export=yes("purchase"), seats=yes("purchase", 3))
    await stage.settle()


async def test_invoice_paid_outside_of_stripe_counts_from_then(stage: Stage) -> None:
    user = await stage.person()
    invoice = await send(stage, user, PASS)
    await stage.advance(NEW_YEAR + 20 * DAY)
    await stage.expects(user, export=no("no_subscription"))
    await stage.post(f"/v1/invoices/{invoice}/pay", paid_out_of_band=True)
    until = NEW_YEAR + 50 * DAY
    await stage.expects(user, export=yes("purchase", until=until))
    await stage.advance(until)
    await stage.expects(user, export=no("purchase_expired"))
    await stage.settle()


async def test_void_and_given_up_invoices_are_no_purchases(stage: Stage) -> None:
    user = await stage.person()
    await stage.post(f"/v1/invoices/{await send(stage, user, PASS)}/void")
    await stage.post(f"/v1/invoices/{await send(stage, user, FOUNDER)}/mark_uncollectible")
    await stage.expects(user, export=no("no_subscription"), seats=yes("catalog_default", 1))
    await stage.settle()


async def test_refunded_invoice_is_refunded(stage: Stage) -> None:
    user = await stage.person()
    invoice = await send(stage, user, PASS)
    await stage.stripe.change_card(user.customer, GOOD_CARD)
    await stage.post(f"/v1/invoices/{invoice}/pay")
    (charge,) = (await stage.read(f"/v1/charges?customer={user.customer}"))["data"]
    await stage.expects(user, export=yes("purchase", until=NEW_YEAR + 30 * DAY))
    await stage.post("/v1/refunds", charge=charge["id"])
    await stage.expects(user, export=no("refunded"))
    await stage.settle()


async def subscribe_by_invoice(stage: Stage) -> tuple[Person, str]:
    user = await stage.person()
    made = await stage.post(
        "/v1/subscriptions", customer=user.customer, items=[{"price": PRO, "quantity": 20}], **TERMS
    )
    await stage.advance(NEW_YEAR + HOUR)
    await stage.expects(user, export=ACTIVE, seats=yes("subscription_active", 20))
    return user, str(made["latest_invoice"])


async def test_subscription_by_invoice_paid_outside_of_stripe_goes_on(stage: Stage) -> None:
    user, invoice = await subscribe_by_invoice(stage)
    await stage.advance(NEW_YEAR + 10 * DAY)
    await stage.post(f"/v1/invoices/{invoice}/pay", paid_out_of_band=True)
    await stage.advance(DUE + DAY)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()


async def test_renewal_invoice_not_paid_in_time_has_grace_from_its_due_date(stage: Stage) -> None:
    user, invoice = await subscribe_by_invoice(stage)
    await stage.post(f"/v1/invoices/{invoice}/pay", paid_out_of_band=True)
    due = NEW_YEAR + 45 * DAY
    await stage.advance(due - SECOND)
    await stage.expects(user, export=ACTIVE)
    await stage.advance(due + HOUR)
    until = due + 7 * DAY
    await stage.expects(user, export=yes("in_grace", until=until), seats=yes("in_grace", 20, until=until))
    await stage.expects(user, export=no("payment_past_due"), at=until)
    await stage.advance(until)
    await stage.expects(user, export=no("payment_past_due"))
    await stage.settle()


async def test_first_invoice_never_paid_has_no_grace(stage: Stage) -> None:
    user, invoice = await subscribe_by_invoice(stage)
    await stage.advance(DUE)
    await stage.expects(user, export=no("payment_past_due"))
    await stage.post(f"/v1/invoices/{invoice}/pay", paid_out_of_band=True)
    await stage.expects(user, export=ACTIVE)
    await stage.settle()
