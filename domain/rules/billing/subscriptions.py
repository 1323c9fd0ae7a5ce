"""Subscriptions as an account page shows them."""

from datetime import datetime

from domain.model import Subscription
from domain.money import BilledSubscription, PriceTerms
from domain.rules.billing.seen import is_subscription_seen
from domain.rules.billing.shapes import (
    BillingItem,
    BillingSubscription,
    PendingChange,
    PendingPayment,
    Records,
)
from domain.rules.catalog import Catalog, Plan, Price, plan_of
from domain.rules.holdings import group_of
from domain.rules.subscription import known_end

#: Subscriptions that ended are history; so many of the latest are shown.
ENDED_SHOWN = 10
#: Statuses in which Stripe makes no further invoice by itself.
_STOPPED = frozenset({"canceled", "incomplete", "incomplete_expired", "paused"})


def show_subscriptions(records: Records, catalog: Catalog, app: str) -> tuple[BillingSubscription, ...]:
    """Newest first: all that have not ended, and the latest that have."""
    seen = [one for one in records.facts.subscriptions if is_subscription_seen(one, catalog, app)]
    newest = sorted(seen, key=lambda one: (one.created_at, one.subscription_id), reverse=True)
    ended = [one for one in newest if one.status == "canceled"]
    kept = sorted(ended, key=lambda one: one.ended_at or one.created_at, reverse=True)[:ENDED_SHOWN]
    return tuple(_show(one, records, catalog) for one in newest if one.status != "canceled" or one in kept)


def _show(subscription: Subscription, records: Records, catalog: Catalog) -> BillingSubscription:
    billed = records.billed.get(subscription.subscription_id)
    ends_at = known_end(subscription)
    return BillingSubscription(
        id=subscription.subscription_id,
        group=group_of(subscription, catalog),
        status=subscription.status,
        created_at=subscription.created_at,
        items=tuple(
            _item(records.terms[item.item_id], item.quantity, billed, catalog)
            for item in subscription.items
            if item.item_id in records.terms
        ),
        renews_at=_renews_at(subscription, ends_at),
        ends_at=ends_at,
        trial_ends_at=subscription.trial_end if subscription.status == "trialing" else None,
        pending_change=_pending(billed, records, catalog) if billed is not None else None,
        pending_payment=_pending_payment(billed, records, catalog) if billed is not None else None,
    )


def _renews_at(subscription: Subscription, ends_at: datetime | None) -> datetime | None:
    """The end of the first item's period, unless everything ends by then."""
    if subscription.status in _STOPPED:
        return None
    period_end = min((item.period_end for item in subscription.items), default=None)
    return None if period_end is None or (ends_at is not None and ends_at <= period_end) else period_end


def _pending(billed: BilledSubscription, records: Records, catalog: Catalog) -> PendingChange | None:
    if billed.scheduled_at is None:
        return None
    items = [
        _item(_terms(records, item.price_id, item.product_id), item.quantity, billed, catalog)
        for item in billed.scheduled_items
    ]
    return PendingChange(at=billed.scheduled_at, items=tuple(items))


def _pending_payment(billed: BilledSubscription, records: Records, catalog: Catalog) -> PendingPayment | None:
    invoice = records.awaited.get(billed.subscription_id)
    if invoice is None:
        return None
    items = [
        _item(_terms(records, line.price_id, line.product_id), line.quantity, billed, catalog)
        for line in invoice.lines
        # What is negative gives back what the change replaces.
        if line.price_id is not None and line.product_id is not None and line.amount_minor > 0
    ]
    return PendingPayment(
        since=invoice.finalized_at or invoice.created_at,
        currency=invoice.currency,
        due_minor=invoice.remaining_minor,
        pay_url=invoice.pay_url,
        items=tuple(items),
    )


def _terms(records: Records, price_id: str, product_id: str) -> PriceTerms:
    return records.scheduled_terms.get(price_id) or PriceTerms(price_id=price_id, product_id=product_id)


def _item(
    terms: PriceTerms, quantity: int | None, billed: BilledSubscription | None, catalog: Catalog
) -> BillingItem:
    plan = plan_of(catalog, terms.price_id, terms.product_id)
    price = _price_of(plan, terms)
    currency = (billed.currency if billed is not None else None) or terms.currency
    unit_minor = _unit_minor(terms, price, currency)
    return BillingItem(
        plan=plan.key if plan is not None else terms.plan,
        name=_name(plan, terms),
        price=price.key if price is not None else terms.price,
        revision=terms.revision,
        quantity=quantity,
        currency=currency,
        unit_amount_minor=unit_minor,
        amount_minor=None if unit_minor is None or quantity is None else unit_minor * quantity,
        interval=terms.interval or (price.interval if price is not None else None),
        interval_count=terms.interval_count or (price.interval_count if price is not None else None),
    )


def _name(plan: Plan | None, terms: PriceTerms) -> str | None:
    """A plan that is no longer in the catalog has the name of its product."""
    return plan.name if plan is not None else terms.product_name or terms.plan


def _price_of(plan: Plan | None, terms: PriceTerms) -> Price | None:
    """The catalog's price: the one we sold it as, or the one that lists it as imported."""
    if plan is None:
        return None
    if terms.price is not None:
        return plan.prices.get(terms.price)
    return next((price for price in plan.prices.values() if terms.price_id in price.stripe_ids), None)


def _unit_minor(terms: PriceTerms, price: Price | None, currency: str | None) -> int | None:
    """The mirror knows the price's own currency only; of others the catalog knows what is sold now."""
    if terms.currency is not None and currency == terms.currency:
        return terms.unit_amount_minor
    return price.amounts.get(currency) if price is not None and currency and terms.is_head else None
