"""Find: whatever an operator has in hand leads to whose it is, and to the next command."""

import pytest

from domain.context import Context
from domain.errors import Invalid, Unknown
from domain.flows.find import find
from tests.flows.event_path import EventPath

CREATED = "customer.subscription.created"


async def test_every_id_of_a_purchase_leads_to_its_user_and_the_next_command(path: EventPath) -> None:
    customer = await path.make_customer("u_1")
    session = await path.buy(customer)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    rows = await path.rows(
        """
        SELECT stripe_subscription_id AS id FROM subscriptions
        UNION ALL SELECT stripe_item_id FROM subscription_items
        UNION ALL SELECT stripe_invoice_id FROM invoices
        UNION ALL SELECT number FROM invoices
        UNION ALL SELECT stripe_charge_id FROM payments
        UNION ALL SELECT payment_intent_id FROM payments
        """
    )
    named = ["u_1", customer, session, *(row["id"] for row in rows)]
    assert len(named) > 5
    for one in named:
        found = (await find(path.context, one)).data
        assert {(seen.standing, seen.project, seen.user_id) for seen in found} == {("ours", "acme", "u_1")}, (
            one
        )
        assert all("u_1" in seen.next or "events" in seen.next for seen in found), one
        with pytest.raises(Unknown):
            await find(path.context, one, "globex")
    event = (await path.events())[0]["id"]
    (seen,) = (await find(path.context, event)).data
    assert (seen.kind, seen.next) == ("event", f"tollhouse events show {event}")


async def test_a_stranger_is_foreign_and_seen_by_operators_of_all_alone(path: EventPath) -> None:
    stranger = await path.make_stripe_customer()
    await path.buy(stranger)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    (seen,) = (await find(path.context, stranger)).data
    assert (seen.standing, seen.user_id) == ("foreign", None)
    assert seen.next.startswith(f"tollhouse customers adopt {stranger} ")
    with pytest.raises(Unknown):
        await find(path.context, stranger, "acme")


async def test_an_e_mail_asks_stripe_for_exactly_that_one_and_is_kept_nowhere(path: EventPath) -> None:
    customer = await path.make_customer("u_1")
    email = "canary.anna@example.com"
    await path.create(f"/v1/customers/{customer}", {"email": email})
    other = await path.create("/v1/customers", {"email": email})
    page = await find(path.context, email)
    assert [(one.id, one.standing) for one in page.data] == [
        (customer, "ours"),
        (other["id"], "foreign"),
    ] or [(one.id, one.standing) for one in page.data] == [(other["id"], "foreign"), (customer, "ours")]
    assert email not in str(page)
    assert [one.id for one in (await find(path.context, email, "acme")).data] == [customer]
    with pytest.raises(Unknown) as refused:
        await find(path.context, "anna@example.com")
    assert "Stripe" in refused.value.detail
    assert "anna@" not in refused.value.detail


async def test_an_object_whose_event_never_came_is_asked_of_stripe(path: EventPath) -> None:
    customer = await path.make_customer("u_1")
    await path.buy(customer)
    (created,) = await path.events(types=["customer.subscription.created"])
    subscription = created["data"]["object"]["id"]
    (seen,) = (await find(path.context, subscription)).data
    assert (seen.state, seen.user_id) == ("at Stripe, not read here yet", "u_1")
    assert seen.next == "tollhouse users sync u_1 --project acme"


async def test_an_event_that_was_never_delivered_is_asked_of_stripe(path: EventPath) -> None:
    customer = await path.make_customer("u_1")
    stranger = await path.make_stripe_customer()
    await path.buy(customer)
    await path.buy(stranger)
    made = {one["data"]["object"]["customer"]: one["id"] for one in await path.events(types=[CREATED])}
    (seen,) = (await find(path.context, made[customer], "acme")).data
    assert (seen.kind, seen.standing, seen.user_id) == ("event", "ours", "u_1")
    assert seen.state == f"{CREATED}, at Stripe, not delivered here"
    assert seen.next == "tollhouse users sync u_1 --project acme"
    (seen,) = (await find(path.context, made[stranger])).data
    assert (seen.standing, seen.next) == ("unknown", "tollhouse scheduler run fill_gaps")
    for named, project in ((made[customer], "globex"), (made[stranger], "acme"), ("evt_nobodys", None)):
        with pytest.raises(Unknown) as refused:
            await find(path.context, named, project)
        assert "Stripe" in refused.value.detail
    with pytest.raises(Unknown) as unknown:
        await find(path.context, "u_1", "acmee")
    assert unknown.value.code == "unknown_project"


async def test_what_can_name_nothing_is_refused(context: Context) -> None:
    for named in ("", "  ", "x" * 256, "u\x00", "u\x1b[2J"):
        with pytest.raises(Invalid):
            await find(context, named)
