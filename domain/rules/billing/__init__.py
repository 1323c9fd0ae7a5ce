"""What an account page shows: subscriptions, purchases, and what is wrong with the payment. Pure.

Source: docs/api.md, "Billing".
"""

from domain.rules.billing.payment import find_payment_problem, is_payment_failing
from domain.rules.billing.purchases import show_purchases
from domain.rules.billing.seen import is_others
from domain.rules.billing.shapes import (
    BillingItem,
    BillingPurchase,
    BillingSubscription,
    PaymentProblem,
    PendingChange,
    PendingPayment,
    Records,
)
from domain.rules.billing.subscriptions import ENDED_SHOWN, show_subscriptions

__all__ = [
    "ENDED_SHOWN",
    "BillingItem",
    "BillingPurchase",
    "BillingSubscription",
    "PaymentProblem",
    "PendingChange",
    "PendingPayment",
    "Records",
    "find_payment_problem",
    "is_others",
    "is_payment_failing",
    "show_purchases",
    "show_subscriptions",
]
