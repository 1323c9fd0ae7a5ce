"""FETCH: each distinct object the events name, and its closure, once; no transaction is open meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.fetch import access, money, shelf
from domain.flows.fetch.fetched import Fetched, ObjectKey
from domain.flows.fetch.owner import read_owner
from domain.flows.fetch.reading import Part, Reading, gather
from domain.flows.fetch.roots import read_root
from domain.flows.read_budget import budget_of, noting_429
from domain.model import TargetRef
from domain.stripe_gateway import PAGE

__all__ = ["Fetched", "ObjectKey", "fetch", "fetch_owner"]

PARTS: dict[str, Part] = {
    "customer": access.read_customer,
    "subscription": access.read_subscription,
    "subscription_invoices": money.read_subscription_invoices,
    "checkout.session": access.read_session,
    "invoice": money.read_invoice,
    "invoice_payment": money.read_invoice_payment,
    "payment_intent": money.read_payment_intent,
    "charge": money.read_charge,
    "refund": money.read_refund,
    "dispute": money.read_dispute,
    "product": shelf.read_product,
    "price": shelf.read_price,
    "test_clock": shelf.read_clock,
}


async def fetch(
    context: Context, objects: Iterable[ObjectKey], *, max_wait_s: float, page: int = PAGE
) -> Fetched:
    """Read every object and its closure from Stripe, within the read budget and `fetch_timeout_s` in all.

    `page`: objects of a long list that one run reads; the rest is left in `Fetched.later`.

    Raises:
        Throttled: the budget has no slot within `max_wait_s`.
        Unavailable: Stripe is away, slow or refuses our key.
    """
    reading = Reading(context.stripe_or_raise, budget_of(context, max_wait_s), PARTS, page=page)
    async with _bounded(context, reading):
        await gather(read_root(reading, key) for key in sorted(set(objects)))
    return reading.fetched


async def fetch_owner(context: Context, target: TargetRef, *, max_wait_s: float) -> Fetched:
    """Read whose an object is, and nothing else: its customer's run reads the rest. Errors as `fetch`."""
    reading = Reading(context.stripe_or_raise, budget_of(context, max_wait_s), PARTS)
    async with _bounded(context, reading):
        await read_owner(reading, target.kind, target.stripe_id)
    return reading.fetched


@asynccontextmanager
async def _bounded(context: Context, reading: Reading) -> AsyncIterator[None]:
    try:
        async with noting_429(context), asyncio.timeout(context.settings.fetch_timeout_s):
            yield
    except TimeoutError as error:
        raise Unavailable("Stripe answered too slowly for one sync") from error
    finally:
        await reading.end()
