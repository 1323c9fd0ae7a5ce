"""Parts that give access: customers, subscriptions, checkout sessions."""

from datetime import UTC, datetime, timedelta

import msgspec

from domain.errors import Broken, ObjectMissing
from domain.flows.fetch import money
from domain.flows.fetch.fetched import ObjectKey
from domain.flows.fetch.reading import Reading, both
from domain.rules.failures import needs_invoices
from domain.rules.shapes import (
    SCHEDULE,
    MirroredSession,
    MirroredSubscription,
    RecurringTerms,
    paid_through_invoice,
    paid_when,
    parse_customer,
    parse_schedule,
    parse_session,
    parse_subscription,
    parse_terms,
    unread_terms,
)
from domain.stripe_gateway import JsonObject

#: How long Stripe lists events.
EVENTS_KEPT = timedelta(days=30)

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
    found = await _scheduled(reading, parse_subscription(answer))
    found = msgspec.structs.replace(found, terms=await _terms(reading, answer))
    reading.fetched.subscriptions[key[1]] = found
    await reading.follow(
        key,
        ("test_clock", found.test_clock_id) if found.test_clock_id else None,
        ("subscription_invoices", key[1]) if needs_invoices(found.subscription) else None,
    )


async def _terms(reading: Reading, answer: JsonObject) -> RecurringTerms | None:
    """What a subscription comes to per interval; None: Stripe does not show it, or not as we know it.

    Money figures are no reason to hold back anybody's access.
    """
    try:
        return await _read_terms(reading, answer)
    except (ObjectMissing, Broken):
        return None


async def _read_terms(reading: Reading, answer: JsonObject) -> RecurringTerms:
    """Discounts and amounts in another currency than the price's own are shown only to who asks; of most
    subscriptions there are none, and then nothing more is read.
    """
    wanted = unread_terms(answer)
    if wanted.of_subscription:
        path = f"/v1/subscriptions/{answer['id']}"
        shown = await reading.get(path, expand=list(wanted.of_subscription))
        answer = {**answer, "discounts": shown["discounts"], "items": shown["items"]}
    if wanted.of_items:
        params = {"subscription": answer["id"], "expand": list(wanted.of_items)}
        answer = {**answer, "items": {"data": await reading.list_all("/v1/subscription_items", **params)}}
    return parse_terms(answer)


async def _scheduled(reading: Reading, found: MirroredSubscription) -> MirroredSubscription:
    """The subscription with what its schedule will make of it: a change that waits is nowhere else."""
    if found.schedule_id is None:
        return found
    try:
        answer = await reading.get(f"/v1/subscription_schedules/{found.schedule_id}", expand=SCHEDULE)
    except ObjectMissing:
        # A key that may not read schedules is an outage; one that a list is ahead of has not begun.
        return found
    return msgspec.structs.replace(found, schedule=parse_schedule(answer))


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
    reading.fetched.sessions[session.session_id] = await _dated(reading, key, session)


async def _dated(reading: Reading, key: ObjectKey, session: MirroredSession) -> MirroredSession:
    """The session with the instant at which its one-time lines were paid for."""
    if session.is_paid_elsewhere:
        invoice = reading.fetched.invoices.get(session.invoice_id or "")
        return session if invoice is None else paid_through_invoice(session, invoice)
    if not session.purchases or session.delayed_since is None:
        return session
    succeeded_at = await _success_of(reading, session.session_id, session.delayed_since)
    if succeeded_at is None and session.delayed_since > datetime.now(UTC) - EVENTS_KEPT:
        # A list may be behind; once it shows the success, the mirror takes the later instant.
        reading.fetched.unlinked.add(key)
    return session if succeeded_at is None else paid_when(session, succeeded_at)


async def _success_of(reading: Reading, session_id: str, since: datetime) -> datetime | None:
    """When a delayed payment arrived: only Stripe's own event says so, and it is read from Stripe."""
    answers = await reading.list_all(
        "/v1/events",
        type="checkout.session.async_payment_succeeded",
        created={"gte": int(since.timestamp())},
    )
    arrived = [one["created"] for one in answers if one["data"]["object"]["id"] == session_id]
    return datetime.fromtimestamp(min(arrived), tz=UTC) if arrived else None
