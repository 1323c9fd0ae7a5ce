"""Change what a user pays for: other items, an end, and back again; at once or with the next period.

Each verb works on the group's one live subscription as Stripe shows it at that moment, under the group's
lock, and ends in a sync. What is wished is a state, never a step: the same call again finds it reached.
"""

from domain.flows.change_plan.answers import Changed, Concluded, Preview
from domain.flows.change_plan.cancel import cancel_subscription
from domain.flows.change_plan.change import change_subscription
from domain.flows.change_plan.resume import resume_subscription
from domain.flows.change_plan.subject import Asked, When
from domain.rules.order import Item

__all__ = [
    "Asked",
    "Changed",
    "Concluded",
    "Item",
    "Preview",
    "When",
    "cancel_subscription",
    "change_subscription",
    "resume_subscription",
]
