"""The stages of an import: customers are linked first, then what they have is taken, money before access.

So a purchase that was refunded, or a subscription whose payment fails, is judged right when it is first seen.
"""

from domain.flows.fetch.everything import LISTS

#: Name → the list of Stripe's that it pages through.
OBJECTS = {
    "charges": LISTS["customer_charges"],
    "invoices": LISTS["customer_invoices"],
    "sessions": LISTS["customer_sessions"],
    "subscriptions": LISTS["customer_subscriptions"],
}
CUSTOMERS, ABSENT = "customers", "absent"
STAGES = (CUSTOMERS, ABSENT, *OBJECTS)
FIRST = STAGES[0]


def stage_after(stage: str) -> str | None:
    """None: that was the last."""
    following = STAGES.index(stage) + 1
    return STAGES[following] if following < len(STAGES) else None
