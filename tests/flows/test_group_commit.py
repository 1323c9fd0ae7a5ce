"""Group commit: one statement for deliveries of one moment, an answer of its own for each."""

import asyncio

import msgspec
import pytest

from domain.context import Context
from domain.errors import Broken, Unavailable
from domain.flows.group_commit import MOST, GroupCommit, Stored
from domain.model import EventState, NewEvent, TargetRef
from domain.settings import Settings
from domain.store.session import Database
from tests.proxy import Proxy


def make_event(number: int, customer: str = "cus_1") -> NewEvent:
    return NewEvent(
        event_id=f"evt_{number}",
        source="stripe",
        type="customer.updated",
        state=EventState.PENDING,
        object_kind="customer",
        object_id=customer,
        target=TargetRef("customer", customer),
    )


async def rows(context: Context, sql: str) -> list[object]:
    async with context.database.connection() as connection:
        return [row[0] for row in await connection.fetch(sql)]


async def test_deliveries_of_one_moment_are_few_commits_and_each_gets_its_own_answer(
    context: Context,
) -> None:
    group = GroupCommit(context.database)
    stored = await asyncio.gather(
        *(group.mark(make_event(number, f"cus_{number % 3}"), b"") for number in range(250))
    )
    assert all(one.is_new for one in stored)
    assert len({one.owed for one in stored}) == 3
    commits = await rows(context, "SELECT count(DISTINCT xmin::text) FROM webhook_events")
    assert commits == [250 // MOST + 1]
    assert await rows(context, "SELECT dirty_seq FROM sync_targets ORDER BY stripe_id") == [84, 83, 83]


async def test_the_same_event_many_times_in_one_batch_is_new_once(context: Context) -> None:
    group = GroupCommit(context.database)
    stored = await asyncio.gather(*(group.mark(make_event(1), b"") for _ in range(30)))
    assert sum(one.is_new for one in stored) == 1
    assert await rows(context, "SELECT dirty_seq FROM sync_targets") == [1]
    (target_id,) = {one.owed for one in stored}
    assert await group.mark(make_event(1), b"") == Stored(is_new=False, owed=target_id)
    async with context.database.connection() as connection:
        await connection.execute("UPDATE sync_targets SET synced_seq = dirty_seq")
    assert await group.mark(make_event(1), b"") == Stored(is_new=False, owed=None)


async def test_an_event_postgres_refuses_does_not_take_its_batch_with_it(context: Context) -> None:
    group = GroupCommit(context.database)
    impossible = msgspec.structs.replace(make_event(2), target=None)
    first, second, third = await asyncio.gather(
        group.mark(make_event(1), b""),
        group.mark(impossible, b""),
        group.mark(make_event(3), b""),
        return_exceptions=True,
    )
    assert isinstance(first, Stored)
    assert isinstance(second, Broken)
    assert isinstance(third, Stored)
    assert sorted(map(str, await rows(context, "SELECT event_id FROM webhook_events"))) == ["evt_1", "evt_3"]


async def test_one_who_gives_up_does_not_disturb_the_others(context: Context) -> None:
    group = GroupCommit(context.database)
    leaving = asyncio.create_task(group.mark(make_event(1), b""))
    staying = asyncio.create_task(group.mark(make_event(2), b""))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).is_new
    assert (await group.mark(make_event(3), b"")).is_new


async def test_postgres_away_is_said_to_everybody_and_the_next_batch_works(settings: Settings) -> None:
    proxy = Proxy(settings.database_url.reveal())
    await proxy.start()
    database = Database(proxy.url, name="test", timeout_s=1.0)
    group = GroupCommit(database)
    await group.warm()
    await proxy.cut()
    refused = await asyncio.gather(
        *(group.mark(make_event(number), b"") for number in range(5)), return_exceptions=True
    )
    assert {type(error) for error in refused} == {Unavailable}
    with pytest.raises(Unavailable):
        await group.warm()
    await proxy.restore()
    assert (await group.mark(make_event(9), b"")).is_new
    await database.close()
    await proxy.stop()
