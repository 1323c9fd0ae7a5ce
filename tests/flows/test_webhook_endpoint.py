"""The webhook endpoint at Stripe: made, corrected, replaced without a gap; others' are never touched."""

from typing import Any

import pytest

from domain.errors import Conflict, Unknown
from domain.flows.webhook_endpoint import retire_endpoint
from domain.rules.drift import judge_endpoints
from domain.rules.events import OLD_NAMES, USED
from domain.stripe_gateway import API_VERSION
from tests.flows.catalog_world import World

URL = "https://billing.example.com/api/v1/webhooks/stripe"
TYPES = USED.keys() - OLD_NAMES
THEIRS: dict[str, Any] = {
    "url": "https://shop.example.com/hook",
    "enabled_events": ["*"],
    "secret": "whsec_theirs",
}


def endpoints(world: World) -> dict[str, dict[str, Any]]:
    return world.rows("webhook_endpoint")


def judged(world: World, url: str) -> list[str]:
    """What reconciliation says of the same endpoints."""
    found = judge_endpoints(endpoints(world).values(), used=TYPES, version=API_VERSION, url=url)
    return [difference.type for _, difference in found]


async def test_the_endpoint_is_made_once_with_exactly_our_types_and_set_back_when_it_is_edited(
    world: World,
) -> None:
    await world.stripe.seed(webhook_endpoints=[THEIRS])
    (theirs,) = endpoints(world).values()
    here = world.set(webhook_url=URL)
    applied = await here.apply()
    assert applied.changes[-1].key == URL
    assert applied.endpoint is not None
    assert applied.endpoint.signing_secret is not None
    assert applied.endpoint.signing_secret.reveal().startswith("whsec_")
    assert applied.endpoint.signing_secret.reveal() not in repr(applied)
    made = endpoints(world)[applied.endpoint.id]
    assert (made["url"], set(made["enabled_events"]), made["api_version"]) == (URL, TYPES, API_VERSION)
    assert [one.stripe_id for one in applied.unmanaged] == [theirs["id"]]
    before = world.books(), endpoints(world)
    again = await here.apply()
    assert (again.changes, again.endpoint, again.retirable) == ((), None, ())
    assert (world.books(), endpoints(world)) == before
    assert not (await here.verify()).is_drifted

    edits: tuple[tuple[dict[str, Any], str, list[str]], ...] = (
        ({"enabled_events": ["invoice.paid"]}, "enabled_events", ["endpoint_events"]),
        # More than we use is no drift of deliveries, and still not what the code says.
        ({"enabled_events": ["*"]}, "enabled_events", []),
        ({"status": "disabled"}, "status", ["endpoint_missing"]),
    )
    for fields, field, drifts in edits:
        world.put("webhook_endpoint", made["id"], **fields)
        verified = await here.verify()
        assert verified.is_drifted
        assert [one.fields[0].field for one in verified.stripe.endpoints] == [field]
        assert judged(world, URL) == drifts
        assert (await here.apply()).endpoint is None
        assert endpoints(world)[made["id"]] == made
    assert endpoints(world)[theirs["id"]] == theirs
    # Where nobody says the URL, nothing is looked at.
    assert not (await world.verify()).stripe.is_endpoint_compared


async def test_another_api_version_is_replaced_by_a_second_endpoint_before_the_first_is_retired(
    world: World,
) -> None:
    old = {"url": URL, "enabled_events": ["*"], "secret": "whsec_old", "api_version": "2024-06-20"}
    await world.stripe.seed(webhook_endpoints=[old, THEIRS])
    old_id, theirs_id = endpoints(world)
    here = world.set(webhook_url=URL, reconcile_settle_s=0.0)
    with pytest.raises(Conflict, match="catalog apply"):
        await retire_endpoint(here.context, old_id, confirmed=None)
    applied = await here.apply()
    assert applied.endpoint is not None
    assert [(one.field, one.before, one.after) for one in applied.changes[-1].fields] == [
        ("api_version", "2024-06-20", API_VERSION)
    ]
    assert [one.stripe_id for one in applied.retirable] == [old_id]
    assert endpoints(world)[old_id]["status"] == "enabled"
    # Applying again makes no third one and takes nothing away: which secret is known here is not ours to say.
    assert (await here.apply()).changes == ()
    assert (await here.verify()).is_drifted
    assert judged(world, URL) == ["endpoint_version"]

    for other in (theirs_id, applied.endpoint.id, "we_no"):
        with pytest.raises(Unknown, match=old_id):
            await retire_endpoint(here.context, other, confirmed=None)
    # Nobody listens at these addresses: what was made since is owed.
    await world.stripe.emit("invoice.paid", {"id": "in_1", "object": "invoice"})
    with pytest.raises(Conflict, match="signing secret") as owed:
        await retire_endpoint(here.context, old_id, confirmed=None)
    assert owed.value.code == "events_owed"
    await retire_endpoint(here.context, old_id, confirmed=None, anyway=True)
    assert {name: row["status"] for name, row in endpoints(world).items()} == {
        old_id: "disabled",
        theirs_id: "enabled",
        applied.endpoint.id: "enabled",
    }
    assert not (await here.verify()).is_drifted
    assert judged(world, URL) == []

    # The deployment moves: the endpoint at the old address is ours by its metadata, and named.
    moved = world.set(webhook_url=URL.replace("billing", "money"))
    assert [one.stripe_id for one in (await moved.apply()).retirable] == [applied.endpoint.id]
