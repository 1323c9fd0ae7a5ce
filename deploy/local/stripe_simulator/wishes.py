"""What every call to the control plane has in common."""

import msgspec

from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Account


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every call may carry: the account it is about; None means the first."""

    account: str | None = None


def find_account(simulator: Simulator, account_id: str | None) -> Account:
    if account_id is None:
        return simulator.first
    account = simulator.store.accounts.get(account_id)
    if account is None:
        raise StripeError(f"no account {account_id!r}: add it by POST /_sim/accounts", status=404)
    return account
