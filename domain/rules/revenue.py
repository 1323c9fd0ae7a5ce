"""What a payment earned for which app, and what refunds and disputes took of it again. Pure.

All amounts are integer minor units of one currency, so currencies without decimals and with three are summed
as they are. Every split is by largest remainder: the parts add up to the whole, to the unit.

Source: docs/metrics.md ("Revenue").
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction

from msgspec import Struct

from domain.money import Entry, EntryKind, Payment, SoldLine, Taken
from domain.rules.catalog import Catalog, Plan, plan_of

#: The app of what belongs to no one app: a plan unknown or without weights, or an amount without a price.
NO_APP = ""


def entries_of(payment: Payment, taken: Sequence[Taken], catalog: Catalog) -> list[Entry]:
    """The payment and everything that was taken of it, by app; `catalog`: in force when it was paid.

    A refund or dispute takes of each app and of the tax what is in proportion; a payment that was taken
    wholly has left nothing of any app.
    """
    whole = payment.amount_minor
    shares = shares_of(payment.lines, catalog)
    taxes = shares_of(payment.lines, catalog, of_tax=True) or shares
    tax = _tax_of(payment)
    entries = _entries(
        payment, payment.charge_id, "payment", payment.paid_at, split(whole, shares), split(tax, taxes)
    )
    gone = 0
    before = _Parts(split(0, shares), split(0, taxes))
    for one in sorted(taken, key=lambda one: (one.happened_at, one.object_id, one.kind)):
        gone += one.amount_minor
        after = _Parts(split(gone, shares), split(_share(tax, gone, whole), taxes))
        entries += _entries(
            payment,
            one.object_id,
            one.kind,
            one.happened_at,
            _less(after.amounts, before.amounts),
            _less(after.taxes, before.taxes),
        )
        before = after
    return entries


def shares_of(lines: Sequence[SoldLine], catalog: Catalog, *, of_tax: bool = False) -> dict[str, Fraction]:
    """App → its share of the lines, 1 in all; empty where they come to nothing or less."""
    sums: dict[str, Fraction] = {}
    for line in lines:
        amount = line.tax_minor if of_tax else line.amount_minor
        for app, share in app_shares(_plan_of(line, catalog), catalog).items():
            sums[app] = sums.get(app, Fraction()) + amount * share
    whole = sum(sums.values())
    return {app: part / whole for app, part in sums.items()} if whole > 0 else {}


def app_shares(plan: Plan | None, catalog: Catalog) -> dict[str, Fraction]:
    """App → its share of what a plan earns, by its weights; without any: all of it, of the only app that sees
    what the plan grants, else of no one app.
    """
    if plan is None:
        return {NO_APP: Fraction(1)}
    if plan.weights:
        whole = sum(plan.weights.values())
        return {app: Fraction(weight, whole) for app, weight in plan.weights.items() if weight}
    apps = {app for key in plan.grants for app in catalog.features[key].apps}
    return {apps.pop() if len(apps) == 1 else NO_APP: Fraction(1)}


def split(whole: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """`whole` in parts that add up to it: rounded down, the rest to the largest remainders, by name at a tie.

    No shares: all of it is of no one app.
    """
    if not shares:
        return {NO_APP: whole}
    exact = {app: whole * share for app, share in shares.items()}
    parts = {app: part.numerator // part.denominator for app, part in exact.items()}
    left = whole - sum(parts.values())
    for app in sorted(exact, key=lambda app: (parts[app] - exact[app], app))[:left]:
        parts[app] += 1
    return parts


class _Parts(Struct, frozen=True):
    amounts: dict[str, int]
    taxes: dict[str, int]


def _plan_of(line: SoldLine, catalog: Catalog) -> Plan | None:
    return plan_of(catalog, line.price_id or "", line.product_id or "")


def _tax_of(payment: Payment) -> int:
    """Of an invoice paid in several payments each has its part, and together they have its tax."""
    until = payment.paid_before_minor + payment.amount_minor
    return _share(payment.tax_minor, until, payment.total_minor) - _share(
        payment.tax_minor, payment.paid_before_minor, payment.total_minor
    )


def _share(tax: int, part: int, whole: int) -> int:
    """The tax in a part of an amount, rounded down; all of it in the whole."""
    return tax * min(max(part, 0), whole) // whole if whole > 0 else 0


def _less(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {app: amount - before[app] for app, amount in after.items()}


def _entries(
    payment: Payment,
    object_id: str,
    kind: EntryKind,
    happened_at: datetime,
    amounts: Mapping[str, int],
    taxes: Mapping[str, int],
) -> list[Entry]:
    return [
        Entry(
            object_id=object_id,
            kind=kind,
            app=app,
            charge_id=payment.charge_id,
            happened_at=happened_at,
            currency=payment.currency,
            amount_minor=amounts.get(app, 0),
            tax_minor=taxes.get(app, 0),
        )
        for app in sorted(amounts.keys() | taxes.keys())
        if amounts.get(app) or taxes.get(app)
    ]
