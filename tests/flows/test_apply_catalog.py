"""`catalog apply` against Stripe: made once, continued where it was killed, nobody else's objects touched."""

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from domain.context import open_context
from domain.errors import Conflict, Invalid, Unavailable
from domain.faults import Faults, parse_fault_points
from domain.flows.apply_catalog import plan_stripe
from domain.flows.publish_catalog import read_catalog
from domain.flows.webhook_endpoint import retire_endpoint
from domain.settings import Secret
from domain.store import catalogs
from tests.flows.catalog_seeds import seed_subscribers
from tests.flows.catalog_world import TEXT, World
from tests.ingress.test_cli import call

DEARER = TEXT.replace("usd = 1900", "usd = 2900")
#: Where an apply of `DEARER` over `TEXT` can die: between any two of its steps.
DEATHS = (
    "catalog.changed@create:acme.pro.month",
    "catalog.created",
    "catalog.stored",
    "catalog.recomputed",
    "catalog.changed@archive:acme.pro.month",
)
#: Ended by SIGKILL; the others by an error that nobody catches, because a process of its own takes seconds.
KILLED = ("catalog.created",)


async def test_everything_is_made_once_and_a_change_of_amount_is_a_new_revision(world: World) -> None:
    planned = await plan_stripe(world.context, read_catalog(TEXT, file="catalog.toml"))
    assert world.books() == ({}, {}, 0)
    first = await world.apply()
    assert first.changes == planned.all_changes
    assert [(one.action, one.key) for one in first.changes] == [
        ("create", "acme.pro"),
        ("create", "acme.pro.month"),
        ("create", "acme.pro.once"),
        ("create", "acme.team"),
        ("create", "acme.team.month"),
        ("create", "acme"),
    ]
    assert world.rows("product").keys() == {"acme_pro", "acme_team"}
    month = world.holder("acme:pro:month")
    amounts = {name: one["unit_amount"] for name, one in month["currency_options"].items()}
    assert (month["product"], amounts) == ("acme_pro", {"usd": 1900, "eur": 1800})
    assert world.holder("acme:pro:once")["recurring"] is None
    assert (await world.sold())["pro.month"] == (month["id"], 1, ["usd", "eur"])
    assert not (await world.verify()).is_drifted

    before, users = world.books(), await seed_subscribers(world.context, 2)
    again = await world.apply()
    assert (again.changes, again.projects["acme"].is_new) == ((), False)
    assert world.books() == before
    assert again.recomputed.recomputed == len(users)

    dearer = await world.apply(DEARER)
    assert [(one.action, one.key) for one in dearer.changes] == [
        ("create", "acme.pro.month"),
        ("archive", "acme.pro.month"),
    ]
    assert [(one.field, one.before, one.after) for one in dearer.changes[0].fields] == [
        ("amounts.usd", 1900, 2900)
    ]
    async with world.context.database.connection() as connection:
        told = await connection.fetch(
            "SELECT details::text FROM audit_log WHERE action = 'catalog.stripe' ORDER BY id"
        )
    assert [msgspec.json.decode(one["details"])["changes"] for one in told] == [
        [f"{one.action} {one.noun} {one.key}" for one in applied.changes] for applied in (first, dearer)
    ], "what is done at Stripe is told before it is done"
    newest = world.holder("acme:pro:month")
    assert newest["id"] != month["id"]
    old = world.rows("price")[month["id"]]
    assert (old["active"], old["lookup_key"]) == (False, None)
    assert (await world.sold())["pro.month"] == (newest["id"], 2, ["usd", "eur"])

    # Back within a day: another revision, not Stripe's memory of the first one.
    await world.apply()
    third = world.holder("acme:pro:month")
    assert third["id"] not in {month["id"], newest["id"]}
    assert (await world.sold())["pro.month"][:2] == (third["id"], 3)
    assert (await world.apply()).changes == ()


async def test_the_sample_is_planned_exactly_and_applying_it_again_writes_nothing(world: World) -> None:
    sample = (Path(__file__).parents[2] / "deploy/local/catalog.toml").read_text()
    await world.apply(sample)
    edited = sample.replace('name = "Acme Pro"', 'name = "Acme Pro+"')
    edited = edited.replace("amounts = { usd = 4900, eur = 4900 }", "amounts = { usd = 5900, gbp = 4500 }")
    edited = edited[: edited.index("[projects.acme.plans.founder]")] + edited[edited.index("# ── another") :]
    planned = await plan_stripe(world.context, read_catalog(edited, file="catalog.toml"))
    found = [
        (one.action, one.noun, one.key, *[(field.field, field.before, field.after) for field in one.fields])
        for one in planned.all_changes
    ]
    month, year = (world.holder(f"acme:team:{key}")["id"] for key in ("month", "year"))
    offered = [", ".join(sorted((one, year))) for one in (month, "new acme.team.month")]
    assert found == [
        ("update", "product", "acme.pro", ("name", "Acme Pro", "Acme Pro+")),
        (
            *("create", "price", "acme.team.month"),
            *(("amounts.eur", 4900, None), ("amounts.gbp", None, 4500), ("amounts.usd", 4900, 5900)),
        ),
        ("update", "portal", "acme", ("switch to acme_team", *offered)),
        ("archive", "price", "acme.team.month", ("active", True, False)),
        ("archive", "price", "acme.founder.once", ("active", True, False)),
        ("archive", "product", "acme.founder", ("active", True, False)),
    ]
    await world.apply(edited)
    counted = world.stripe.simulator.stats
    counted.clear()
    assert (await world.apply(edited)).changes == ()
    assert not (await world.verify()).is_drifted
    assert counted.calls
    assert [call for call in counted.calls if not call.startswith("GET ")] == []


