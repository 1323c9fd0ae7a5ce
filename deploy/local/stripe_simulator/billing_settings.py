"""What an account's owner sets in Stripe's dashboard about unpaid invoices; here by `POST /_sim/billing`."""

from typing import Literal

import msgspec

from deploy.local.stripe_simulator.store import Account

KIND, ROW_ID = "billing_settings", "billing"


class BillingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Defaults: three retries within 15 days, then the subscription is canceled."""

    #: Days from each failed attempt to the next; when they are used up the failure is final.
    retry_days: list[int] = msgspec.field(default_factory=lambda: [3, 5, 7])
    #: What the first failed attempt of an invoice makes of an active subscription.
    after_first_failure: Literal["past_due", "pause"] = "past_due"
    #: What the final failure makes of it. `past_due`: it stays past due for ever.
    after_final_failure: Literal["cancel", "unpaid", "past_due", "pause"] = "cancel"
    #: Days after the due date of an invoice that was sent, when the failure is final.
    overdue_days: int = 30


def settings_of(account: Account) -> BillingSettings:
    row = account.find(KIND, ROW_ID)
    return msgspec.convert(row["settings"], BillingSettings) if row else BillingSettings()


def change_settings(account: Account, settings: BillingSettings) -> None:
    account.put(KIND, {"id": ROW_ID, "settings": msgspec.to_builtins(settings)})
