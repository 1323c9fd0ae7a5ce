"""`catalog export`: the file says what Stripe has, and plans nothing; what it cannot say stands in it too."""

from pathlib import Path
from typing import Any

import pytest

from domain.errors import Invalid
from domain.flows.apply_catalog import plan_stripe
from domain.flows.check_catalog import check_catalog
from domain.flows.export_catalog import ExportedFile, export_catalog, export_state
from domain.flows.plan_catalog import plan_catalog
from domain.flows.publish_catalog import Catalog, read_catalog
from domain.rules.parity import Difference, compare_accounts
from tests.flows.catalog_world import TEXT, World

SAMPLE = (Path(__file__).parents[2] / "deploy/local/catalog.toml").read_text()
MONTHLY = {"currency": "usd", "recurring": {"interval": "month"}}
#: An account of before: what it has, and for each price what a catalog makes of it.
LEGACY: dict[str, list[dict[str, Any]]] = {
    "products": [
        {"id": "prod_gold", "name": 'Gold "24" Plan'},
        {"id": "prod_2go", "name": "2 Go"},
        {"id": "prod_past", "name": "Gold 24 plan", "active": False},
    ],
    "prices": [
        {"id": "price_gold", "product": "prod_gold", "unit_amount": 900, **MONTHLY},
        {"id": "price_dear", "product": "prod_gold", "unit_amount": 1900, **MONTHLY},
        {
            "id": "price_quarter",
            "product": "prod_gold",
            "unit_amount": 2500,
            "currency": "eur",
            "recurring": {"interval": "month", "interval_count": 3},
        },
        {"id": "price_once", "product": "prod_gold", "unit_amount": 50, "currency": "jpy"},
        {"id": "price_ended", "product": "prod_gold", "unit_amount": 1, "active": False, **MONTHLY},
        {"id": "price_tiers", "product": "prod_2go", "unit_amount": 1, **MONTHLY},
        {"id": "price_past", "product": "prod_past", "unit_amount": 700, **MONTHLY},
    ],
}


async def exported(world: World, project: str | None = None) -> tuple[dict[str, Catalog], ExportedFile]:
    file = await export_catalog(world.context, project=project)
    assert check_catalog(file.text, file="exported.toml").failed == ()
    return read_catalog(file.text, file="exported.toml"), file


async def assert_nothing_to_change(world: World, given: dict[str, Catalog]) -> None:
    planned = await plan_stripe(world.context, given)
    assert (planned.changes, planned.archives, planned.obstacles) == ((), (), ())


async def test_what_was_applied_is_exported_again_with_and_without_the_catalog_in_force(world: World) -> None:
    given = read_catalog(SAMPLE, file="catalog.toml")
    await world.apply(SAMPLE)
    catalogs, file = await exported(world)
    assert (catalogs, file.remarks) == (given, 0)
    planned = await plan_catalog(world.context, catalogs, list_at_most=0, on_progress=lambda *_: None)
    assert not planned.is_changed
    assert not (await plan_stripe(world.context, catalogs)).is_changed

    # Edited in the dashboard: the file says what is sold there, so that nothing would be set back.
    month = world.holder("acme:pro:month")
    world.put("price", month["id"], currency_options={"usd": {"unit_amount": 1900}})
    world.put("product", "acme_pro", name="Acme\nGold")
    catalogs, file = await exported(world)
    assert catalogs["acme"].plans["pro"].name == "Acme\nGold"
    assert catalogs["acme"].plans["pro"].prices["month"].amounts == {"usd": 1900}
    assert f"# {month['id']} asks for other terms" in file.text
    await assert_nothing_to_change(world, catalogs)

    # From Stripe alone: what is sold and where customers may switch; what it gives is left to be written.
    await forget_catalogs(world)
    alone, file = await exported(world)
    assert {key: sorted(one.plans) for key, one in alone.items()} == {
        key: sorted(one.plans) for key, one in given.items()
    }
    assert alone["acme"].portal == given["acme"].portal
    assert alone["acme"].plans["pro"].prices == catalogs["acme"].plans["pro"].prices
    assert file.text.count("write them") == sum(len(one.plans) for one in given.values())
    await assert_nothing_to_change(world, alone)


