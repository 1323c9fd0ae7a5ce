"""One-time purchases as an account page shows them."""

from datetime import datetime

from domain.model import Purchase
from domain.rules.billing.seen import features_of
from domain.rules.billing.shapes import BillingPurchase, Records
from domain.rules.catalog import Catalog
from domain.rules.holdings import is_seen
from domain.rules.purchase import purchase_sources
from domain.rules.sources import Source, span_at


def show_purchases(records: Records, catalog: Catalog, app: str, at: datetime) -> tuple[BillingPurchase, ...]:
    """Newest first."""
    purchases = {one.purchase_id: one for one in records.facts.purchases}
    features = features_of(catalog, app)
    return tuple(
        _show_purchase(purchases[source.part], source, records, at)
        for source in reversed(purchase_sources(records.facts.purchases, catalog))
        if is_seen([source], features)
    )


def _show_purchase(purchase: Purchase, source: Source, records: Records, at: datetime) -> BillingPurchase:
    bought = records.bought.get(purchase.purchase_id)
    span = span_at(source.life, at)
    plan = source.plan
    return BillingPurchase(
        id=purchase.object_id,
        plan=plan.key if plan is not None else None,
        name=plan.name if plan is not None else None,
        price=purchase.price_key,
        revision=purchase.revision,
        quantity=purchase.quantity,
        paid_at=purchase.paid_at,
        currency=bought.currency if bought is not None else None,
        paid_minor=purchase.captured_minor,
        is_active=span.is_live,
        reason=span.reason,
        ends_at=max(
            (one.until for one in source.life if one.is_live and one.until is not None), default=None
        ),
    )
