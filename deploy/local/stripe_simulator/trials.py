"""What becomes of a trial that ends while nothing can be charged: its trial settings decide."""

from typing import Literal

from deploy.local.stripe_simulator import collection, pauses
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import cancel_now

Missing = Literal["cancel", "pause"]
CAUSE = "trial_end_without_payment_method"


def missing_method(account: Account, row: Json) -> Missing | None:
    """What is to happen instead of a first paid period; None: one begins, and its invoice says the rest."""
    missing = row["trial_settings"]["end_behavior"]["missing_payment_method"]
    is_charged = row["collection_method"] == "charge_automatically"
    if missing == "create_invoice" or not is_charged or collection.has_method(account, row):
        return None
    return "cancel" if missing == "cancel" else "pause"


def end_without_method(account: Account, row: Json, missing: Missing, request: Json | None = None) -> None:
    """End the trial at this moment; emits …deleted, or …updated and …paused."""
    if missing == "cancel":
        row["trial_end"] = account.now()
        cancel_now(account, row, request)
    else:
        pauses.pause(account, row, CAUSE, request, trial_end=account.now())
