"""Stripe's objects at the pinned version, as far as we read them, turned into our facts. Pure.

Stripe adds fields and we ignore them; a field we need that is missing or of another type is `Broken`,
because guessing about somebody's access is worse than keeping the last good answer.
Source: docs.stripe.com/api, version 2026-10-28.endive.
"""

from domain.rules.shapes.access import (
    ItemPrice,
    MirroredCustomer,
    MirroredSession,
    MirroredSubscription,
    paid_through_invoice,
    paid_when,
    parse_customer,
    parse_session,
    parse_subscription,
)
from domain.rules.shapes.money import (
    MirroredIntent,
    parse_charge,
    parse_dispute,
    parse_invoice,
    parse_invoice_payment,
    parse_payment_intent,
    parse_refund,
    purchases_of_invoice,
)
from domain.rules.shapes.recurring import ItemTerms, RecurringTerms, parse_terms, unread_terms
from domain.rules.shapes.schedules import SCHEDULE, MirroredSchedule, parse_schedule
from domain.rules.shapes.shelf import (
    MirroredClock,
    MirroredPrice,
    MirroredProduct,
    parse_clock,
    parse_price,
    parse_product,
)

__all__ = [
    "SCHEDULE",
    "ItemPrice",
    "ItemTerms",
    "MirroredClock",
    "MirroredCustomer",
    "MirroredIntent",
    "MirroredPrice",
    "MirroredProduct",
    "MirroredSchedule",
    "MirroredSession",
    "MirroredSubscription",
    "RecurringTerms",
    "paid_through_invoice",
    "paid_when",
    "parse_charge",
    "parse_clock",
    "parse_customer",
    "parse_dispute",
    "parse_invoice",
    "parse_invoice_payment",
    "parse_payment_intent",
    "parse_price",
    "parse_product",
    "parse_refund",
    "parse_schedule",
    "parse_session",
    "parse_subscription",
    "parse_terms",
    "purchases_of_invoice",
    "unread_terms",
]
