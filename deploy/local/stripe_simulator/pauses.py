"""The status `paused`: its causes, and how it ends. (Paused collection is a field of a subscription and
leaves its status alone; see `renewals.py` for what it does.)
"""

from typing import Any

from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import change_plan, set_fields


def pause(
    account: Account, subscription: Json, cause: str, request: Json | None = None, **fields: Any
) -> None:
    """No period begins and nothing is billed until it is resumed; emits …updated and …paused.

    `cause` as in `status_details.paused.subscription.type`; `fields` change with the status.
    """
    paused = {"subscription": {"type": cause}, "transitioned_at": account.now(), "type": "subscription"}
    details = {"paused": paused}
    set_fields(account, subscription, request, status="paused", status_details=details, **fields)
    emit(account, "customer.subscription.paused", subscription, request=request)


def is_paused_by_failure(subscription: Json) -> bool:
    details = subscription["status_details"]
    causes = {"first_payment_failure", "final_payment_failure"}
    return details is not None and details["paused"]["subscription"]["type"] in causes


def complete_resumption(account: Account, subscription: Json, status: str = "active") -> None:
    """Go on; emits …updated and …resumed."""
    forget_resumption(account, subscription)
    set_fields(account, subscription, status=status, status_details=None)
    emit(account, "customer.subscription.resumed", subscription)


def forget_resumption(account: Account, subscription: Json) -> None:
    change_plan(account, subscription, resumption_invoice=None, resumption_until=None)
