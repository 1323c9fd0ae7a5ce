"""Adopting a customer that we did not make."""

import asyncio

import msgspec
import pytest

from domain.errors import Conflict, Invalid, TollhouseError, Unknown
from domain.flows.adopt import Adopted, adopt
from domain.flows.record_action import Operator
from tests.flows.event_path import EventPath

OPERATOR = Operator(actor="cli:tester")


async def adopt_it(
    path: EventPath, customer: str, user_id: str = "u_1", project: str = "acme", reason: str = "imported"
) -> Adopted:
    return await adopt(path.context, customer, project, user_id, OPERATOR, reason=reason)


async def deliver_all(path: EventPath) -> None:
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def test_what_an_adopted_customer_bought_before_gives_access(path: EventPath) -> None:
    customer = await path.make_stripe_customer()
    await path.buy(customer, "pro", "month", quantity=3)
    await path.buy(customer, "pass", "once")
    await deliver_all(path)
    assert (await path.states()).get("foreign", 0) > 0
    assert await path.answer() == {}
    adopted = await adopt_it(path, customer)
    assert (adopted.state, adopted.is_primary) == ("adopted", True)
    assert adopted.reopened > 0
    await path.drain()
    answer = await path.answer()
    assert answer["seats"]["value"] == 3
    assert await path.rows("SELECT 1 FROM webhook_events WHERE state = 'foreign'") == []
    assert len(await path.rows("SELECT 1 FROM purchases")) == 1
    assert await path.count_owed() == 0


async def test_every_adoption_is_one_row_of_the_audit_log(path: EventPath) -> None:
    customer = await path.make_stripe_customer()
    await adopt_it(path, customer, reason=" moved from the old shop ")
    (row,) = await path.rows(
        "SELECT actor, action, project, subject_id, reason, details::text FROM audit_log"
        " WHERE user_key IS NOT NULL"
    )
    assert msgspec.json.decode(row.pop("details")) == {"was_linked": False, "is_primary": True}
    assert row == {
        "actor": "cli:tester",
        "action": "customer.adopt",
        "project": "acme",
        "subject_id": customer,
        "reason": "moved from the old shop",
    }


async def test_a_second_customer_does_not_become_the_primary_one(path: EventPath) -> None:
    await path.make_customer()
    adopted = await adopt_it(path, await path.make_stripe_customer())
    assert not adopted.is_primary
    rows = await path.rows("SELECT is_primary FROM stripe_customers ORDER BY is_primary")
    assert [row["is_primary"] for row in rows] == [False, True]


async def test_adopting_twice_is_a_result_and_reads_everything_again(path: EventPath) -> None:
    customer = await path.make_stripe_customer()
    await adopt_it(path, customer)
    await path.drain()
    await path.buy(customer, "pass", "once")
    assert (await adopt_it(path, customer)).state == "already"
    await path.drain()
    assert await path.is_granted()


async def test_a_customer_of_another_user_is_refused_and_nothing_is_written(path: EventPath) -> None:
    customer = await path.make_customer("u_1")
    with pytest.raises(Conflict, match="another user"):
        await adopt_it(path, customer, "u_2")
    assert await path.rows("SELECT 1 FROM audit_log WHERE user_key IS NOT NULL") == []
    assert await path.rows("SELECT 1 FROM users WHERE user_id = 'u_2'") == []


async def test_two_operators_adopting_one_customer_for_two_users_leave_one_link(path: EventPath) -> None:
    customer = await path.make_stripe_customer()
    ended = await asyncio.gather(
        *(adopt_it(path, customer, f"u_{n}") for n in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, Adopted) for one in ended) == 1
    assert all(isinstance(one, Adopted | Conflict) for one in ended), ended
    assert len(await path.rows("SELECT 1 FROM stripe_customers")) == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"project": "acmee"}, Unknown),
        ({"customer": "cus_nobody"}, Unknown),
        ({"customer": "../products"}, Invalid),
        ({"user_id": ""}, Invalid),
        ({"reason": "  "}, Invalid),
    ],
)
async def test_what_cannot_be_adopted_is_named(
    path: EventPath, changes: dict[str, str], error: type[TollhouseError]
) -> None:
    wish = {"customer": await path.make_stripe_customer(), **changes}
    with pytest.raises(error):
        await adopt_it(path, **wish)
    assert await path.rows("SELECT 1 FROM stripe_customers") == []


async def test_a_deleted_customer_is_not_adopted(path: EventPath) -> None:
    customer = await path.make_stripe_customer()
    await path.delete_customer(customer)
    with pytest.raises(Conflict, match="deleted"):
        await adopt_it(path, customer)
