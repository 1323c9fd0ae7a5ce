"""F-19: everything may be replayed, however often: no answer changes, and a dry run says so beforehand."""

from contextlib import aclosing
from typing import Any

import pytest

from domain.context import Context
from domain.errors import Invalid, Unknown
from domain.flows.inspect_events import EventQuery, follow_events, list_events, show_event
from domain.flows.record_action import Operator
from domain.flows.replay_events import Replayed, ReplayWish, replay
from tests.flows.event_path import EventPath

ANNA = Operator(actor="cli:anna")


async def live(path: EventPath) -> dict[str, str]:
    """Two users and a stranger: bought, renewed by quantity, refunded, bought once. Answers customers."""
    customers = {user: await path.make_customer(user) for user in ("u_1", "u_2")}
    customers["stranger"] = await path.make_stripe_customer()
    for customer in customers.values():
        await path.buy(customer)
    await path.buy(customers["u_2"], "pass", "once")
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    return customers


async def everything(path: EventPath) -> dict[str, Any]:
    """All that answers, history and mirror say; not when it was last read."""
    tables = {
        "entitlements": "user_key, app, first_version, last_version, catalog_version, timeline::text",
        "entitlement_history": "id, user_key, app, version, cause, body::text",
        "entitlement_changes": "id, user_key, app",
        "subscriptions": "stripe_subscription_id, status",
        "purchases": "purchase_id, paid_at",
        "revenue_entries": "object_id, kind, app, amount_minor",
    }
    return {
        name: await path.rows(f"SELECT {what} FROM {name} ORDER BY 1, 2, 3")
        if what.count(",") > 1
        else await path.rows(f"SELECT {what} FROM {name} ORDER BY 1, 2")
        for name, what in tables.items()
    }


async def replay_all(path: EventPath, **wished: Any) -> list[Replayed]:
    pages: list[Replayed] = []
    cursor: str | None = None
    while True:
        wish = ReplayWish(cursor=cursor, limit=7, **wished)
        pages.append(await replay(path.context, wish, ANNA))
        cursor = pages[-1].next_cursor
        if cursor is None:
            return pages


async def test_a_full_replay_twice_changes_nothing(path: EventPath) -> None:
    await live(path)
    before = await everything(path)
    states = await path.states()
    for _ in range(2):
        previewed = await replay_all(path, dry_run=True)
        assert [page.differences for page in previewed if page.differences] == []
        assert sum(len(page.event_ids) for page in previewed) > 10
        assert await path.states() == states, "a dry run writes nothing"
        done = await replay_all(path)
        assert sum(len(page.event_ids) for page in done) == sum(states.values()) - states.get("ignored", 0)
        await path.drain()
        assert await everything(path) == before
        assert await path.states() == states
    audited = await path.rows("SELECT action, project FROM audit_log WHERE subject_kind = 'event'")
    assert len(audited) == 2 * len(done), "one row per page, none of a dry run"


async def test_a_dry_run_shows_what_a_replay_would_change_and_writes_nothing(path: EventPath) -> None:
    await live(path)
    (subscription,) = await path.rows(
        """
        SELECT stripe_subscription_id AS id FROM subscriptions s JOIN users u USING (user_key, project)
        WHERE user_id = 'u_1'
        """
    )
    await path.delete(f"/v1/subscriptions/{subscription['id']}")
    before = await everything(path)
    query = EventQuery(project="acme", user_id="u_1")
    previewed = await replay(path.context, ReplayWish(query=query, dry_run=True), ANNA)
    changed = [one for one in previewed.differences if one.feature == "export"]
    assert [
        (one.user_id, one.before.granted, one.after.granted)
        for one in changed
        if one.before and one.after and one.app == "editor"
    ] == [("u_1", True, False)]
    assert await everything(path) == before
    assert await path.is_granted()
    done = await replay(path.context, ReplayWish(query=query), ANNA)
    assert set(done.event_ids) == set(previewed.event_ids)
    await path.drain()
    assert not await path.is_granted()


async def test_events_are_listed_and_shown_by_what_they_are_about(path: EventPath) -> None:
    customers = await live(path)

    async def ids(**asked: Any) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await list_events(path.context, EventQuery(**asked), cursor=cursor, limit=3)
            found += [event.event_id for event in page.data]
            cursor = page.next_cursor
            if cursor is None:
                return found

    all_ids = await ids()
    assert len(all_ids) == len(set(all_ids)) == sum((await path.states()).values())
    mine = await ids(project="acme", user_id="u_1")
    assert mine
    assert set(mine) == set(await ids(object_id=customers["u_1"]))
    assert set(mine) < set(await ids(project="acme")) < set(all_ids)
    assert await ids(project="globex") == []
    # Whose an event is, and the events of one user, are two statements that must say the same.
    shown = (await list_events(path.context, EventQuery(), limit=100)).data
    for user_id in ("u_1", "u_2"):
        theirs = {event.event_id for event in shown if event.user_id == user_id}
        assert theirs == set(await ids(project="acme", user_id=user_id))
    assert set(await ids(state="foreign")) & set(await ids(object_id=customers["stranger"]))
    newest = (await list_events(path.context, EventQuery(), limit=1)).data[0]
    assert newest.event_id not in await ids(until=newest.received_at)
    assert newest.event_id in await ids(since=newest.received_at)
    detail = await show_event(path.context, mine[0])
    assert (detail.event.user_id, detail.next) == ("u_1", "tollhouse explain u_1 --project acme")
    assert {one.event_id for one in detail.siblings} == set(mine) - {mine[0]}
    stranger = await show_event(path.context, (await ids(object_id=customers["stranger"]))[0])
    assert stranger.next.startswith(f"tollhouse customers adopt {customers['stranger']} ")
    with pytest.raises(Unknown):
        await show_event(path.context, mine[0], "globex")
    with pytest.raises(Unknown):
        await replay(path.context, ReplayWish(event_ids=(mine[0],)), ANNA, project="globex")


async def test_a_replay_of_what_cannot_be_is_refused(context: Context) -> None:
    for wish in (
        ReplayWish(limit=0),
        ReplayWish(cursor="1.x\0"),
        ReplayWish(cursor="none"),
        ReplayWish(event_ids=("evt_1",), query=EventQuery(state="failed")),
        ReplayWish(query=EventQuery(state="done")),
        ReplayWish(query=EventQuery(user_id="u_1")),
    ):
        with pytest.raises(Invalid):
            await replay(context, wish, ANNA)


async def test_tail_tells_each_event_of_a_burst_once(path: EventPath) -> None:
    """More events at one moment than a look takes, and than two of its overlaps take."""
    await path.rows(
        """
        INSERT INTO webhook_events (event_id, source, type, state, reason, received_at, done_at)
        SELECT 'evt_' || n, 'stripe', 'person.created', 'ignored', 'unused_type',
               clock_timestamp() + interval '2 s', clock_timestamp()
        FROM generate_series(1, 1200) n
        """
    )
    seen: list[str] = []
    async with aclosing(follow_events(path.context, EventQuery(), every_s=0.01)) as arriving:
        async for event in arriving:
            seen.append(event.event_id)
            if event.event_id == "evt_last":
                break
            if len(seen) == 1200:
                await path.rows(
                    """
                    INSERT INTO webhook_events (event_id, source, type, state, reason, received_at, done_at)
                    VALUES ('evt_last', 'stripe', 'person.created', 'ignored', 'unused_type',
                            clock_timestamp() + interval '2 s', clock_timestamp())
                    """
                )
    assert len(seen) == len(set(seen)) == 1201
