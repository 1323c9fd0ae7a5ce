"""Backfill: what another system sold on the account gives access as if we had seen every event of it."""

from typing import Any

from domain.flows.backfill import Import, Mapping, begin, carry_out, list_unmapped
from domain.flows.backfill.mapping import read_mapping
from domain.flows.record_action import Operator
from tests.flows.event_path import EventPath

OPERATOR = Operator(actor="cli:tester")
#: What was read when is not what was read.
WHEN = {"read_at"}
MIRROR = (
    *("subscriptions", "subscription_items", "purchases", "invoices", "invoice_lines", "invoice_payments"),
    *("payments", "refunds", "disputes", "dispute_funds", "revenue_entries", "recurring_sums", "timers"),
)


def map_of(users: dict[str, str]) -> Mapping:
    return read_mapping(["stripe_customer_id,user_id", *(f"{one},{user}" for one, user in users.items())])


async def backfill(path: EventPath, mapping: Mapping, project: str = "acme", **wish: Any) -> Import:
    begun = await begin(path.context, project, mapping, OPERATOR, **wish)
    return await carry_out(path.context, project, begun.import_id, OPERATOR)


async def mirrored(path: EventPath) -> dict[str, list[dict[str, Any]]]:
    """Everything an import writes, without when it was read."""
    found = {}
    for table in MIRROR:
        rows = await path.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        found[table] = [{name: value for name, value in row.items() if name not in WHEN} for row in rows]
    return found


async def old_customer(path: EventPath, **metadata: str) -> str:
    """A customer of the old system with a subscription, a purchase that was refunded and one that was not."""
    customer = await path.make_stripe_customer(**metadata)
    await path.buy(customer, "pro", "month", quantity=3)
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, 'pass', 'once')}")
    await path.create("/v1/refunds", {"payment_intent": session["payment_intent"]})
    await path.buy(customer, "pass", "once")
    return customer


async def test_what_was_sold_before_gives_access_exactly_as_a_sync_would_read_it(path: EventPath) -> None:
    customers = [await old_customer(path) for _ in range(3)]
    late = await path.make_stripe_customer()
    invoice = await path.make_invoice(late, "price_acme.pass.once")
    await path.create(f"/v1/invoices/{invoice}/pay", {"paid_out_of_band": True})
    stranger = await old_customer(path)
    users = {customer: f"u_{number}" for number, customer in enumerate([*customers, late])}
    done = await backfill(path, map_of(users))
    counts = done.counts
    assert (done.state, counts.linked, counts.already, counts.unmapped) == ("done", 4, 0, 1)
    assert (counts.customers, counts.left_to_sync) == (5, 0)
    # A page of each list: no object was read by itself.
    assert counts.reads == 5
    assert [await path.is_granted(user_id=user) for user in users.values()] == [True] * 4
    assert (await path.answer("u_1"))["seats"]["value"] == 3
    assert await path.count_owed() == 0
    taken = await mirrored(path)
    versions = await path.rows("SELECT user_key, app, last_version FROM entitlements ORDER BY 1, 2")
    for customer in users:
        await path.mark("customer_all", customer)
    await path.drain()
    assert await mirrored(path) == taken
    assert await path.rows("SELECT user_key, app, last_version FROM entitlements ORDER BY 1, 2") == versions
    unmapped = [one async for one in list_unmapped(path.context, done.import_id)]
    assert [(one.customer_id, one.reason) for one in unmapped] == [(stranger, "nothing maps it")]
