"""Events as endpoints of older API versions get them.

`older_shapes.json` has the names of the properties of Stripe's own sample objects, from its public OpenAPI
documents of 2025-02-24 (acacia) and 2025-08-27 (basil).
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from deploy.local.stripe_simulator.versions import API_VERSION, NAMED, payload
from domain.rules.events import Deployment, classify, read_envelope
from tests.ingress.stripe_simulator.money import buy
from tests.ingress.stripe_simulator.receiver import Receiver
from tests.ingress.stripe_simulator.sdk import Json, ask, subscribe
from tests.ingress.stripe_simulator.test_shapes import live_through_everything

OLDER: dict[str, Any] = msgspec.json.decode((Path(__file__).parent / "older_shapes.json").read_bytes())
#: What Stripe shows only of some objects, so that its samples lack it, or only when it is asked for.
SOMETIMES = {
    "amount_paid_off_stripe",
    "failure_reason",
    "plan",
    "quantity",
    "subscription_item",
    "tax_id_collection",
    "us_bank_account",
}
WHEN_ASKED = {
    "charge": {"refunds", "source"},
    "payment_intent": {"source"},
    # A bank account's method has no card.
    "payment_method": {"card"},
}
#: In the samples of basil by mistake: the invoice's `parent` names its subscription.
NOT_REALLY = {("basil", "invoice"): {"subscription"}}
OLD_AND_NEW = [*NAMED, "2022-08-01", "2019-05-16", "2017-04-06"]


async def payload_of(receiver: Receiver, sim: SimulatorHandle, event_type: str) -> Json:
    """The one event of this type that has arrived."""
    await sim.settled()
    (event,) = [event for event in receiver.events if event["type"].removeprefix("v1.") == event_type]
    return event


def objects_in(value: Any) -> list[Json]:
    if isinstance(value, list):
        return [found for each in value for found in objects_in(each)]
    if not isinstance(value, dict):
        return []
    inside = [found for each in value.values() for found in objects_in(each)]
    return [value, *inside] if isinstance(value.get("object"), str) else inside


@pytest.mark.parametrize("name", ["acacia", "2020", "2018", "2016"])
async def test_before_basil_the_period_is_on_the_subscription(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient, name: str
) -> None:
    await sim.render(version=name)
    made = await subscribe(client, "price_month")
    event = await payload_of(receiver, sim, "customer.subscription.created")
    shown, (item,) = event["data"]["object"], made["items"]["data"]
    assert event["api_version"] == NAMED[name]
    assert shown["current_period_end"] == item["current_period_end"]
    assert "current_period_end" not in shown["items"]["data"][0]
    assert shown["plan"]["id"] == shown["items"]["data"][0]["plan"]["id"] == "price_month"
    assert ("price" in shown["items"]["data"][0]) is (name in {"acacia", "2020"})


@pytest.mark.parametrize("name", ["endive", "dahlia", "clover", "basil"])
async def test_since_basil_the_period_is_on_the_items(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient, name: str
) -> None:
    await sim.render(version=name)
    await subscribe(client, "price_month")
    shown = (await payload_of(receiver, sim, "customer.subscription.created"))["data"]["object"]
    assert "current_period_end" not in shown
    assert shown["items"]["data"][0]["current_period_end"] > shown["created"]
    assert ("flexible" in shown["billing_mode"]) is (name != "basil")
    assert ("billing_schedules" in shown) is (name in {"endive", "dahlia"})


async def test_before_basil_invoice_and_charge_name_each_other(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.render(version="acacia")
    made = await subscribe(client, "price_month")
    invoice = (await payload_of(receiver, sim, "invoice.paid"))["data"]["object"]
    charge = (await payload_of(receiver, sim, "charge.succeeded"))["data"]["object"]
    intent = (await payload_of(receiver, sim, "payment_intent.succeeded"))["data"]["object"]
    assert (invoice["subscription"], invoice["paid"], "parent" in invoice) == (made["id"], True, False)
    assert (invoice["charge"], invoice["payment_intent"]) == (charge["id"], intent["id"])
    assert charge["invoice"] == intent["invoice"] == invoice["id"]
    (line,) = invoice["lines"]["data"]
    assert (line["price"]["id"], line["type"], line["proration"]) == ("price_month", "subscription", False)


async def test_in_2018_invoices_have_dates_and_are_closed(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.render(version="2018")
    await subscribe(client, "price_month")
    invoice = (await payload_of(receiver, sim, "invoice.paid"))["data"]["object"]
    assert (invoice["closed"], invoice["forgiven"], invoice["billing"]) == (
        True,
        False,
        "charge_automatically",
    )
    assert invoice["date"] <= invoice["finalized_at"]
    assert {"status", "created", "status_transitions", "auto_advance"} & invoice.keys() == set()


async def test_in_2016_a_request_is_its_id_and_a_plan_has_a_name(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.render(version="2016")
    await subscribe(client, "price_month")
    event = await payload_of(receiver, sim, "customer.subscription.created")
    assert event["request"].startswith("req_")
    assert event["data"]["object"]["plan"]["name"] == "Pro"


async def test_refund_is_listed_on_its_charge_before_2022_11_15(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.render(version="2020")
    charge = await buy(sim, client)
    refund = await ask(client, "post", "/v1/refunds", charge=charge["id"])
    shown = (await payload_of(receiver, sim, "charge.refunded"))["data"]["object"]
    assert [row["id"] for row in shown["refunds"]["data"]] == [refund["id"]]


async def test_previous_attributes_are_of_the_same_version(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.render(version="acacia")
    made = await subscribe(client, "price_month", trial_period_days=3)
    await ask(client, "post", f"/v1/subscriptions/{made['id']}", trial_end="now")
    data = (await payload_of(receiver, sim, "customer.subscription.updated"))["data"]
    former = data["previous_attributes"]
    assert former["current_period_end"] == made["items"]["data"][0]["current_period_end"]
    assert former["current_period_end"] != data["object"]["current_period_end"]
    assert former["status"] == "trialing"


async def test_each_endpoint_has_its_own_version(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    events = {"enabled_events": ["customer.subscription.created"], "url": "http://127.0.0.1:9/hook"}
    wish: Json = {**events, "api_version": "2019-05-16"}
    old = await client.v1.webhook_endpoints.create_async(wish)  # type: ignore[arg-type] # any version
    assert old.api_version == "2019-05-16"
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        await ask(client, "post", "/v1/webhook_endpoints", **events, api_version="2031-01-01")
    with pytest.raises(AssertionError, match="no webhook endpoint"):
        await sim.render(version="basil", endpoint="we_unknown")
    await sim.render(version="basil", endpoint=old.id)
    read = await ask(client, "get", f"/v1/webhook_endpoints/{old.id}")
    assert read["api_version"] == NAMED["basil"]


async def test_one_event_arrives_at_each_endpoint_as_that_one_wants_it(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    wanted = {"url": receiver.url, "enabled_events": ["customer.subscription.created"]}
    await ask(client, "post", "/v1/webhook_endpoints", **wanted, api_version="2019-05-16")
    thin = await ask(client, "post", "/v1/webhook_endpoints", **wanted)
    await sim.render(payload="thin", endpoint=thin["id"])
    await subscribe(client, "price_month")
    await sim.settled()
    arrived = [event for event in receiver.events if "subscription.created" in event["type"]]
    assert len({event["id"] for event in arrived}) == 1
    versions = {event.get("api_version", event["object"]) for event in arrived}
    assert versions == {API_VERSION, "2019-05-16", "v2.core.event"}


async def test_seeded_endpoint_may_be_of_another_version_and_thin(
    receiver: Receiver, sim: SimulatorHandle
) -> None:
    endpoint = {"url": receiver.url, "secret": "whsec_test", "api_version": "basil", "payload": "thin"}
    await sim.seed(webhook_endpoints=[endpoint])
    (row,) = sim.account.rows["webhook_endpoint"].values()
    assert row["api_version"] == NAMED["basil"]
    await sim.emit("customer.updated", {"id": "cus_1", "object": "customer"})
    await sim.settled()
    assert receiver.events[0]["related_object"]["id"] == "cus_1"
    with pytest.raises(AssertionError, match="Invalid Stripe API version"):
        await sim.seed(webhook_endpoints=[{**endpoint, "api_version": "rose"}])


async def test_events_are_listed_in_the_version_of_the_account_and_objects_in_the_pinned_one(
    sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    made = await subscribe(client, "price_month")
    assert (await ask(client, "get", "/v1/events"))["data"][0]["api_version"] == API_VERSION
    await sim.render(version="acacia")
    (event,) = (await ask(client, "get", "/v1/events", type="customer.subscription.created"))["data"]
    assert (event["api_version"], "current_period_end" in event["data"]["object"]) == (NAMED["acacia"], True)
    assert await ask(client, "get", f"/v1/events/{event['id']}") == event
    assert "current_period_end" not in await ask(client, "get", f"/v1/subscriptions/{made['id']}")


async def test_thin_event_names_its_object_only(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    await sim.render(payload="thin")
    made = await subscribe(client, "price_month")
    event = await payload_of(receiver, sim, "customer.subscription.created")
    assert (event["object"], event["type"]) == ("v2.core.event", "v1.customer.subscription.created")
    address = f"/v1/subscriptions/{made['id']}"
    assert event["related_object"] == {"id": made["id"], "type": "subscription", "url": address}
    assert "data" not in event
    assert event["created"].endswith("Z")
    header, body = receiver.received[0]
    stripe.WebhookSignature.verify_header(body.decode(), header, "whsec_test", 300)


async def test_event_emitted_by_hand_in_another_version_passes_as_it_is(
    receiver: Receiver, sim: SimulatorHandle
) -> None:
    await sim.render(version="acacia")
    await sim.emit("invoice.paid", {"object": "invoice"}, overrides={"api_version": "2019-05-16"})
    await sim.emit("test.odd", {"object": "subscription", "id": "sub_odd"})
    await sim.settled()
    assert [event["api_version"] for event in receiver.events] == ["2019-05-16", NAMED["acacia"]]
    assert receiver.events[1]["data"]["object"] == {"object": "subscription", "id": "sub_odd"}


@pytest.mark.parametrize("version", ["basil", "acacia"])
async def test_older_payloads_have_the_properties_that_stripe_had(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient, version: str
) -> None:
    await live_through_everything(sim, client)
    problems = set()
    for event in sim.account.rows["event"].values():
        for shown in objects_in(payload(sim.account, event, NAMED[version])["data"]["object"]):
            kind = shown["object"]
            if kind not in OLDER[version] or shown.get("deleted"):
                continue
            known = set(OLDER[version][kind]) - NOT_REALLY.get((version, kind), set())
            problems |= {f"{kind} has {name}" for name in shown.keys() - known - SOMETIMES}
            problems |= {
                f"{kind} lacks {name}" for name in known - shown.keys() - WHEN_ASKED.get(kind, set())
            }
    assert sorted(problems) == []


async def test_service_finds_the_same_target_in_every_version(
    receiver: Receiver, sim: SimulatorHandle, client: stripe.StripeClient
) -> None:
    ours = Deployment(sim.account_id, "test", "local")
    await live_through_everything(sim, client)
    for event in sim.account.rows["event"].values():
        found = {
            msgspec.structs.replace(classified, api_version=None)
            for classified in (
                classify(
                    read_envelope(msgspec.json.encode(payload(sim.account, event, NAMED.get(name, name)))),
                    ours,
                )
                for name in OLD_AND_NEW
            )
        }
        assert len(found) == 1, event["type"]
