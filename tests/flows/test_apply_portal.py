"""The portal configuration of each project: made by `catalog apply`, its drift named by `verify`."""

from typing import Any

import msgspec

from domain.flows.apply_catalog import plan_stripe
from domain.flows.portal_configuration import PortalConfigurations
from domain.flows.publish_catalog import read_catalog
from domain.rules.portal_settings import portal_settings
from domain.store import billing
from tests.flows.catalog_world import TEXT, World

KIND = "billing_portal.configuration"
SWITCHING = TEXT.replace(
    "[projects.acme.apps.editor]",
    """[projects.acme.portal]
switch_plans = ["pro", "team"]
[projects.acme.apps.editor]
redirect_origins = ["https://editor.acme.example"]""",
)
DEARER = SWITCHING.replace("usd = 1900", "usd = 2900")


def configuration(world: World) -> dict[str, Any]:
    (row,) = world.rows(KIND).values()
    return row


def offered(world: World) -> dict[str, list[str]]:
    products = configuration(world)["features"]["subscription_update"]["products"]
    return {one["product"]: one["prices"] for one in products}


async def open_session(world: World) -> str:
    """The configuration that the next session of the portal would use."""
    catalog = read_catalog(SWITCHING, file="catalog.toml")["acme"]
    async with world.context.database.connection() as connection:
        heads = await billing.list_head_prices(connection, "acme", ["pro", "team"])
    return await PortalConfigurations(world.context).ensure("acme", portal_settings(catalog, heads))


async def test_the_portal_is_made_by_apply_and_is_the_one_that_sessions_open(world: World) -> None:
    planned = await plan_stripe(world.context, read_catalog(SWITCHING, file="catalog.toml"))
    (portal,) = planned.portals
    assert [(one.field, one.before, one.after) for one in portal.fields] == [
        ("switch to acme_pro", None, "new acme.pro.month"),
        ("switch to acme_team", None, "new acme.team.month"),
    ]
    assert world.books() == ({}, {}, 0)
    await world.apply(SWITCHING)
    month = world.holder("acme:pro:month")["id"]
    assert offered(world) == {"acme_pro": [month], "acme_team": [world.holder("acme:team:month")["id"]]}
    before = configuration(world), world.books()
    assert await open_session(world) == before[0]["id"]
    assert (await world.apply(SWITCHING)).changes == ()
    assert (configuration(world), world.books()) == before
    assert not (await world.verify()).is_drifted

    # A new amount is a new price, which the portal offers before the old one is archived.
    dearer = await world.apply(DEARER)
    assert [(one.action, one.noun) for one in dearer.changes] == [
        *(("create", "price"), ("update", "portal"), ("archive", "price"))
    ]
    assert offered(world)["acme_pro"] == [world.holder("acme:pro:month")["id"]] != [month]
    assert not (await world.verify()).is_drifted


async def test_what_is_edited_in_a_portal_is_named_and_set_back_and_its_texts_stay(
    world: World,
) -> None:
    await world.apply(SWITCHING)
    made = configuration(world)
    texts = {"business_profile": {**made["business_profile"], "headline": "Acme"}, "name": "Shop"}
    world.put(KIND, made["id"], default_return_url="https://editor.acme.example/account", **texts)
    theirs = {**made, "id": "bpc_theirs", "metadata": {}, "active": False}
    world.stripe.account.put(KIND, theirs)
    assert not (await world.verify()).is_drifted

    update = {**made["features"]["subscription_update"]}
    edits: tuple[tuple[dict[str, Any], str], ...] = (
        ({"active": False}, "active"),
        ({"default_return_url": "https://evil.example/"}, "default_return_url"),
        (_features(made, "subscription_cancel", mode="immediately"), "subscription_cancel.mode"),
        (_features(made, "customer_update", allowed_updates=["email"]), "customer_update.allowed_updates"),
        (_features(made, "invoice_history", enabled=False), "invoice_history.enabled"),
        (
            _features(made, "subscription_update", products=update["products"][:1]),
            "switch to acme_team",
        ),
    )
    for fields, field in edits:
        world.put(KIND, made["id"], **fields)
        verified = await world.verify()
        assert verified.is_drifted
        assert [[one.field for one in change.fields] for change in verified.stripe.portals] == [[field]]
        await world.apply(SWITCHING)
        assert not (await world.verify()).is_drifted
        row = world.rows(KIND)[made["id"]]
        assert (row["features"], row["active"], row["name"]) == (made["features"], True, "Shop"), field
    assert row["business_profile"]["headline"] == "Acme"
    assert row["default_return_url"] is None
    assert world.rows(KIND)["bpc_theirs"] == theirs


def _features(made: dict[str, Any], feature: str, **fields: Any) -> dict[str, Any]:
    features: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made["features"]))
    return {"features": {**features, feature: {**features[feature], **fields}}}