async def test_what_is_edited_in_the_dashboard_is_named_and_set_back(world: World) -> None:
    await world.apply()
    month = world.holder("acme:pro:month")["id"]
    edits = (
        ("product", "acme_pro", {"name": "Gold"}, "acme.pro", "name"),
        ("product", "acme_pro", {"active": False}, "acme.pro", "active"),
        ("price", month, {"active": False}, "acme.pro.month", "active"),
        ("price", month, {"lookup_key": None}, "acme.pro.month", "lookup_key"),
    )
    # Twice: the second time is within the day in which Stripe remembers idempotency keys.
    for kind, object_id, fields, key, field in (*edits, *edits):
        world.put(kind, object_id, **fields)
        drift = await world.verify()
        assert [(one.key, one.fields[0].field) for one in drift.stripe.changes] == [(key, field)]
        assert drift.is_drifted
        await world.apply()
    assert not (await world.verify()).is_drifted
    assert world.holder("acme:pro:month")["id"] == month
    async with world.context.database.transaction() as connection:
        await connection.execute("UPDATE prices SET is_head = false WHERE price_id = $1", month)
    (elsewhere,) = (await world.verify()).sold_elsewhere
    assert (elsewhere.key, elsewhere.sold, elsewhere.at_stripe) == ("acme.pro.month", None, month)
    await world.apply()
    assert not (await world.verify()).is_drifted


async def test_what_is_not_ours_is_named_and_never_touched(world: World) -> None:
    terms = {"currency": "usd", "unit_amount": 4900, "recurring": {"interval": "month"}}
    await world.stripe.seed(
        products=[{"id": "prod_old", "name": "Old"}, {"id": "prod_else", "name": "Somebody else's"}],
        prices=[
            {"id": "price_old", "product": "prod_old", **terms},
            {"id": "price_odd", "product": "prod_old", **terms, "unit_amount": 1},
            {"id": "price_else", "product": "prod_else", **terms},
        ],
    )
    theirs = world.books()
    imported = TEXT.replace(
        "[projects.acme.plans.team]\n", '[projects.acme.plans.team]\nstripe_product = "prod_old"\n'
    ).replace("amounts = { usd = 4900 }", 'amounts = { usd = 4900 }\nstripe_ids = ["price_old"]')
    applied = await world.apply(imported)
    # The imported price asks for the same, so it is what is sold.
    assert (await world.sold())["team.month"][0] == "price_old"
    assert {one.stripe_id for one in applied.unmanaged} == {"prod_old", "price_odd"}
    for kind, before in (("product", theirs[0]), ("price", theirs[1])):
        assert isinstance(before, dict)
        assert {name: world.rows(kind)[name] for name in before} == before
    assert not (await world.verify()).is_drifted

    # Another amount is a price of ours beside it; a plan that goes takes only what is ours.
    await world.apply(imported.replace("usd = 4900", "usd = 5900"))
    assert (await world.sold())["team.month"][0] == world.holder("acme:team:month")["id"] != "price_old"
    await world.apply(TEXT[: TEXT.index("[projects.acme.plans.pro]")])
    ours = [row for row in world.rows("price").values() if row["metadata"]]
    assert ours
    assert not any(row["active"] for row in ours)
    assert world.rows("product")["acme_pro"]["active"] is False
    assert world.rows("product")["prod_old"] == theirs[0]["prod_old"]  # type: ignore[index] # rows by id


async def test_what_is_in_the_way_is_named_before_anything_is_written(world: World) -> None:
    terms = {"currency": "usd", "unit_amount": 1, "recurring": {"interval": "month"}}
    await world.stripe.seed(
        products=[{"id": "prod_else", "name": "Somebody else's"}],
        prices=[{"id": "price_else", "product": "prod_else", "lookup_key": "acme:pro:month", **terms}],
    )
    before = world.books()
    with pytest.raises(Invalid, match="price_else holds the lookup key acme:pro:month"):
        await world.apply()
    missing = TEXT.replace(
        "[projects.acme.plans.pro]\n", '[projects.acme.plans.pro]\nstripe_product = "prod_no"\n'
    )
    with pytest.raises(Invalid, match="prod_no Stripe does not have"):
        await world.apply(missing)
    assert world.books() == before
    assert await world.sold() == {}


