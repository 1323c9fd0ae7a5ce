"""What differs between two catalogs, and what that means for one user."""

from datetime import timedelta

import pytest

from domain.rules.catalog import Catalog
from domain.rules.catalog.diff import NounChange, diff_catalogs
from domain.rules.entitlements import compute
from domain.rules.impact import FeatureEffect, compare_sets
from tests.unit.rules.builders import CATALOG, NOW, day, facts_of, make_catalog, make_grant, make_subscription


def changes(**replacements: str) -> list[NounChange]:
    return list(diff_catalogs(CATALOG, make_catalog(**replacements)))


def effects(*sources: object, app: str = "tool", **replacements: str) -> list[FeatureEffect]:
    new = make_catalog(**replacements)
    return compare(facts_of(*sources), new, app)  # type: ignore[arg-type]  # sources of any kind


def compare(facts: object, new: Catalog, app: str) -> list[FeatureEffect]:
    old_set, new_set = (compute(facts, catalog, app, NOW) for catalog in (CATALOG, new))  # type: ignore[arg-type]  # as above
    return list(compare_sets(app, old_set, new_set, new))


# ── the catalogs ────────────────────────────────────────────────────────────────────────────────────


def test_equal_catalogs_have_no_difference() -> None:
    assert changes() == []


def test_without_a_catalog_before_everything_is_added() -> None:
    found = diff_catalogs(None, CATALOG)
    assert {change.change for change in found} == {"added"}
    assert {change.noun for change in found} == {"project", "app", "feature", "plan", "price"}


@pytest.mark.parametrize(
    ("old", "new", "noun", "key", "field", "before", "after"),
    [
        ("grace_days = 7", "grace_days = 9", "project", "acme", "policy.grace_days", 7, 9),
        ("default = 3", "default = 4", "feature", "projects", "default", 3, 4),
        ("rank = 20", "rank = 21", "plan", "pro", "rank", 20, 21),
        ("credits = 100", "credits = 99", "plan", "pro", "grants.credits", 100, 99),
        ("sso = true", "", "plan", "team", "grants.sso", True, None),
        ('projects = "unlimited"', "projects = 9", "plan", "boost", "grants.projects", "unlimited", 9),
        ("{ usd = 4900 }", "{ usd = 5900 }", "price", "team.month", "amounts.usd", 4900, 5900),
    ],
)
def test_a_change_names_noun_key_field_and_both_values(
    old: str, new: str, noun: str, key: str, field: str, before: object, after: object
) -> None:
    (change,) = changes(**{old: new})
    (one,) = change.fields
    assert (change.noun, change.key, change.change) == (noun, key, "changed")
    assert (one.field, one.before, one.after) == (field, before, after)


def test_per_unit_is_part_of_a_grant() -> None:
    ((one,),) = [
        change.fields for change in changes(**{"seats = { value = 5, per_unit = true }": "seats = 5"})
    ]
    assert (one.before, one.after) == ({"value": 5, "per_unit": True}, 5)


def test_a_plan_that_is_gone_takes_its_prices_along() -> None:
    removed = make_catalog(**{"[projects.acme.plans.founder": "[projects.acme.plans.patron"})
    found = {(change.noun, change.key): change.change for change in diff_catalogs(CATALOG, removed)}
    assert found == {
        ("plan", "founder"): "removed",
        ("plan", "patron"): "added",
        ("price", "founder.once"): "removed",
        ("price", "patron.once"): "added",
    }


# ── one user ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "new", "feature", "effect"),
    [
        ("sso = true", "", "sso", "lose"),
        ("credits = 50", "credits = 60", "credits", "more"),
        ("credits = 50", "credits = 40", "credits", "less"),
        ("credits = 50", 'credits = "unlimited"', "credits", "more"),
        ("credits = 50", "credits = 0", "credits", "lose"),
        ('support = "priority"', 'support = "email"', "support", "less"),
        ('values = ["community", "email", "priority"]', 'values = ["email", "priority", "top"]', "-", "-"),
    ],
)
def test_a_team_subscriber_notices(old: str, new: str, feature: str, effect: str) -> None:
    found = {one.feature: one.effect.value for one in effects(make_subscription(plan="team"), **{old: new})}
    assert found == ({feature: effect} if feature != "-" else {})


def test_a_grant_that_a_plan_begins_to_give_is_a_gain() -> None:
    (one,) = effects(
        make_subscription(), **{'formats = ["png", "pdf"]\n': 'formats = ["png", "pdf"]\nsso = true\n'}
    )
    assert (one.feature, one.effect, one.before.value, one.after.value) == ("sso", "gain", False, True)
    assert (one.before.reason, one.after.reason) == ("not_in_plan", "subscription_active")


@pytest.mark.parametrize(
    ("formats", "effect"),
    [('["png", "pdf", "svg"]', "more"), ('["png"]', "less"), ('["png", "gif"]', "other"), ("[]", "lose")],
)
def test_a_set_grows_shrinks_or_becomes_another(formats: str, effect: str) -> None:
    (one,) = effects(make_subscription(), app="viewer", **{'["png", "pdf"]': formats})
    assert (one.feature, one.effect) == ("formats", effect)


@pytest.mark.parametrize(("days", "effect"), [(14, "more"), (5, "less"), (1, "lose")])
def test_grace_makes_access_longer_shorter_or_ends_it(days: int, effect: str) -> None:
    late = make_subscription("past_due", first_failure_at=day(-2))
    found = effects(late, **{"grace_days = 7": f"grace_days = {days}"})
    assert {one.effect for one in found if one.feature == "export"} == {effect}


def test_more_but_for_a_shorter_time_is_neither() -> None:
    late = make_subscription("past_due", first_failure_at=day(-2))
    found = effects(late, **{"grace_days = 7": "grace_days = 5", "credits = 100": "credits = 200"})
    (credit,) = [one for one in found if one.feature == "credits"]
    assert credit.effect == "other"
    assert credit.before.ends_at == NOW + timedelta(days=5)


def test_another_type_is_neither_more_nor_less() -> None:
    typed = {
        '[projects.acme.features.sso]\ntype = "boolean"': '[projects.acme.features.sso]\ntype = "integer"'
    }
    found = effects(make_subscription(plan="team"), **typed, **{"sso = true": "sso = 3"})
    assert [(one.feature, one.effect) for one in found] == [("sso", "other")]


def test_a_reason_alone_is_no_effect() -> None:
    assert effects(make_grant(target="sso"), **{"rank = 30": "rank = 31"}) == []
    # Nobody had it, and still nobody has; only the list of plans that would give it is another.
    assert effects(**{"sso = true": ""}) == []


def test_an_app_that_is_gone_takes_everything() -> None:
    before = compute(facts_of(make_subscription()), CATALOG, "viewer", NOW)
    lost = [one.feature for one in compare_sets("viewer", before, {}, CATALOG)]
    assert lost == [key for key, answer in before.items() if answer.granted]
    assert all(one.after.reason is None for one in compare_sets("viewer", before, {}, CATALOG))
