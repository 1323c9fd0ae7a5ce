"""A copy of one customer's part of an account, to try a change on: for previews, and for changes that
must not happen when their payment fails. Nothing that happens in the copy is stored or sent.
"""

from copy import deepcopy

from deploy.local.stripe_simulator.store import SATELLITES, Account

#: What is read and never changed by billing one customer: shared with the copy.
SHARED = ("billing_settings", "coupon", "price", "product", "promotion_code", "test_helpers.test_clock")
#: What belongs to the customer, by the index that finds it.
OWNED = ("discount", "invoice", "invoiceitem", "payment_method", "subscription", "subscription_schedule")


def copy_of(account: Account, customer_id: str) -> Account:
    """Stands at the same moment as the account."""
    copy = Account(account.secret_key, account.account_id, account.created)
    copy.moment = account.now()
    for kind in SHARED:
        copy.rows[kind] = account.rows.get(kind, {})
    rows = [("customer", account.load("customer", customer_id))]
    for kind in OWNED:
        rows += [(kind, row) for row in account.where(kind, "customer", customer_id)]
    for _kind, subscription in [pair for pair in rows if pair[0] == "subscription"]:
        items = account.where("subscription_item", "subscription", subscription["id"])
        rows += [("subscription_item", item) for item in items]
    for kind, row in sorted(rows, key=lambda pair: account.order_of(pair[1])):
        copy.restore(kind, deepcopy(row))
        satellite = account.find(SATELLITES[kind], row["id"]) if kind in SATELLITES else None
        if satellite is not None:
            copy.restore(SATELLITES[kind], deepcopy(satellite))
    return copy
