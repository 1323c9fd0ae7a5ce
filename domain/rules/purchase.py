"""When a one-time purchase gives access: for a lifetime, or for its days, folded after those bought before.

Source: docs/entitlements.md, "A purchase gives access".
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from domain.model import Purchase, Reason, SourceRef
from domain.rules.catalog import Catalog, Plan, Policy, Price, plan_of
from domain.rules.disputes import is_inquiry, is_lost, is_open, is_prevented
from domain.rules.given import plan_values
from domain.rules.sources import Life, Source, Span, live, refused

_COUNTED_REFUNDS = frozenset({"succeeded", "pending"})


class _Term(Struct):
    """The stretch of a timed purchase, and the end of the unbroken run of stretches it belongs to."""

    begins_at: datetime
    ends_at: datetime
    run_ends_at: datetime


def purchase_sources(purchases: Iterable[Purchase], catalog: Catalog) -> list[Source]:
    """One source per purchase. They are judged together, because timed ones of a plan follow each other."""
    ordered = sorted(purchases, key=lambda purchase: (purchase.paid_at, purchase.purchase_id))
    sold = {purchase.purchase_id: _sold_as(purchase, catalog) for purchase in ordered}
    terms = _fold(ordered, sold, catalog.policy)
    return [_source(purchase, sold[purchase.purchase_id], terms, catalog) for purchase in ordered]


def _sold_as(purchase: Purchase, catalog: Catalog) -> tuple[Plan, Price] | None:
    """The plan and price that were sold; None: the catalog cannot say for how long access was sold."""
    plan = plan_of(catalog, purchase.price_id, purchase.product_id)
    if plan is None:
        return None
    one_time = [price for price in plan.prices.values() if price.is_one_time]
    named = [p for p in one_time if p.key == purchase.price_key or purchase.price_id in p.stripe_ids]
    # For a price made in the dashboard under a known product, the shortest time sold gives never too much.
    price = min(named or one_time, key=_duration, default=None)
    return (plan, price) if price is not None else None


def _duration(price: Price) -> timedelta:
    return timedelta.max if price.duration_days is None else timedelta(days=price.duration_days)


def _fold(
    ordered: list[Purchase], sold: dict[str, tuple[Plan, Price] | None], policy: Policy
) -> dict[str, _Term]:
    """The terms of timed purchases: each begins when it was paid or when the one before it ends.

    A purchase that gives nothing (refunded, disputed) holds no place: it must not delay a paid one.
    """
    terms: dict[str, _Term] = {}
    last: dict[str, list[_Term]] = {}
    for purchase in ordered:
        product = sold[purchase.purchase_id]
        if product is None or product[1].duration_days is None or _refusal(purchase, policy) is not None:
            continue
        plan, price = product
        run = last.get(plan.key, [])
        begins_at = max(purchase.paid_at, run[-1].ends_at) if run else purchase.paid_at
        ends_at = begins_at + _duration(price)
        term = _Term(begins_at, ends_at, ends_at)
        run = [*run, term] if run and run[-1].ends_at == begins_at else [term]
        for earlier in run:
            earlier.run_ends_at = ends_at
        last[plan.key] = run
        terms[purchase.purchase_id] = term
    return terms


def _source(
    purchase: Purchase, product: tuple[Plan, Price] | None, terms: dict[str, _Term], catalog: Catalog
) -> Source:
    plan = product[0] if product is not None else None
    return Source(
        ref=SourceRef(
            kind="purchase",
            id=purchase.object_id,
            plan=plan.key if plan is not None else None,
            price=purchase.price_key,
            revision=purchase.revision,
        ),
        since=purchase.paid_at,
        part=purchase.purchase_id,
        life=_life(purchase, plan, terms.get(purchase.purchase_id), catalog.policy),
        values=plan_values(catalog, plan, purchase.quantity, purchase.paid_at),
        plan=plan,
        quantity=purchase.quantity,
        flags=_flags(purchase),
    )


def _life(purchase: Purchase, plan: Plan | None, term: _Term | None, policy: Policy) -> Life:
    refusal = _refusal(purchase, policy)
    if refusal is not None:
        return refused(refusal)
    if plan is None:
        return refused(Reason.PRICE_UNMAPPED)
    before = Span(
        until=term.begins_at if term else purchase.paid_at, is_live=False, reason=Reason.NOT_STARTED
    )
    if term is None:
        return (before, *live(Reason.PURCHASE))
    during = Span(until=term.ends_at, is_live=True, reason=Reason.PURCHASE, access_ends_at=term.run_ends_at)
    return (before, during, *refused(Reason.PURCHASE_EXPIRED))


def _refusal(purchase: Purchase, policy: Policy) -> Reason | None:
    """In the order of `Reason`: a lost purchase that was also refunded is disputed."""
    if any(is_lost(d) or (is_open(d) and policy.dispute != "keep") for d in purchase.disputes):
        return Reason.DISPUTED
    given_back, share = _given_back_minor(purchase), policy.refund_revoke_from
    if given_back > 0 and share is not None and given_back >= share * purchase.captured_minor:
        return Reason.REFUNDED
    return None


def _flags(purchase: Purchase) -> tuple[str, ...]:
    flags = []
    if any(is_inquiry(dispute) for dispute in purchase.disputes):
        flags.append("dispute_inquiry")
    if 0 < _given_back_minor(purchase) < purchase.captured_minor:
        flags.append("partially_refunded")
    return tuple(flags)


def _given_back_minor(purchase: Purchase) -> int:
    refunds = sum(r.amount_minor for r in purchase.refunds if r.status in _COUNTED_REFUNDS)
    return refunds + sum(d.amount_minor for d in purchase.disputes if is_prevented(d))
