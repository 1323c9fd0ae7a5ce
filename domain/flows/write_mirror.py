"""The mirror, in COMMIT's transaction: what was read of a customer, and what belongs to nobody."""

from msgspec import Struct

from domain.flows.fetch import Fetched
from domain.flows.read_catalog import find_head
from domain.rules.catalog import plan_of
from domain.rules.shapes import MirroredSubscription, purchases_of_invoice
from domain.rules.subscription import KNOWN_STATUSES
from domain.store import customers, mirror, money, recurring, shelf
from domain.store.mirror import Schedule, UnitPrice
from domain.store.money import Holder
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()


class Shared(Struct, frozen=True, kw_only=True):
    """What became of a product, a price or a test clock."""

    is_ours: bool
    #: Why its events are foreign; None: they are not.
    reason: str | None = None


async def write_mirror(connection: Connection, holder: Holder, fetched: Fetched) -> None:
    """Everything read that belongs to this customer; what belongs to another one is marked there instead."""
    customer = fetched.customers.get(holder.customer_id)
    # A 404 buries nobody: Stripe answers a stub for what was deleted, and may not show yet what is new.
    if customer is not None and customer.is_deleted:
        await customers.bury_customer(connection, holder.customer_id)
    await _set_clock(connection, holder, fetched)
    for found in fetched.subscriptions.values():
        if found.customer_id == holder.customer_id:
            await _write_subscription(connection, holder, found)
    await _write_sessions(connection, holder, fetched)
    await _write_invoices(connection, holder, fetched)
    await _write_payments(connection, holder, fetched)


async def write_shared(connection: Connection, kind: str, stripe_id: str, fetched: Fetched) -> Shared:
    """A product, price or test clock: ours if the catalog, our metadata or a customer of ours names it."""
    if kind == "test_clock":
        return await _write_clock(connection, stripe_id, fetched)
    if kind == "product":
        return await _write_product(connection, stripe_id, fetched)
    return await _write_price(connection, stripe_id, fetched)


async def _set_clock(connection: Connection, holder: Holder, fetched: Fetched) -> None:
    """On a test clock the user's time is the clock's."""
    customer = fetched.customers.get(holder.customer_id)
    named = {customer.test_clock_id} if customer is not None else set()
    named |= {
        found.test_clock_id
        for found in fetched.subscriptions.values()
        if found.customer_id == holder.customer_id
    }
    for clock_id in sorted(filter(None, named)):
        clock = fetched.clocks.get(clock_id)
        if clock is not None and clock.frozen_at is not None:
            await customers.set_clock(connection, holder.user_key, clock.frozen_at)


async def _write_subscription(connection: Connection, holder: Holder, found: MirroredSubscription) -> None:
    subscription = found.subscription
    await mirror.upsert_subscription(
        connection,
        holder,
        subscription,
        pause_resumes_at=found.pause_resumes_at,
        test_clock_id=found.test_clock_id,
        schedule=Schedule(
            schedule_id=found.schedule_id,
            changes_at=found.schedule.changes_at if found.schedule is not None else None,
            items=found.schedule.items if found.schedule is not None else (),
        ),
        known_statuses=KNOWN_STATUSES,
    )
    prices = {
        item_id: UnitPrice(
            currency=price.currency,
            unit_amount_minor=price.unit_amount_minor,
            interval=price.interval,
            interval_count=price.interval_count,
        )
        for item_id, price in found.prices.items()
    }
    await mirror.replace_items(connection, holder.project, subscription, prices)
    if found.terms is not None:
        await recurring.write_terms(
            connection,
            subscription.subscription_id,
            found.terms.currency,
            found.terms.discounts,
            {key: (terms.charged_unit, terms.discounts) for key, terms in found.terms.items.items()},
        )
    if subscription.status not in KNOWN_STATUSES:
        log.error("subscription_status_unknown", status=subscription.status)


async def _write_sessions(connection: Connection, holder: Holder, fetched: Fetched) -> None:
    for session in fetched.sessions.values():
        if session.customer_id != holder.customer_id:
            continue
        await mirror.update_session(
            connection,
            project=holder.project,
            user_key=holder.user_key,
            session_id=session.session_id,
            status=session.status,
            payment_status=session.payment_status,
            expires_at=session.expires_at,
            checkout_ref=session.checkout_ref,
        )
        if session.is_paid_elsewhere and session.invoice_id not in fetched.invoices:
            # When its one-time lines were paid is kept for ever: it is not guessed while Stripe hides it.
            continue
        for bought in session.purchases:
            await mirror.upsert_purchase(connection, holder, "checkout.session", bought)


