"""Facts: everything that can give a user access, from the mirror and our grants, read in one transaction.

What is derived (since when payment fails, what was given back) is derived here at every read, never stored.
"""

from collections.abc import Mapping, Sequence

import msgspec

from domain.model import Facts, Subscription
from domain.money import ChargeDispute, Invoice
from domain.rules.failures import disputes_of, needs_invoices, with_invoices
from domain.rules.money_back import Payments, disputes_by_invoice, sold_once, with_money_back
from domain.store import facts, grants, money, money_back
from domain.store.session import Connection


async def gather_facts(connection: Connection, project: str, user_key: int) -> Facts:
    """All sources of one user; each in a fixed order, so that equal facts are equal bytes."""
    subscriptions = await facts.list_subscriptions(connection, project, user_key)
    bought = sold_once(await facts.list_purchases(connection, project, user_key))
    payments = await _payments(connection, project, user_key, is_buyer=bool(bought))
    return Facts(
        subscriptions=await _with_history(connection, project, user_key, subscriptions, payments),
        purchases=tuple(with_money_back(one, payments) for one in bought),
        grants=await grants.load_grants(connection, project, user_key),
    )


async def _payments(connection: Connection, project: str, user_key: int, *, is_buyer: bool) -> Payments:
    """What can take access away; of most users there is none, and then nothing more is asked."""
    refunds = await money_back.list_refunds(connection, project, user_key) if is_buyer else []
    disputes = await money_back.list_disputes(connection, project, user_key)
    if not (is_buyer or disputes):
        return Payments()
    return Payments(
        charges=await money_back.list_charges(connection, project, user_key) if is_buyer else (),
        invoice_payments=await money_back.list_invoice_payments(connection, project, user_key),
        refunds=refunds,
        disputes=disputes,
    )


async def _with_history(
    connection: Connection,
    project: str,
    user_key: int,
    subscriptions: Sequence[Subscription],
    payments: Payments,
) -> tuple[Subscription, ...]:
    """The subscriptions with what their invoices say, where payment or a dispute decides."""
    failing = [one.subscription_id for one in subscriptions if needs_invoices(one)]
    asked = [one.subscription_id for one in subscriptions] if payments.disputes else failing
    if not asked:
        return tuple(subscriptions)
    invoices = await money.list_invoices(connection, project, user_key, asked)
    needed = [one.invoice_id for one in invoices if one.subscription_id in failing]
    lines = await money.list_lines(connection, project, needed) if needed else {}
    whole = [msgspec.structs.replace(one, lines=tuple(lines.get(one.invoice_id, ()))) for one in invoices]
    disputes = disputes_by_invoice(payments)
    return tuple(with_history(one, whole, disputes) for one in subscriptions)


def with_history(
    subscription: Subscription, invoices: Sequence[Invoice], disputes: Mapping[str, Sequence[ChargeDispute]]
) -> Subscription:
    """The subscription with what its own of these invoices say, and what is disputed of them."""
    own = [one for one in invoices if one.subscription_id == subscription.subscription_id]
    known = with_invoices(subscription, own)
    return msgspec.structs.replace(known, disputes=disputes_of(own, disputes))
