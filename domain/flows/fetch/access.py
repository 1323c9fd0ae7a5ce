"""Parts that give access: customers, subscriptions, checkout sessions."""

from domain.flows.fetch import money
from domain.flows.fetch.reading import Reading, both
from domain.rules.failures import needs_invoices
from domain.rules.shapes import (
    MirroredSession,
    paid_through_invoice,
    parse_customer,
    parse_session,
    parse_subscription,
)
from domain.stripe_gateway import JsonObject

SESSION = ["payment_intent.latest_charge.refunds"]


async def read_customer(reading: Reading, customer_id: str) -> None:
    answer = await reading.get(f"/v1/customers/{customer_id}")
    reading.watch("customer", answer)
    found = parse_customer(answer)
    reading.fetched.customers[customer_id] = found
    if found.test_clock_id is not None:
        await reading.follow(("customer", customer_id), ("test_clock", found.test_clock_id))


async def read_subscription(reading: Reading, subscription_id: str) -> None:
    await take_subscription(reading, await reading.get(f"/v1/subscriptions/{subscription_id}"))


async def take_subscription(reading: Reading, answer: JsonObject) -> None:
    """A subscription as an answer or a list shows it; its invoices where its access depends on payment."""
    key = ("subscription", str(answer["id"]))
    items = await reading.whole(answer["items"], "/v1/subscription_items", subscription=key[1])
    answer = {**answer, "items": {"data": items}}
    reading.watch("subscription", answer)
    found = parse_subscription(answer)
    reading.fetched.subscriptions[key[1]] = found
    await reading.follow(
        key,
        ("test_clock", found.test_clock_id) if found.test_clock_id else None,
        ("subscription_invoices", key[1]) if needs_invoices(found.subscription) else None,
    )


async def read_session(reading: Reading, session_id: str) -> None:
    path = f"/v1/checkout/sessions/{session_id}"
    answer, lines = await both(reading.get(path, expand=SESSION), reading.list_all(f"{path}/line_items"))
    await take_session(reading, answer, lines)


async def take_session(reading: Reading, answer: JsonObject, lines: list[JsonObject]) -> None:
    """A session with its payment's charge, its subscription, and the invoice that one-time lines are on."""
    key = ("checkout.session", str(answer["id"]))
    reading.watch("checkout.session", answer)
    session = parse_session(answer, lines)
    intent = answer.get("payment_intent")
    charge = intent.get("latest_charge") if isinstance(intent, dict) else None
    if isinstance(charge, dict):
        await money.take_charge(reading, charge)
    await reading.follow(
        key,
        ("subscription", session.subscription_id) if session.subscription_id else None,
        ("invoice", session.invoice_id) if session.is_paid_elsewhere and session.invoice_id else None,
    )
    found = _dated(reading, session) if session.is_paid_elsewhere else session
    reading.fetched.sessions[session.session_id] = found


def _dated(reading: Reading, session: MirroredSession) -> MirroredSession:
    invoice = reading.fetched.invoices.get(session.invoice_id or "")
    return session if invoice is None else paid_through_invoice(session, invoice)