async def _write_invoices(connection: Connection, holder: Holder, fetched: Fetched) -> None:
    for invoice in fetched.invoices.values():
        if invoice.customer_id != holder.customer_id:
            continue
        await money.upsert_invoice(connection, holder, invoice)
        await money.replace_lines(connection, holder.project, invoice)
        for bought in purchases_of_invoice(invoice):
            await mirror.upsert_purchase(connection, holder, "invoice", bought)
    for payment in fetched.invoice_payments.values():
        owner = fetched.invoices.get(payment.invoice_id)
        if owner is not None and owner.customer_id == holder.customer_id:
            await money.upsert_invoice_payment(connection, holder, payment)


async def _write_payments(connection: Connection, holder: Holder, fetched: Fetched) -> None:
    """Charges of the customer, and those that name none but paid for something of the customer."""
    intents = _intents_of(holder, fetched)
    mine = {
        charge_id
        for charge_id, charge in fetched.charges.items()
        if charge.customer_id == holder.customer_id
        or (charge.customer_id is None and charge.payment_intent_id in intents)
    }
    for charge_id in sorted(mine):
        await money.upsert_charge(connection, holder, fetched.charges[charge_id])
    for refund in fetched.refunds.values():
        if refund.charge_id in mine:
            await money.upsert_refund(connection, holder, refund)
    for dispute in fetched.disputes.values():
        if dispute.charge_id in mine:
            await money.upsert_dispute(connection, holder, dispute)
            await money.replace_funds(connection, holder.project, dispute)


def _intents_of(holder: Holder, fetched: Fetched) -> set[str]:
    """Payment intents of the customer's sessions and invoices."""
    sessions = {
        one.payment_intent_id
        for one in fetched.sessions.values()
        if one.customer_id == holder.customer_id and one.payment_intent_id
    }
    invoices = {key for key, one in fetched.invoices.items() if one.customer_id == holder.customer_id}
    payments = {
        one.payment_intent_id
        for one in fetched.invoice_payments.values()
        if one.invoice_id in invoices and one.payment_intent_id
    }
    return sessions | payments


async def _write_product(connection: Connection, product_id: str, fetched: Fetched) -> Shared:
    product = fetched.products.get(product_id)
    if product is None or product.is_deleted:
        return _buried(await shelf.bury_product(connection, product_id))
    project = await _project_of(connection, "", product_id, product.project)
    if project is None:
        return Shared(is_ours=False, reason="not_in_catalog")
    await shelf.upsert_product(
        connection, product_id=product_id, project=project, name=product.name, is_active=product.is_active
    )
    return Shared(is_ours=True)


async def _write_price(connection: Connection, price_id: str, fetched: Fetched) -> Shared:
    price = fetched.prices.get(price_id)
    if price is None or price.is_deleted:
        return _buried(await shelf.bury_price(connection, price_id))
    project = await _project_of(connection, price_id, price.product_id, price.project)
    if project is None:
        return Shared(is_ours=False, reason="not_in_catalog")
    await shelf.upsert_price(
        connection,
        price_id=price_id,
        project=project,
        product_id=price.product_id,
        is_active=price.is_active,
        lookup_key=price.lookup_key,
        currency=price.currency,
        unit_amount_minor=price.unit_amount_minor,
        interval=price.interval,
        interval_count=price.interval_count,
    )
    return Shared(is_ours=True)


async def _write_clock(connection: Connection, clock_id: str, fetched: Fetched) -> Shared:
    clock = fetched.clocks.get(clock_id)
    if clock is None or clock.frozen_at is None:
        return _buried(await shelf.bury_clock(connection, clock_id))
    linked = [one for one in fetched.clock_customers if await customers.find_owner(connection, one)]
    if not linked:
        return Shared(is_ours=False, reason="unlinked_customer")
    await shelf.upsert_clock(connection, clock_id=clock_id, status=clock.status, frozen_at=clock.frozen_at)
    return Shared(is_ours=True)


def _buried(was_mirrored: bool) -> Shared:  # noqa: FBT001 - the answer of the statement
    return Shared(is_ours=was_mirrored, reason=None if was_mirrored else "object_missing")


async def _project_of(
    connection: Connection, price_id: str, product_id: str, named: str | None
) -> str | None:
    """The project whose catalog maps the price or product, else the one that our metadata names."""
    projects = await shelf.list_projects(connection)
    for project in projects:
        head = await find_head(connection, project)
        if head is not None and plan_of(head.catalog, price_id, product_id) is not None:
            return project
    return named if named in projects else None
