"""A change of a subscription that waits until its invoice is paid: `pending_if_incomplete`."""

from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscription_items import apply_items, restart_periods
from deploy.local.stripe_simulator.subscriptions import change_plan, emit_update, plan_of

#: Seconds until a change that nobody pays for is dropped: 23 hours.
KEPT_S = 23 * 3600


def keep(
    account: Account,
    subscription: Json,
    *,
    items: list[Json],
    shown: list[Json],
    restarts: bool,
    invoice: str,
) -> None:
    """Note the change and the invoice it waits for; `shown` are the items as they would be."""
    anchor = account.now() if restarts else None
    subscription["pending_update"] = {
        "billing_cycle_anchor": anchor,
        "expires_at": account.now() + KEPT_S,
        "subscription_items": shown,
        "trial_end": None,
        "trial_from_plan": None,
    }
    change_plan(
        account, subscription, pending_items=items, pending_invoice=invoice, pending_restarts=restarts
    )
    account.put("subscription", subscription)


def apply(account: Account, subscription: Json) -> None:
    """The invoice is paid; emits …updated and …pending_update_applied."""
    plan = plan_of(account, subscription)
    before = snapshot(account, subscription)
    apply_items(account, subscription, planned(account, plan["pending_items"]))
    if plan["pending_restarts"]:
        restart_periods(account, subscription)
    drop(account, subscription)
    emit_update(account, before, subscription, None)
    emit(account, "customer.subscription.pending_update_applied", subscription)


def planned(account: Account, asked: list[Json]) -> list[Json]:
    """The kept changes as `apply_items` takes them: rows instead of ids."""
    return [
        {
            **change,
            "item": account.find("subscription_item", change["id"]) if "id" in change else None,
            "price": account.load("price", change["price"]) if "price" in change else None,
        }
        for change in asked
    ]


def expire(account: Account, subscription: Json) -> None:
    """Nobody paid; emits …updated and …pending_update_expired."""
    before = snapshot(account, subscription)
    drop(account, subscription)
    emit_update(account, before, subscription, None)
    emit(account, "customer.subscription.pending_update_expired", subscription)


def drop(account: Account, subscription: Json) -> None:
    subscription["pending_update"] = None
    change_plan(account, subscription, pending_items=[], pending_invoice=None, pending_restarts=False)
    account.put("subscription", subscription)
