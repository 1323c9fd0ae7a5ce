"""Bodies of deliveries end after their time; what was done with them, and could be done again, does not."""

from domain.flows.expire_payloads import Retention
from domain.flows.replay import requeue
from tests.flows.event_path import EventPath


async def bodies(path: EventPath) -> dict[str, bool]:
    rows = await path.rows("SELECT event_id, payload IS NOT NULL AS has FROM webhook_events")
    return {row["event_id"]: row["has"] for row in rows}


async def age(path: EventPath, event_id: str, *, days: float) -> None:
    await path.execute(
        "UPDATE webhook_events SET received_at = received_at - make_interval(secs => $2) WHERE event_id = $1",
        event_id,
        days * 86_400,
    )


async def put(path: EventPath, event_id: str, state: str) -> None:
    is_failed = state == "failed"
    await path.execute(
        """
        UPDATE webhook_events SET state = $2, reason = CASE WHEN $3 THEN 'a shape' END,
            done_at = CASE WHEN $3 THEN clock_timestamp() END WHERE event_id = $1
        """,
        event_id,
        state,
        is_failed,
    )


async def test_a_body_ends_after_its_time_and_a_replay_still_works(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    events = await path.events(types=["customer.subscription.created", "invoice.paid", "customer.created"])
    for event in events:
        await path.deliver(event)
    await path.drain()
    old, pending, young = (event["id"] for event in events)
    await age(path, old, days=30.1)
    await age(path, pending, days=31)
    await age(path, young, days=29.9)
    await put(path, pending, "pending")
    hashes = await path.rows("SELECT payload_sha256 FROM webhook_events ORDER BY event_id")
    clock = 0.0
    retention = Retention(path.context, batch=1, now=lambda: clock)

    assert [await retention.work() for _ in range(4)] == [0, 1, 0, 0]
    has = await bodies(path)
    assert (has[old], has[pending], has[young]) == (False, True, True)
    assert await path.rows("SELECT payload_sha256 FROM webhook_events ORDER BY event_id") == hashes

    # What was pending when the walk came by is found by the next one.
    await put(path, pending, "failed")
    assert await retention.work() == 0
    clock = 86_401.0
    assert await retention.work() == 1

    before = await path.stored()
    await put(path, old, "failed")
    assert (await requeue(path.context)).event_ids == tuple(sorted([old, pending]))
    assert len(await path.drain()) == 1
    assert await path.states() == {"processed": 3}
    assert await path.stored() == before
    assert await path.is_granted()
