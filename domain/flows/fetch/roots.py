"""What an event leads to: its object, and everything an answer may depend on with it.

subscription → its items, and its invoices where payment decides
invoice → lines, payments, charges; its subscription; the session that sold its one-time lines
session → lines, charge; its subscription; the invoice its one-time lines are on
refund, dispute → charge → payment intent → invoice payment → invoice → subscription, or the session
"""

from collections.abc import Awaitable, Callable

from domain.flows.fetch.everything import PAGES, read_customer_all
from domain.flows.fetch.fetched import ObjectKey
from domain.flows.fetch.reading import Reading, gather

Root = Callable[[Reading, str], Awaitable[None]]


async def read_root(reading: Reading, key: ObjectKey) -> None:
    """Read what one event names, and its closure."""
    kind, stripe_id = key
    if kind in ROOTS:
        await reading.once("root", key, lambda: ROOTS[kind](reading, stripe_id))
    else:
        await reading.part(kind, stripe_id)


async def _invoice(reading: Reading, invoice_id: str) -> None:
    key = ("invoice", invoice_id)
    await reading.part(*key)
    invoice = reading.fetched.invoices.get(invoice_id)
    if invoice is None:
        return
    subscription = invoice.subscription_id
    await reading.follow(key, ("subscription", subscription) if subscription else None)
    if invoice.status == "paid" and any(line.is_one_time for line in invoice.lines):
        await _follow_sessions_of(reading, key, invoice_id, subscription)


async def _follow_sessions_of(
    reading: Reading, key: ObjectKey, invoice_id: str, subscription_id: str | None
) -> None:
    """The sessions that sold what is on an invoice: their lines are the purchase, the invoice's are not."""
    if subscription_id is not None:
        await _follow_sessions(reading, key, subscription=subscription_id)
        return
    payments = reading.fetched.invoice_payments.values()
    intents = {one.payment_intent_id for one in payments if one.invoice_id == invoice_id}
    await gather(
        _follow_sessions(reading, key, payment_intent=intent) for intent in sorted(filter(None, intents))
    )


async def _invoice_payment(reading: Reading, payment_id: str) -> None:
    await reading.part("invoice_payment", payment_id)
    found = reading.fetched.invoice_payments.get(payment_id)
    if found is not None:
        await _go_on(reading, ("invoice_payment", payment_id), ("invoice", found.invoice_id))


async def _payment_intent(reading: Reading, intent_id: str) -> None:
    key = ("payment_intent", intent_id)
    await reading.part(*key)
    if intent_id in reading.fetched.intents:
        await _follow_payment(reading, key, intent_id)


async def _charge(reading: Reading, charge_id: str) -> None:
    key = ("charge", charge_id)
    await reading.part(*key)
    charge = reading.fetched.charges.get(charge_id)
    if charge is not None and charge.payment_intent_id is not None:
        await _follow_payment(reading, key, charge.payment_intent_id)


async def _refund(reading: Reading, refund_id: str) -> None:
    await reading.part("refund", refund_id)
    found = reading.fetched.refunds.get(refund_id)
    if found is not None and found.charge_id:
        await _go_on(reading, ("refund", refund_id), ("charge", found.charge_id))


async def _dispute(reading: Reading, dispute_id: str) -> None:
    """On a subscription it counts on the latest paid invoice only, so all of its invoices are read."""
    key = ("dispute", dispute_id)
    await reading.part(*key)
    found = reading.fetched.disputes.get(dispute_id)
    if found is None:
        return
    await _go_on(reading, key, ("charge", found.charge_id))
    parts = reading.fetched.parts_of(key)
    invoices = [reading.fetched.invoices.get(stripe_id) for kind, stripe_id in parts if kind == "invoice"]
    subscriptions = {one.subscription_id for one in invoices if one is not None and one.subscription_id}
    await reading.follow(key, *(("subscription_invoices", one) for one in sorted(subscriptions)))


async def _test_clock(reading: Reading, clock_id: str) -> None:
    """Its time has moved for everybody on it."""
    await reading.part("test_clock", clock_id)
    clock = reading.fetched.clocks.get(clock_id)
    if clock is not None and not clock.is_deleted:
        customers = await reading.list_all("/v1/customers", test_clock=clock_id)
        reading.fetched.clock_customers.update(str(found["id"]) for found in customers)


async def _follow_payment(reading: Reading, key: ObjectKey, intent_id: str) -> None:
    """From a payment to what it paid: the invoice it is on, else the session that took it."""
    payments = await reading.list_all(
        "/v1/invoice_payments", payment={"type": "payment_intent", "payment_intent": intent_id}
    )
    for payment in payments:
        await _go_on(reading, key, ("invoice", str(payment["invoice"])))
    if not payments and not await _follow_sessions(reading, key, payment_intent=intent_id):
        reading.fetched.unlinked.add(key)


async def _follow_sessions(reading: Reading, key: ObjectKey, **by: str) -> bool:
    """Answers whether there is one."""
    sessions = await reading.list_all("/v1/checkout/sessions", **by)
    await reading.follow(key, *(("checkout.session", str(found["id"])) for found in sessions))
    return bool(sessions)


async def _go_on(reading: Reading, key: ObjectKey, root: ObjectKey) -> None:
    reading.fetched.closure.setdefault(key, set()).add(root)
    await read_root(reading, root)


ROOTS: dict[str, Root] = {
    "invoice": _invoice,
    "invoice_payment": _invoice_payment,
    "payment_intent": _payment_intent,
    "charge": _charge,
    "refund": _refund,
    "dispute": _dispute,
    "test_clock": _test_clock,
    "customer_all": read_customer_all,
    **PAGES,
}
