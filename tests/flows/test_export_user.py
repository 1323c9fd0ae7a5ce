"""Everything that is held of a user is handed out, and nothing of another."""

import msgspec
import pytest

from domain.errors import Unknown
from domain.flows.checkout import Item, Wish, open_checkout
from domain.flows.export_user import ExportedUser, export_user
from domain.flows.grant import GrantWish, grant
from domain.flows.record_action import Operator
from domain.store.exports import SECTIONS
from domain.store.tables import metadata
from tests.flows.event_path import EventPath

ANNA = Operator(actor="cli:anna")
#: Tables that hold a user's key and are handed out under another name, or not at all.
NAMED_OTHERWISE = {
    "users": "the export itself",
    "stripe_customers": "customers",
    "checkout_sessions": "checkouts",
    "audit_log": "actions",
    "reconciliation_runs": "reconciliations",
    "checkout_turns": "a lease of seconds",
}


def test_every_table_that_names_a_user_is_in_the_export() -> None:
    holding = {table.name for table in metadata.tables.values() if "user_key" in table.columns}
    assert holding - set(SECTIONS) - set(NAMED_OTHERWISE) == set(), "say in domain/store/exports.py"
    fields = {field.name for field in msgspec.structs.fields(ExportedUser)}
    assert fields >= set(SECTIONS)


async def test_an_export_holds_every_row_of_the_user_and_of_nobody_else(path: EventPath) -> None:
    await grant(
        path.context,
        "acme",
        "u_1",
        GrantWish(effect="allow", target_kind="feature", target="export", reason="promised to Berta"),
        ANNA,
    )
    wish = Wish(
        user_id="u_1",
        items=(Item(plan="pro", price="month", quantity=1),),
        success_url="http://localhost:3000/ok",
        cancel_url="http://localhost:3000/no",
    )
    opened = await open_checkout(path.context, "acme", "editor", wish)
    await path.stripe.pay(opened.id)
    other = await path.make_customer("u_2")
    await path.buy(other)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()

    exported = await export_user(path.context, "acme", "u_1", ANNA)
    text = msgspec.json.encode(exported).decode()
    filled = (
        "customers checkouts subscriptions subscription_items invoices invoice_lines invoice_payments grants"
        " entitlements entitlement_history entitlement_changes recurring_sums payments revenue_entries events"
    )
    assert [name for name in filled.split() if not getattr(exported, name)] == []
    assert [one["stripe_session_id"] for one in exported.checkouts] == [opened.id]
    assert exported.grants[0]["reason"] == "promised to Berta"
    assert [one["action"] for one in exported.actions] == ["grant.create", "user.export"]
    assert {one.app for one in exported.answers} == {"editor", "viewer"}
    paid = next(one for one in exported.events if one["type"] == "checkout.session.completed")
    assert paid["payload"]["data"]["object"]["id"] == opened.id
    assert (other in text, "u_2" in text) == (False, False)
    for project, user in (("acme", "u_3"), ("globex", "u_1"), ("acme", "u\0")):
        with pytest.raises(Unknown):
            await export_user(path.context, project, user, ANNA)