async def test_parity_sees_what_stripe_has_and_not_what_should_be_there(world: World) -> None:
    switching = TEXT.replace(
        "[projects.acme.apps.editor]",
        '[projects.acme.portal]\nswitch_plans = ["pro", "team"]\n[projects.acme.apps.editor]',
    )
    await world.apply(switching)
    tested = await export_state(world.context)
    assert compare_accounts(tested, await export_state(world.context)) == ()
    await world.apply(switching.replace("usd = 4900", "usd = 5900").replace("seats = 40", "seats = 50"))
    world.put("price", world.holder("acme:pro:once")["id"], active=False)
    world.put("product", "acme_pro", name="Gold")
    (portal,) = world.rows("billing_portal.configuration").values()
    features = {**portal["features"], "subscription_update": {"enabled": False, "products": []}}
    world.put("billing_portal.configuration", portal["id"], features=features)
    found = compare_accounts(tested, await export_state(world.context))
    assert [(one.place, one.noun.key, one.noun.change, *_fields(one)) for one in found] == [
        ("in force", "team", "changed", ("grants.seats", 40, 50)),
        ("in force", "team.month", "changed", ("amounts.usd", 4900, 5900)),
        ("at Stripe", "acme", "changed", ("portal.switch_plans", ("pro", "team"), ())),
        ("at Stripe", "pro", "changed", ("name", "pro", "Gold")),
        ("at Stripe", "pro.once", "removed"),
        ("at Stripe", "team.month", "changed", ("amounts.usd", 4900, 5900)),
    ]


def _fields(difference: Difference) -> list[tuple[object, ...]]:
    return [(one.field, one.before, one.after) for one in difference.noun.fields]


async def forget_catalogs(world: World) -> None:
    """As after a loss of the database: what is at Stripe is all there is."""
    async with world.context.database.transaction() as connection:
        await connection.execute("TRUNCATE catalogs CASCADE")


async def test_products_of_before_become_plans_that_change_nothing_and_lose_nothing(world: World) -> None:
    with pytest.raises(Invalid, match="--project KEY"):
        await export_catalog(world.context, project=None)
    with pytest.raises(Invalid, match="no key"):
        await export_catalog(world.context, project="Acme Inc")
    await world.stripe.seed(**LEGACY)
    world.put("price", "price_tiers", billing_scheme="tiered", unit_amount=None)
    world.put("product", "prod_gold", default_price="price_dear")
    catalogs, file = await exported(world, "old")
    plans = catalogs["old"].plans
    assert {key: plan.product_id for key, plan in plans.items()} == {
        "gold_24_plan": "prod_gold",
        "plan_2_go": "prod_2go",
        "gold_24_plan_2": "prod_past",
    }
    assert {key: price.stripe_ids for key, price in plans["gold_24_plan"].prices.items()} == {
        "month": ("price_dear",),
        "month_2": ("price_gold",),
        "month3": ("price_quarter",),
        "once": ("price_once",),
    }
    assert (plans["plan_2_go"].prices, plans["gold_24_plan_2"].prices) == ({}, {})
    for one in (*LEGACY["products"], *LEGACY["prices"]):
        assert one["id"] in file.text
    await assert_nothing_to_change(world, catalogs)

    # Beside a catalog in force they are named, and become plans only where somebody says so.
    await world.apply(TEXT)
    world.put("price", world.holder("acme:team:month")["id"], lookup_key=None)
    catalogs, file = await exported(world)
    assert catalogs == read_catalog(TEXT, file="catalog.toml")
    assert '# prod_gold (Gold "24" Plan, 5 prices) is not ours' in file.text
    assert "apply makes it" in file.text
    catalogs, file = await exported(world, "acme")
    assert {"pro", "team", "gold_24_plan", "plan_2_go"} < catalogs["acme"].plans.keys()


async def test_a_price_of_ours_on_a_product_that_is_not_keeps_its_plan(world: World) -> None:
    await world.stripe.seed(products=LEGACY["products"][:1], prices=LEGACY["prices"][:1])
    adopted = TEXT.replace(
        "[projects.acme.plans.pro]\n", '[projects.acme.plans.pro]\nstripe_product = "prod_gold"\n'
    )
    await world.apply(adopted)
    catalogs, file = await exported(world)
    assert catalogs == read_catalog(adopted, file="catalog.toml")
    assert "price_gold (usd 900 every month) is not ours" in file.text
    await forget_catalogs(world)
    alone, _ = await exported(world)
    pro = alone["acme"].plans["pro"]
    assert (pro.product_id, sorted(pro.prices)) == ("prod_gold", ["month", "once"])
    await assert_nothing_to_change(world, alone)
