"""`catalog plan`: who gains, loses, or gets more or less, before anything is applied; and grandfathering."""

from datetime import timedelta
from typing import Any

import msgspec

from domain.context import Context
from domain.flows.plan_catalog import CatalogPlan, Counts, plan_catalog
from domain.flows.publish_catalog import read_catalog
from domain.store import entitlements
from tests.flows.catalog_seeds import CATALOG_TOML, NOW, apply, recompute_all, seed_subscribers

GLOBEX = """
[projects.globex]
[projects.globex.apps.board]
[projects.globex.features.boards]
type = "integer"
default = 1
"""


async def plan(
    context: Context, *changes: tuple[str, str], text: str = CATALOG_TOML, list_at_most: int = 50
) -> CatalogPlan:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    given = read_catalog(text, file="catalog.toml")
    return await plan_catalog(context, given, list_at_most=list_at_most, on_progress=lambda *_: None)


async def seats(context: Context, user_id: str) -> object:
    async with context.database.connection() as connection:
        stored = await entitlements.find_set(connection, "acme", user_id, "editor")
    assert stored is not None
    answers: dict[str, Any] = msgspec.json.decode(stored.segments[0].entitlements)
    return answers["seats"]["value"]


async def rows_written(context: Context) -> list[int]:
    tables = ("catalogs", "entitlements", "entitlement_history", "entitlement_changes", "users", "apps")
    async with context.database.connection() as connection:
        return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


async def test_equal_content_plans_nothing(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 2)
    planned = await plan(context)
    assert not planned.is_changed
    assert planned.users == ()
    assert planned.projects[0].catalog == ()


async def test_a_plan_counts_users_by_feature_and_in_all(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 3, "pro")
    await seed_subscribers(context, 2, "team", prefix="team")
    planned = await plan(context, ("value = 5", "value = 9"), ("seats = 40", "seats = 30"))
    (project,) = planned.projects
    assert (project.version, project.users) == (1, 5)
    assert project.features == {"seats": Counts(more=3, less=2)}
    assert project.total == Counts(more=3, less=2)
    assert (planned.is_changed, planned.takes_away) == (True, True)


async def test_removing_a_feature_somebody_uses_is_a_loss(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 2)
    planned = await plan(
        context,
        ('[projects.acme.features.export]\ntype = "boolean"\n', ""),
        ("export = true, ", ""),
    )
    (project,) = planned.projects
    # Two apps see it, and it is one loss.
    assert project.features == {"export": Counts(lose=2)}
    assert ("feature", "export", "removed") in [
        (noun.noun, noun.key, noun.change) for noun in project.catalog
    ]
    assert {one.app for one in planned.users[0].effects} == {"editor", "viewer"}


async def test_removing_a_plan_somebody_has_is_a_loss(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 1, "team")
    await seed_subscribers(context, 1, "pro", prefix="pro")
    start = CATALOG_TOML.index("[projects.acme.plans.team]")
    planned = await plan(context, text=CATALOG_TOML[:start])
    (project,) = planned.projects
    assert project.total == Counts(lose=1, less=1, unchanged=1)
    assert project.features == {"export": Counts(lose=1, unchanged=1), "seats": Counts(less=1, unchanged=1)}
    assert [user.user_id for user in planned.users] == ["u_1"]
    seats_effect = planned.users[0].effects[-2]
    assert (seats_effect.feature, seats_effect.before.value, seats_effect.after.value) == ("seats", 40, 1)


async def test_removing_an_app_is_a_loss_of_what_it_saw(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 1)
    planned = await plan(context, ("[projects.acme.apps.viewer]\n", ""))
    assert [(one.app, one.feature, one.effect) for one in planned.users[0].effects] == [
        ("viewer", "export", "lose")
    ]


async def test_less_grace_takes_from_those_in_grace_alone(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 2)
    planned = await plan(context, ("[projects.acme]\n", "[projects.acme]\npolicy = { grace_days = 1 }\n"))
    assert planned.projects[0].total == Counts(unchanged=2)
    (change,) = planned.projects[0].catalog
    assert [(one.field, one.before, one.after) for one in change.fields] == [("policy.grace_days", 7, 1)]


async def test_one_string_for_another_may_take_something_away_and_is_listed_first(context: Context) -> None:
    text = CATALOG_TOML.replace(
        "[projects.acme.plans.pro]\ngrants = {",
        '[projects.acme.features.formats]\ntype = "set"\n'
        '[projects.acme.plans.pro]\ngrants = { formats = ["png"],',
    )
    await apply(context, text=text)
    await seed_subscribers(context, 1, "team", prefix="team")
    await seed_subscribers(context, 1, "pro")
    planned = await plan(context, ('["png"]', '["svg"]'), ("seats = 40", "seats = 50"), text=text)
    (project,) = planned.projects
    assert project.total == Counts(more=1, other=1)
    assert planned.takes_away
    assert [user.user_id for user in planned.users] == ["u_1", "team_1"]


async def test_a_plan_writes_nothing_and_waits_for_nobody(context: Context) -> None:
    await apply(context)
    users = await seed_subscribers(context, 2)
    await recompute_all(context)
    before = await rows_written(context)
    async with context.database.transaction() as connection:
        await connection.fetch("SELECT 1 FROM users WHERE user_key = ANY($1) FOR UPDATE", users)
        assert (await plan(context, ("value = 5", "value = 9"))).projects[0].total == Counts(more=2)
    assert await rows_written(context) == before


