"""Prorations: credits for the unused time of what changes, debits for the remaining time of what it becomes.

To the second, and rounded half up, as Stripe counts them. They wait as invoice items.
"""

from dataclasses import dataclass, field

from deploy.local.stripe_simulator.discounts import Charged, going_on, take_off
from deploy.local.stripe_simulator.events import emit
from deploy.local.stripe_simulator.invoice_items import day, new_invoice_item, parent_of
from deploy.local.stripe_simulator.periods import period_start
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscriptions import TIMES, items_of, part_of, unit_amount


@dataclass(frozen=True, slots=True)
class Share:
    """An item as it is at one moment: what its running period costs, and how long it runs."""

    item_id: str
    price: str
    quantity: int
    start: int
    end: int
    #: Seconds of a whole period, by the anchor of that moment.
    whole: int
    #: Minor units of a whole period, after the discounts that go on at that moment; they make no change.
    full: int = field(compare=False)


def shares_of(account: Account, subscription: Json) -> dict[str, Share]:
    """By item id; nothing while nothing is paid for: in a trial, and before the first payment."""
    if subscription["status"] in {"trialing", "incomplete", "paused"}:
        return {}
    items = items_of(account, subscription)
    lines = [line_of(account, subscription, item) for item in items]
    taken = take_off(going_on(account, subscription), lines)
    return {
        item["id"]: share_of(account, subscription, item, line.amount - sum(off.values()))
        for item, line, off in zip(items, lines, taken, strict=True)
    }


def line_of(account: Account, subscription: Json, item: Json) -> Charged:
    price = account.load("price", item["price"])
    return Charged(price["product"], unit_amount(price, subscription["currency"]) * item["quantity"])


def share_of(account: Account, subscription: Json, item: Json, full: int) -> Share:
    price, end = account.load("price", item["price"]), item["current_period_end"]
    return Share(
        item_id=item["id"],
        price=price["id"],
        quantity=item["quantity"],
        start=item["current_period_start"],
        end=end,
        whole=end - period_start(subscription["billing_cycle_anchor"], end, price["recurring"]),
        full=full,
    )


def prorate(
    account: Account, subscription: Json, before: dict[str, Share], after: dict[str, Share], at: int
) -> list[Json]:
    """The invoice items that a change at `at` makes; an item that did not change makes none.

    `after` is empty when a new period begins: that period is billed in full, by itself.
    """
    gone = [share for share in before.values() if after.get(share.item_id) != share]
    come = [share for share in after.values() if before.get(share.item_id) != share]
    made = [put_share(account, subscription, share, at, sign=-1) for share in gone]
    made += [put_share(account, subscription, share, at, sign=1) for share in come]
    return [item for item in made if item is not None]


def put_share(account: Account, subscription: Json, share: Share, at: int, sign: int) -> Json | None:
    """The credit (-1) or debit (1) for the time from `at` to the end of the period; None: no time is left."""
    if at >= share.end:
        return None
    price = account.load("price", share.price)
    name = account.load("product", price["product"])["name"]
    amount = sign * part_of(share.full, share.end - max(at, share.start), share.whole)
    time = "Unused" if sign < 0 else "Remaining"
    row = new_invoice_item(
        account,
        account.load("customer", subscription["customer"]),
        amount=amount,
        currency=subscription["currency"],
        price=price,
        description=f"{time} time on {share.quantity} {TIMES} {name} after {day(at)}",
        discountable=False,
        parent=parent_of(subscription, share.item_id),
        period={"end": share.end, "start": at},
        proration=True,
        quantity=share.quantity,
    )
    emit(account, "invoiceitem.created", row)
    return row
