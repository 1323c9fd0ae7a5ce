"""Whose an object is whose own target this run is: as few reads as lead to a customer."""

from typing import Any

from domain.flows.fetch.reading import Reading

#: Where an object is read, by kind.
_PATHS = {
    "subscription": "/v1/subscriptions",
    "checkout.session": "/v1/checkout/sessions",
    "invoice": "/v1/invoices",
    "invoice_payment": "/v1/invoice_payments",
    "payment_intent": "/v1/payment_intents",
    "charge": "/v1/charges",
    "refund": "/v1/refunds",
    "dispute": "/v1/disputes",
}


async def read_owner(reading: Reading, kind: str, stripe_id: str) -> None:
    """Note the customer of an object; a guest's has none, and a payment may be on no list yet."""
    await reading.guard((kind, stripe_id), lambda: _note_owner(reading, kind, stripe_id))


async def _note_owner(reading: Reading, kind: str, stripe_id: str) -> None:
    customer_id = await _owner_of(reading, kind, stripe_id, root=(kind, stripe_id))
    if customer_id is not None:
        reading.fetched.customer_of[kind, stripe_id] = customer_id


async def _owner_of(reading: Reading, kind: str, stripe_id: str, root: tuple[str, str]) -> str | None:
    answer = await reading.get(f"{_PATHS[kind]}/{stripe_id}")
    reading.watch(kind, answer)
    if (customer_id := _id(answer.get("customer"))) is not None:
        return customer_id
    if kind == "invoice_payment":
        return await _owner_of(reading, "invoice", str(_id(answer["invoice"])), root)
    charge_id = _id(answer.get("charge"))
    if kind in {"refund", "dispute"} and charge_id is not None:
        return await _owner_of(reading, "charge", charge_id, root)
    intent_id = stripe_id if kind == "payment_intent" else _id(answer.get("payment_intent"))
    if kind == "checkout.session" or intent_id is None:
        return None
    return await _owner_of_payment(reading, intent_id, root)


async def _owner_of_payment(reading: Reading, intent_id: str, root: tuple[str, str]) -> str | None:
    """A payment without a customer may be of a session that has one."""
    sessions = await reading.list_all("/v1/checkout/sessions", payment_intent=intent_id)
    if not sessions:
        reading.fetched.unlinked.add(root)
    return next((found for session in sessions if (found := _id(session.get("customer")))), None)


def _id(reference: Any) -> str | None:
    """The id in a reference, expanded or not."""
    found = reference.get("id") if isinstance(reference, dict) else reference
    return found if isinstance(found, str) else None