async def test_those_who_lose_are_listed_first_and_the_rest_is_counted(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 3, "pro")
    await seed_subscribers(context, 2, "team", prefix="team")
    changes = (("value = 5", "value = 9"), ("seats = 40", "seats = 30"))
    planned = await plan(context, *changes, list_at_most=3)
    assert [user.user_id for user in planned.users] == ["team_1", "team_2", "u_1"]
    assert planned.more_users == 2
    assert (await plan(context, *changes, list_at_most=0)).more_users == 5


async def test_a_project_that_does_not_change_is_not_read(context: Context) -> None:
    await apply(context, text=CATALOG_TOML + GLOBEX)
    await seed_subscribers(context, 1)
    planned = await plan(context, text=CATALOG_TOML + GLOBEX.replace("default = 1", "default = 2"))
    assert [(project.project, project.is_changed) for project in planned.projects] == [
        ("acme", False),
        ("globex", True),
    ]
    assert [project.users for project in planned.projects] == [0, 0]


async def test_a_first_catalog_is_all_new(context: Context) -> None:
    (project,) = (await plan(context)).projects
    assert (project.version, project.users, project.is_changed) == (None, 0, True)
    assert {noun.change for noun in project.catalog} == {"added"}


async def test_a_user_that_cannot_be_computed_is_named_and_stops_nobody(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 2)
    async with context.database.transaction() as connection:
        # A grace that no calendar holds.
        await connection.execute(
            "UPDATE subscriptions SET status = 'odd', last_known_status = 'active',"
            " unknown_since = '9999-12-30Z' WHERE stripe_customer_id ="
            " (SELECT 'cus_' || user_key FROM users WHERE user_id = 'u_1')"
        )
    (project,) = (await plan(context, ("value = 5", "value = 9"))).projects
    assert project.unreadable == ("u_1",)
    assert project.total == Counts(more=1)


async def test_progress_is_told_page_by_page_up_to_all_users(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 501)
    told: list[tuple[int, int]] = []
    given = read_catalog(CATALOG_TOML.replace("value = 5", "value = 9"), file="f")
    planned = await plan_catalog(
        context, given, list_at_most=0, on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(500, 501), (501, 501)]
    assert planned.projects[0].total == Counts(more=501)


# ── grandfathered plans ─────────────────────────────────────────────────────────────────────────────

KEPT = ("[projects.acme.plans.pro]\n", "[projects.acme.plans.pro]\ngrandfather = true\n")


async def set_applied(context: Context, version: int, days: int) -> None:
    async with context.database.connection() as connection:
        await connection.execute(
            "UPDATE catalogs SET applied_at = $2 WHERE version = $1", version, NOW - timedelta(days=days)
        )


async def test_a_subscriber_keeps_what_a_grandfathered_plan_gave_when_it_was_bought(context: Context) -> None:
    await apply(context, KEPT)
    await set_applied(context, 1, days=30)
    await seed_subscribers(context, 1, created_at=NOW - timedelta(days=20), prefix="early")
    await apply(context, KEPT, ("value = 5", "value = 3"))
    await set_applied(context, 2, days=10)
    await seed_subscribers(context, 1, created_at=NOW - timedelta(days=5), prefix="late")
    await recompute_all(context)
    assert (await seats(context, "early_1"), await seats(context, "late_1")) == (5, 3)
    await apply(context, KEPT, ("value = 5", "value = 4"))
    await recompute_all(context)
    assert (await seats(context, "early_1"), await seats(context, "late_1")) == (5, 3)


async def test_a_plan_knows_that_a_grandfathered_subscriber_keeps_what_was_bought(context: Context) -> None:
    await apply(context, KEPT)
    await set_applied(context, 1, days=30)
    await seed_subscribers(context, 2, created_at=NOW - timedelta(days=20))
    assert (await plan(context, KEPT, ("value = 5", "value = 3"))).projects[0].total == Counts(unchanged=2)
    without = await plan(context, ("value = 5", "value = 3"))
    assert without.projects[0].total == Counts(less=2)


async def test_dropping_a_feature_takes_it_from_grandfathered_subscribers_too(context: Context) -> None:
    await apply(context, KEPT)
    await set_applied(context, 1, days=30)
    await seed_subscribers(context, 1, created_at=NOW - timedelta(days=20))
    planned = await plan(
        context, KEPT, ('[projects.acme.features.export]\ntype = "boolean"\n', ""), ("export = true, ", "")
    )
    assert planned.projects[0].features == {"export": Counts(lose=1)}


async def test_what_is_planned_is_what_applying_does(context: Context) -> None:
    await apply(context)
    await seed_subscribers(context, 2, "pro")
    await seed_subscribers(context, 1, "team", prefix="team")
    await recompute_all(context)
    changes = (("value = 5", "value = 9"), ("seats = 40", 'seats = "unlimited"'))
    planned = await plan(context, *changes)
    await apply(context, *changes)
    await recompute_all(context)
    for user in planned.users:
        for one in user.effects:
            got = await seats(context, user.user_id)
            assert ("unlimited" if got is None else got) == one.after.value
    assert len(planned.users) == 3
