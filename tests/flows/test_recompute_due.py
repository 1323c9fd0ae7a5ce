"""Who is due gets a recompute: in batches, past those who fail, whoever dies, and while others read."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
import pytest

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.catalog_status import list_catalogs
from domain.flows.recompute import recompute_user
from domain.flows.recompute_due import Backlog, CaughtUp, recompute_due
from domain.store import customers, entitlements
from domain.store.session import Connection
from tests.flows.catalog_seeds import NOW, apply, recompute_all, seed_subscribers

MORE_SEATS = ("seats = { value = 5", "seats = { value = 7")


async def fetch(context: Context, sql: str, *values: object) -> list[dict[str, object]]:
    async with context.database.connection() as connection:
        return [dict(row) for row in await connection.fetch(sql, *values)]


async def execute(context: Context, sql: str, *values: object) -> None:
    async with context.database.connection() as connection:
        await connection.execute(sql, *values)


async def break_users(context: Context, users: list[int]) -> None:
    await execute(
        context, "UPDATE entitlements SET timeline = '[5]' WHERE user_key = ANY($1::bigint[])", users
    )


async def wait_until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await is_so():  # noqa: ASYNC110 - the state is the database's and has no event
            await asyncio.sleep(0.005)


async def seats(context: Context, user_id: str = "u_1") -> object:
    async with context.database.connection() as connection:
        stored = await entitlements.find_set(connection, "acme", user_id, "editor")
    assert stored is not None
    return msgspec.json.decode(stored.segments[0].entitlements)["seats"]["value"]


async def test_applying_a_catalog_recomputes_nobody_yet_and_says_who_is_behind(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 3)
    assert (await apply(context)).behind == 3
    assert await recompute_all(context) == 3
    assert (await apply(context)).behind == 0
    assert (await apply(context, MORE_SEATS)).behind == 3
    assert await seats(context) == 5


async def test_history_and_feed_say_whether_the_catalog_or_time_changed_an_answer(context: Context) -> None:
    await apply(context)
    (user,) = await seed_subscribers(context, 1)
    await recompute_all(context)
    await apply(context, MORE_SEATS)
    await recompute_all(context)
    # As if a cancellation had been answered, whose end has passed since.
    await execute(context, "UPDATE subscriptions SET cancel_at = $1", NOW + timedelta(days=1))
    await execute(
        context,
        "UPDATE users SET next_boundary_at = clock_timestamp() - interval '1 s' WHERE user_key = $1",
        user,
    )
    await recompute_all(context)
    for table in ("entitlement_history", "entitlement_changes"):
        rows = await fetch(context, f"SELECT cause FROM {table} WHERE app = 'editor' ORDER BY version")
        assert [row["cause"] for row in rows] == ["catalog", "catalog", "boundary"]


async def test_more_unreadable_users_than_a_batch_do_not_keep_a_boundary_waiting(context: Context) -> None:
    await apply(context)
    broken = await seed_subscribers(context, 7, prefix="broken")
    (well,) = await seed_subscribers(context, 1, prefix="well")
    await recompute_all(context)
    await break_users(context, broken)
    await execute(context, "UPDATE users SET next_boundary_at = now() - interval '1 day'")
    await execute(
        context, "UPDATE users SET next_boundary_at = now() - interval '1 s' WHERE user_key = $1", well
    )
    backlog = Backlog(context, first_pause_s=600)
    assert [await backlog.work(limit=5) for _ in range(3)] == [0, 1, 0]
    left = await fetch(context, "SELECT user_key FROM users WHERE next_boundary_at IS NULL")
    assert left == [{"user_key": well}]


async def test_users_behind_do_not_keep_a_boundary_waiting(context: Context) -> None:
    await apply(context)
    users = await seed_subscribers(context, 30)
    await recompute_all(context)
    await apply(context, MORE_SEATS)
    # The catalog of this user is up, and its boundary has passed.
    await execute(
        context,
        "UPDATE users SET catalog_version = 2, next_boundary_at = now() WHERE user_key = $1",
        users[-1],
    )
    assert await Backlog(context).work_boundaries(limit=5) == 1


async def test_who_failed_is_tried_again_later_and_then_done(context: Context) -> None:
    await apply(context)
    (user,) = await seed_subscribers(context, 1)
    await recompute_all(context)
    kept = await fetch(context, "SELECT app, timeline::text FROM entitlements")
    await break_users(context, [user])
    await apply(context, MORE_SEATS)
    backlog = Backlog(context, first_pause_s=0.01)
    assert await backlog.work() == 0
    for row in kept:
        await execute(
            context, "UPDATE entitlements SET timeline = $2::json WHERE app = $1", row["app"], row["timeline"]
        )
    done = 0

    async def is_done() -> bool:
        nonlocal done
        done += await backlog.work()
        return done == 1

    await wait_until(is_done)
    assert await seats(context) == 7


async def test_a_user_that_others_hold_is_skipped_and_not_waited_for(context: Context) -> None:
    await apply(context)
    held, *_ = await seed_subscribers(context, 3)
    async with context.database.transaction() as connection:
        await customers.lock_user(connection, held)
        assert await recompute_due(context) == 2
    assert await recompute_due(context) == 1


async def test_several_schedulers_share_the_work(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 60)
    done = await asyncio.gather(*(Backlog(context).work() for _ in range(3)))
    assert sum(done) == 60
    rows = await fetch(context, "SELECT count(*) AS n FROM entitlement_history WHERE app = 'editor'")
    assert rows == [{"n": 60}]


async def test_a_recompute_killed_half_way_is_continued_where_it_stopped(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 40)
    await recompute_all(context)
    await apply(context, MORE_SEATS)
    asked, is_half_way = itertools.count(), asyncio.Event()

    async def stand_still_half_way(connection: Connection) -> datetime:
        if next(asked) == 20:
            is_half_way.set()
            await asyncio.Event().wait()
        return await context.now(connection)

    half = msgspec.structs.replace(context, now=stand_still_half_way)
    killed = asyncio.create_task(Backlog(half, at_once=1).work())
    async with asyncio.timeout(30):
        await is_half_way.wait()
    killed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killed
    left = (await list_catalogs(context))[0].behind
    assert 0 < left < 40
    assert await Backlog(context).work() == left
    rows = await fetch(
        context,
        "SELECT catalog_version, count(*) AS n FROM entitlements WHERE app = 'editor' GROUP BY 1",
    )
    assert rows == [{"catalog_version": 2, "n": 40}]
    assert (await list_catalogs(context))[0].behind == 0


async def test_readers_get_the_stored_answer_while_a_recompute_is_under_way(context: Context) -> None:
    await apply(context)
    (user,) = await seed_subscribers(context, 1)
    await recompute_all(context)
    await apply(context, MORE_SEATS)
    async with context.database.transaction() as connection:
        await recompute_user(context, connection, user, cause="catalog")
        assert await seats(context) == 5
    assert await seats(context) == 7


async def test_catching_up_tells_its_progress_and_counts_who_failed(context: Context) -> None:
    await apply(context)
    broken, *_ = await seed_subscribers(context, 5)
    await recompute_all(context)
    await break_users(context, [broken])
    await apply(context, MORE_SEATS)
    told: list[tuple[int, int]] = []
    caught_up = await Backlog(context).catch_up(lambda done, total: told.append((done, total)))
    assert caught_up == CaughtUp(recomputed=4, failed=1)
    assert told[-1] == (4, 5)


async def test_catching_up_waits_for_a_user_that_somebody_else_holds(context: Context) -> None:
    await apply(context)
    (held,) = await seed_subscribers(context, 1)
    told: list[tuple[int, int]] = []
    async with context.database.transaction() as connection:
        await customers.lock_user(connection, held)
        catching = asyncio.create_task(Backlog(context).catch_up(lambda *done: told.append(done)))

        async def has_told() -> bool:
            return bool(told)

        await wait_until(has_told)
        assert not catching.done()
    assert await catching == CaughtUp(recomputed=1, failed=0)


async def test_a_user_on_a_test_clock_is_not_due_by_the_real_time(context: Context) -> None:
    await apply(context)
    (user,) = await seed_subscribers(context, 1)
    await recompute_all(context)
    await execute(
        context,
        "UPDATE users SET clock_at = '2020-01-01Z', next_boundary_at = '2020-02-01Z' WHERE user_key = $1",
        user,
    )
    assert await recompute_due(context) == 0


async def test_a_set_of_a_higher_catalog_version_is_not_overwritten(context: Context) -> None:
    await apply(context)
    (user,) = await seed_subscribers(context, 1)
    await recompute_all(context)
    await execute(context, "UPDATE entitlements SET catalog_version = 9")
    await execute(context, "UPDATE subscriptions SET status = 'canceled', ended_at = now()")
    async with context.database.transaction() as connection:
        assert (await recompute_user(context, connection, user, cause="catalog")).changed == ()
    assert await seats(context) == 5


async def test_an_outage_ends_the_round_and_the_next_one_goes_on(context: Context) -> None:
    await apply(context)
    users = await seed_subscribers(context, 6)
    backlog = Backlog(context, at_once=2, first_pause_s=600)
    await execute(
        context,
        """
        CREATE FUNCTION go_away() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'away' USING ERRCODE = 'query_canceled'; END $$
        """,
    )
    await execute(
        context,
        f"CREATE TRIGGER slow BEFORE INSERT ON entitlements FOR EACH ROW"
        f" WHEN (NEW.user_key = {users[0]}) EXECUTE FUNCTION go_away()",
    )
    with pytest.raises(Unavailable):
        await backlog.work()
    await backlog.work()
    assert [
        row["user_key"]
        for row in await fetch(context, "SELECT user_key FROM users WHERE catalog_version = 0")
    ] == [users[0]]


async def test_status_shows_the_head_and_who_is_behind(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 2)
    await recompute_all(context)
    await apply(context, MORE_SEATS)
    (row,) = await list_catalogs(context)
    assert (row.project, row.version, row.users, row.behind) == ("acme", 2, 2, 2)
