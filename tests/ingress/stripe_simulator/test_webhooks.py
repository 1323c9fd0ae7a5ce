import time
from itertools import pairwise

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.receiver import Receiver
from tests.ingress.stripe_simulator.sdk import Json, ask, open_session


async def emit_many(sim: SimulatorHandle, number: int) -> list[str]:
    return [(await sim.emit("test.happened", {"id": f"obj_{n}"}))["id"] for n in range(number)]


async def test_event_arrives_signed_for_the_sdk(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    customer = await ask(client, "post", "/v1/customers", email="a@example.com")
    await receiver.wait_for(1)
    header, body = receiver.received[0]
    event = stripe.Webhook.construct_event(body, header, "whsec_test")
    assert (event.type, event.data.object["id"]) == ("customer.created", customer["id"])
    assert (event.livemode, event.pending_webhooks) == (False, 1)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, header, "whsec_other")


async def test_delivered_event_is_a_delivery_success(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await ask(client, "post", "/v1/customers")
    await sim.settled()
    for success, number in ((True, 1), (False, 0)):
        listed = await ask(client, "get", "/v1/events", delivery_success=success)
        assert len(listed["data"]) == number
    assert (await sim.stats())["deliveries"] == {"attempted": 1, "ok": 1, "failed": 0, "dropped": 0}


async def test_every_answer_but_2xx_is_tried_again_with_growing_waits(
    receiver: Receiver, sim: SimulatorHandle
) -> None:
    receiver.statuses = [500, 302, 400]
    await sim.emit("test.happened", {"id": "obj_1"})
    await receiver.wait_for(4)
    await sim.settled()
    tries = await sim.deliveries(type="test.happened")
    assert [entry["status"] for entry in tries] == [500, 302, 400, 200]
    assert [entry["attempt"] for entry in tries] == [1, 2, 3, 4]
    starts = [entry["started_at"] for entry in tries]
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert [wait >= least for wait, least in zip(waits, (0.02, 0.04, 0.08), strict=True)] == [True] * 3
    first = (await sim.stats())["first_delivery"][tries[0]["event_id"]]
    assert first == {"type": "test.happened", "at": starts[0]}
    signatures = {header for header, _body in receiver.received}
    assert len({body.replace(b'"pending_webhooks":1', b"") for _header, body in receiver.received}) == 1
    assert signatures


async def test_delivery_is_given_up_after_its_last_attempt_and_stays_listed_as_failed(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    receiver.statuses = [500] * 4
    event = await sim.emit("test.happened", {"id": "obj_1"})
    await receiver.wait_for(4)
    await sim.settled()
    failed = await ask(client, "get", "/v1/events", delivery_success=False)
    assert [row["id"] for row in failed["data"]] == [event["id"]]
    assert len(receiver.received) == 4


async def test_endpoint_that_is_away_or_slow_is_tried_again(sim: SimulatorHandle, receiver: Receiver) -> None:
    away = "http://127.0.0.1:9/hook"
    closed = {"url": away, "secret": "whsec_test", "enabled_events": ["test.away"]}
    await sim.seed(webhook_endpoints=[closed])
    event = await sim.emit("test.away", {"id": "obj_1"})
    await sim.settled()
    tries = await sim.deliveries(url=away)
    assert [entry["status"] for entry in tries] == [None] * 4
    assert "Connect" in tries[0]["error"]
    row = sim.account.load("event", event["id"])
    assert row["pending_webhooks"] == 1
    receiver.latency_s = 1.3
    await sim.emit("test.slow", {"id": "obj_2"})
    await receiver.wait_for(2)
    receiver.latency_s = 0
    await sim.settled()
    first = (await sim.deliveries(type="test.slow"))[0]
    assert (first["status"], "Timeout" in first["error"]) == (None, True)


async def test_slow_endpoint_does_not_hold_up_the_api(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    receiver.latency_s = 0.4
    begin = time.perf_counter()
    for _ in range(5):
        await ask(client, "post", "/v1/customers")
    assert time.perf_counter() - begin < 0.4
    await receiver.wait_for(5)
    receiver.latency_s = 0
    await sim.settled()


async def test_endpoint_gets_only_what_it_wants(sim: SimulatorHandle, receiver: Receiver) -> None:
    wanted = {"url": receiver.url, "secret": "whsec_test", "enabled_events": ["test.wanted"]}
    await sim.seed(webhook_endpoints=[wanted])
    unwanted = await sim.emit("test.unwanted", {"id": "obj_1"})
    await sim.emit("test.wanted", {"id": "obj_2"})
    await sim.settled()
    assert [event["type"] for event in receiver.events] == ["test.wanted"]
    assert unwanted["pending_webhooks"] == 0


async def test_duplicate_sends_each_event_n_times(receiver: Receiver, sim: SimulatorHandle) -> None:
    await sim.deliver(duplicate=3)
    ids = await emit_many(sim, 4)
    await receiver.wait_for(12)
    await sim.settled()
    arrived = [event["id"] for event in receiver.events]
    assert {event_id: arrived.count(event_id) for event_id in ids} == dict.fromkeys(ids, 3)


async def test_shuffle_gathers_and_sends_all_in_another_order(
    receiver: Receiver, sim: SimulatorHandle
) -> None:
    await sim.deliver(mode="shuffle", duplicate=2, window_s=0.15, seed=7)
    begin = time.time()
    ids = await emit_many(sim, 12)
    await receiver.wait_for(24)
    await sim.settled()
    started = [entry["event_id"] for entry in await sim.deliveries()]
    assert sorted(started) == sorted(ids * 2)
    assert list(dict.fromkeys(started)) != ids
    assert min(entry["started_at"] for entry in await sim.deliveries()) >= begin + 0.15


async def test_burst_gathers_and_sends_all_at_one_moment(receiver: Receiver, sim: SimulatorHandle) -> None:
    await sim.deliver(mode="burst", window_s=0.15)
    begin = time.time()
    ids = await emit_many(sim, 12)
    await receiver.wait_for(12)
    await sim.settled()
    sent = await sim.deliveries()
    assert {entry["event_id"] for entry in sent} == set(ids)
    assert min(entry["started_at"] for entry in sent) >= begin + 0.15


async def test_dropped_event_is_never_sent_but_can_be_listed_as_undelivered(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.deliver(drop=1.0)
    dropped = await sim.emit("test.lost", {"id": "obj_1"})
    await sim.deliver()
    await sim.emit("test.sent", {"id": "obj_2"})
    await sim.settled()
    assert [event["type"] for event in receiver.events] == ["test.sent"]
    undelivered = await ask(client, "get", "/v1/events", delivery_success=False)
    assert [row["id"] for row in undelivered["data"]] == [dropped["id"]]
    assert (await sim.stats())["deliveries"]["dropped"] == 1


async def test_delay_holds_events_back(receiver: Receiver, sim: SimulatorHandle) -> None:
    await sim.deliver(delay_s=0.2)
    begin = time.time()
    await sim.emit("test.late", {"id": "obj_1"})
    await sim.settled()
    (entry,) = await sim.deliveries(type="test.late")
    assert entry["started_at"] >= begin + 0.2


@pytest.mark.parametrize("wish", [{"mode": "chaos"}, {"drop": 2}, {"duplicate": 0}, {"speed": 1}])
async def test_impossible_delivery_mode_is_refused(sim: SimulatorHandle, wish: Json) -> None:
    with pytest.raises(AssertionError, match="400"):
        await sim.deliver(**wish)


async def test_secret_of_an_endpoint_is_told_once(
    sim: SimulatorHandle, client: stripe.StripeClient, receiver: Receiver
) -> None:
    created = await client.v1.webhook_endpoints.create_async(
        {"url": receiver.url, "enabled_events": ["customer.created"]}
    )
    assert (created.secret or "").startswith("whsec_")
    path = f"/v1/webhook_endpoints/{created.id}"
    assert "secret" not in await ask(client, "get", path)
    await ask(client, "post", path, disabled=True)
    await ask(client, "post", "/v1/customers")
    await sim.settled()
    assert [entry["url"] for entry in await sim.deliveries(endpoint=created.id)] == []
    await ask(client, "post", path, disabled=False)
    await ask(client, "post", "/v1/customers")
    await sim.settled()
    assert len(await sim.deliveries(endpoint=created.id)) == 1
    mine = [header for header, body in receiver.received if is_signed_with(created.secret, header, body)]
    assert len(mine) == 1
    assert (await client.v1.webhook_endpoints.delete_async(created.id)).deleted is True


def is_signed_with(secret: str | None, header: str, body: bytes) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body.decode(), header, secret or "", 300)
    except stripe.SignatureVerificationError:
        return False
    return True


async def test_events_are_filtered_by_at_most_twenty_types(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    for name in ("a.one", "a.two", "a.three"):
        await sim.emit(name, {"id": "obj_1"})
    listed = await ask(client, "get", "/v1/events", types=["a.one", "a.three"])
    assert [event["type"] for event in listed["data"]] == ["a.three", "a.one"]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "get", "/v1/events", types=[f"a.{n}" for n in range(21)])
    assert caught.value.param == "types"


async def test_events_older_than_thirty_days_are_gone(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    old = {"created": int(time.time()) - 31 * 86400}
    event = await sim.emit("a.old", {"id": "obj_1"}, overrides=old)
    assert (await ask(client, "get", "/v1/events"))["data"] == []
    with pytest.raises(stripe.InvalidRequestError, match="No such event"):
        await ask(client, "get", f"/v1/events/{event['id']}")


async def test_whole_purchase_arrives_shuffled_and_twice(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.deliver(mode="shuffle", duplicate=2, window_s=0.05)
    session = await open_session(client, "price_month")
    await sim.pay(session["id"])
    await receiver.wait_for(26)
    await sim.settled()
    arrived = [event["type"] for event in receiver.events]
    assert arrived.count("checkout.session.completed") == 2
    assert arrived.count("customer.subscription.created") == 2
    assert len(arrived) == 26