async def test_a_price_that_is_its_products_default_can_be_archived(world: World) -> None:
    await world.apply()
    world.put("product", "acme_pro", default_price=world.holder("acme:pro:month")["id"])
    applied = await world.apply(DEARER)
    assert [one.action for one in applied.changes] == ["create", "update", "archive"]
    assert world.rows("product")["acme_pro"]["default_price"] is None
    # Of a product that is not ours it is somebody else's to change: the price is named, and nothing fails.
    newest = world.holder("acme:pro:month")["id"]
    world.put("product", "acme_pro", default_price=newest, metadata={})
    applied = await world.apply()
    assert [one.action for one in applied.changes] == ["create"]
    (note,) = [one for one in applied.unmanaged if one.stripe_id == newest]
    assert "Choose another default there" in note.detail
    assert world.rows("price")[newest]["active"] is True
    assert (await world.apply()).changes == ()


async def test_a_currency_that_somebody_adds_or_changes_is_a_difference(world: World) -> None:
    await world.apply()
    month = world.holder("acme:pro:month")
    for currency, amount, before in (("eur", 1700, 1700), ("gbp", 1500, 1500)):
        options = {**month["currency_options"], currency: {"unit_amount": amount}}
        world.put("price", month["id"], currency_options=options)
        (change,) = (await world.verify()).stripe.changes
        (field,) = change.fields
        assert (change.action, field.field, field.before) == ("create", f"amounts.{currency}", before)
    # What a price asks cannot be set back: a new revision asks for what the catalog says.
    assert [one.action for one in (await world.apply()).changes] == ["create", "archive"]
    assert not (await world.verify()).is_drifted


async def test_live_mode_wants_the_name_of_the_environment_and_no_environment_of_tests(world: World) -> None:
    before = world.books()
    live = msgspec.structs.replace(world.context.settings, stripe_secret_key=Secret("sk_live_x"))
    for env, confirmed, code in (
        ("test", "test", "live_key_in_test"),
        ("production", None, "not_confirmed"),
        ("production", "prod", "not_confirmed"),
    ):
        settings = msgspec.structs.replace(live, env=env)
        async with open_context("stripe-cli", settings) as context:
            with pytest.raises(Conflict) as refused:
                await World(context, world.stripe).apply(confirmed=confirmed)
            assert refused.value.code == code
            with pytest.raises(Conflict) as refused:
                await retire_endpoint(context, "we_1", confirmed=confirmed)
            assert refused.value.code == code
    assert world.books() == before


async def test_an_apply_that_ended_between_any_two_steps_is_finished_by_the_next(
    world: World, tmp_path: Path
) -> None:
    """The dearer and the cheaper file in turn: each end is in the middle of a whole change."""
    await world.apply()
    await seed_subscribers(world.context, 2)
    for turn, point in enumerate(DEATHS, start=1):
        text = DEARER if turn % 2 else TEXT
        if point in KILLED:
            await kill(world, tmp_path, text, point)
        else:
            await fail(world, text, point)
        finished = await world.apply(text)
        assert not (await world.verify()).is_drifted, point
        # Begun again, not twice: one price per change of amount.
        named = [(row, row["metadata"]["tollhouse_price"]) for row in world.rows("price").values()]
        mine = [row for row, key in named if (row["product"], key) == ("acme_pro", "month")]
        assert (len(mine), sum(row["active"] for row in mine)) == (1 + turn, 1), point
        assert (await world.sold())["pro.month"][:2] == (world.holder("acme:pro:month")["id"], 1 + turn)
        assert finished.projects["acme"].version == 1 + turn
        assert finished.recomputed.failed == 0


async def test_of_two_applies_at_once_one_is_refused_before_anything_is_written(world: World) -> None:
    """The slower one would sell a price that the other has just archived."""
    other = await world.context.database.open_session(lambda: None, {})
    with other.use() as connection:
        assert await catalogs.take_apply(connection)
    with pytest.raises(Conflict, match="Another catalog apply is at work"):
        await world.apply()
    assert (world.rows("product"), await world.sold()) == ({}, {})
    other.cut()
    await world.apply()
    assert not (await world.verify()).is_drifted


async def kill(world: World, directory: Path, text: str, point: str) -> None:
    """SIGKILL to the command itself."""
    (file := directory / "catalog.toml").write_text(text)
    environ = {
        "TOLLHOUSE_STRIPE_SECRET_KEY": world.stripe.secret_key,
        "TOLLHOUSE_STRIPE_API_BASE": world.stripe.url,
        "TOLLHOUSE_STRIPE_RATE": "0",
        "TOLLHOUSE_FAULT_POINTS": f"{point}=kill:1",
    }
    words = ("catalog", "apply", str(file))
    died = await asyncio.to_thread(call, world.context.settings, *words, **environ)
    assert died.returncode == -signal.SIGKILL, (point, died.stderr)


async def fail(world: World, text: str, point: str) -> None:
    """An error at the same place, which nobody catches: the same is done, and it costs no process."""
    faulty = msgspec.structs.replace(world.context, faults=Faults(parse_fault_points(f"{point}=raise:1")))
    with pytest.raises(Unavailable, match="A test made"):
        await World(faulty, world.stripe).apply(text)
