"""Scenario tables: what they say, what is wrong with one, and how a wrong answer is shown."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from domain.model import Grant, Subscription
from domain.rules.catalog import CatalogInvalid, Scenario, encode_catalog, read_catalog_file
from domain.rules.catalog.scenario_sources import STATUSES, DisputeStatus
from domain.rules.catalog.scenarios import DEFAULT_AT
from domain.rules.disputes import is_inquiry, is_lost, is_open, is_prevented
from domain.rules.scenarios import ScenarioResult, run_scenario
from domain.rules.subscription import KNOWN_STATUSES
from tests.unit.rules.builders import CATALOG_TOML

SAMPLE = Path(__file__).parents[3] / "deploy" / "local" / "catalog.toml"


def scenario_text(*lines: str, name: str = "One") -> str:
    return f'\n[[projects.acme.scenarios]]\nname = "{name}"\n' + "\n".join(lines) + "\n"


def read_one(*lines: str) -> Scenario:
    return read_catalog_file(CATALOG_TOML + scenario_text(*lines), file="f").scenarios["acme"][0]


def run(*lines: str) -> ScenarioResult:
    found = read_catalog_file(CATALOG_TOML + scenario_text(*lines), file="f")
    return run_scenario(found.scenarios["acme"][0], found.catalogs["acme"])


def subscription(given: str) -> Subscription:
    return read_one(f"given = [{given}]", "expect = { export = true }").facts.subscriptions[0]


def refusals(*lines: str) -> list[tuple[str, str, str]]:
    with pytest.raises(CatalogInvalid) as raised:
        read_catalog_file(CATALOG_TOML + scenario_text(*lines), file="shop.toml")
    assert {error["file"] for error in raised.value.errors} == {"shop.toml"}
    return [(error["table"], error["key"], error["detail"]) for error in raised.value.errors]


# ── what is stored ──────────────────────────────────────────────────────────────────────────────────


def test_scenarios_are_no_content_of_a_catalog() -> None:
    plain = read_catalog_file(CATALOG_TOML, file="f").catalogs["acme"]
    tested = read_catalog_file(
        CATALOG_TOML + scenario_text("expect = { export = false }"), file="f"
    ).catalogs["acme"]
    assert encode_catalog(tested) == encode_catalog(plain)


def test_a_project_without_scenarios_has_none() -> None:
    assert read_catalog_file(CATALOG_TOML, file="f").scenarios == {"acme": ()}


# ── what is read ────────────────────────────────────────────────────────────────────────────────────


def test_what_is_left_out_is_the_ordinary_case() -> None:
    bought = subscription('{ subscription = "pro" }')
    assert (bought.status, bought.created_at) == ("active", DEFAULT_AT - timedelta(days=30))
    (item,) = bought.items
    assert (item.product_id, item.price_key, item.quantity, item.is_paid_for) == (
        "acme_pro",
        "month",
        1,
        True,
    )


@pytest.mark.parametrize(
    ("written", "after_s"),
    [
        ('"+7d"', 7 * 86_400),
        ('"-3d12h"', -302_400),
        ('"-30m"', -1_800),
        ('"+1h1s"', 3_601),
        ('"+0d"', 0),
        ("2026-01-02T01:00:00+01:00", 86_400),
        ("2026-01-02", 86_400),
    ],
)
def test_times_count_from_the_question_or_are_absolute(written: str, after_s: int) -> None:
    bought = subscription(f'{{ subscription = "pro", trial_end = {written} }}')
    assert bought.trial_end == DEFAULT_AT + timedelta(seconds=after_s)


def test_the_question_is_asked_at_the_named_instant() -> None:
    scenario = read_one("at = 2026-03-01T12:00:00+01:00", "expect = { export = false }")
    assert scenario.at == datetime(2026, 3, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-05:00", "0001-01-01", "2026-01-01T00:00:00", '"+1d"'])
def test_a_question_in_no_usable_year_or_without_an_offset_is_refused(at: str) -> None:
    ((_, key, detail),) = refusals(f"at = {at}", "expect = { export = false }")
    assert (key, "2026-03-01T00:00:00Z" in detail) == ("at", True)


def test_an_appeal_is_a_dispute_that_may_be_given() -> None:
    assert is_lost(_dispute("appeal_under_review"))


def test_a_purchase_captures_its_price_and_is_refunded_in_parts() -> None:
    scenario = read_one(
        "[[projects.acme.scenarios.given]]",
        'purchase = "pass"\nprice = "once"\nquantity = 2',
        'refunds = [{ amount = 100 }, { status = "failed" }]',
        "[projects.acme.scenarios.expect]",
        "export = true",
    )
    (bought,) = scenario.facts.purchases
    assert (bought.captured_minor, [refund.amount_minor for refund in bought.refunds]) == (1800, [100, 1800])
    assert bought.refunds[1].status == "failed"


def test_a_grant_names_one_target_and_its_value() -> None:
    scenario = read_one(
        'given = [{ grant = "override", feature = "seats", value = "unlimited", expires_at = "+1d" }]',
        'expect = { seats = "unlimited" }',
    )
    expected = Grant(
        grant_id="gr_1",
        effect="override",
        target_kind="feature",
        target="seats",
        created_at=DEFAULT_AT - timedelta(days=1),
        starts_at=DEFAULT_AT - timedelta(days=1),
        expires_at=DEFAULT_AT + timedelta(days=1),
    )
    assert scenario.facts.grants == (expected,)


def test_every_status_that_a_rule_judges_may_be_given() -> None:
    assert tuple(sorted(STATUSES)) == KNOWN_STATUSES


def test_every_dispute_status_that_may_be_given_is_judged() -> None:
    unjudged = {
        status
        for status in get_args(DisputeStatus)
        if not any(judge(_dispute(status)) for judge in (is_inquiry, is_lost, is_open, is_prevented))
    }
    assert unjudged == {"won", "warning_closed"}


def _dispute(status: str) -> Any:
    return subscription(f'{{ subscription = "pro", disputes = ["{status}"] }}').disputes[0]


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "key", "said"),
    [
        ('{ subscription = "prp" }', "subscription", 'did you mean "pro"?'),
        ('{ subscription = "pro", price = "yearly" }', "price", "unknown subscription price of pro"),
        ('{ subscription = "pro", status = "overdue" }', "status", "one of"),
        ('{ subscription = "pro", stat = "active" }', "stat", 'did you mean "status"?'),
        ('{ subscription = "pro", trial_end = "soon" }', "trial_end", '"+7d"'),
        ('{ subscription = "pro", trial_end = "+" }', "trial_end", '"+7d"'),
        ('{ subscription = "pro", trial_end = 2026-01-01T00:00:00 }', "trial_end", '"+7d"'),
        ('{ subscription = "pro", trial_end = 9999-12-31T23:59:59-05:00 }', "trial_end", '"+7d"'),
        ('{ subscription = "pro", trial_end = "-99999d" }', "trial_end", '"+7d"'),
        ('{ subscription = "pro", disputes = ["wonn"] }', "disputes", 'did you mean "won"?'),
        ('{ purchase = "pass" }', "price", "has several: once, week"),
        ('{ purchase = "pro" }', "purchase", "use subscription instead"),
        ('{ purchase = "founder", refunds = [{ sum = 3 }] }', "sum", "is not known here"),
        ('{ grant = "alow", feature = "sso" }', "grant", "one of"),
        ('{ grant = "allow" }', "grant", "exactly one target"),
        ('{ grant = "allow", feature = "sso", plan = "pro" }', "grant", "exactly one target"),
        ('{ grant = "allow", feature = "sos" }', "feature", 'did you mean "sso"?'),
        ('{ grant = "deny", feature = "sso", value = true }', "value", "only allow, add and override"),
        ('{ grant = "allow", feature = "seats", value = "many" }', "value", "a whole number"),
        ('{ status = "active" }', "", "exactly one of the keys"),
    ],
)
def test_a_wrong_source_is_refused_at_its_key(given: str, key: str, said: str) -> None:
    errors = refusals(f"given = [{given}]", "expect = { export = true }")
    assert errors[0][0].startswith("projects.acme.scenarios[1].given[1]")
    assert errors[0][1] == key
    assert said in errors[0][2]


@pytest.mark.parametrize(
    ("expect", "table", "key"),
    [
        ("{}", "", "expect"),
        ("{ exprt = true }", ".expect", "exprt"),
        ("{ seats = true, limit = -1 }", ".expect", "limit"),
        ("{ seats = {} }", ".expect.seats", ""),
        ('{ seats = { reason = "grace" } }', ".expect.seats", "reason"),
        ('{ seats = { ends_at = "later" } }', ".expect.seats", "ends_at"),
        ("{ seats = { value = true } }", ".expect.seats", "value"),
        ("{ seats = { valu = 3, granted = true } }", ".expect.seats", "valu"),
    ],
)
def test_a_wrong_expectation_is_refused_at_its_key(expect: str, table: str, key: str) -> None:
    assert (f"projects.acme.scenarios[1]{table}", key) in [
        (place, name) for place, name, _ in refusals(f"expect = {expect}")
    ]


def test_a_feature_that_the_app_does_not_see_is_refused() -> None:
    ((_, key, detail),) = refusals('app = "viewer"', "expect = { seats = 3 }")
    assert (key, detail) == ("seats", 'is not seen by app "viewer", only by tool')


def test_a_scenario_without_a_name_or_with_that_of_another_is_refused() -> None:
    text = CATALOG_TOML + scenario_text("expect = { export = false }") * 2
    with pytest.raises(CatalogInvalid) as raised:
        read_catalog_file(text + '[[projects.acme.scenarios]]\nat = "+1d"\n', file="f")
    places = [(error["table"], error["key"]) for error in raised.value.errors]
    assert ("projects.acme.scenarios[2]", "name") in places
    assert {("projects.acme.scenarios[3]", key) for key in ("name", "at", "expect")} <= set(places)


# ── what a run says ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "expect",
    [
        "export = true",
        "seats = 10",
        "sso = false",
        'support = "email"',
        'formats = ["pdf", "png"]',
        'seats = { granted = true, value = 10, reason = "subscription_active", ends_at = "never" }',
    ],
)
def test_an_expectation_that_holds_says_nothing(expect: str) -> None:
    result = run('given = [{ subscription = "pro", quantity = 2 }]', f"expect = {{ {expect} }}")
    assert result.is_met, result


@pytest.mark.parametrize(
    ("expect", "part", "expected", "got"),
    [
        ("seats = 5", "value", 5, 10),
        ("seats = false", "granted", False, True),
        ('support = "priority"', "value", "priority", "email"),
        ('projects = "unlimited"', "value", "unlimited", 3),
        ('seats = { reason = "in_grace" }', "reason", "in_grace", "subscription_active"),
        ('export = { ends_at = "+1d" }', "ends_at", DEFAULT_AT + timedelta(days=1), "never"),
        ('formats = ["png"]', "value", ["png"], ["pdf", "png"]),
    ],
)
def test_a_wrong_answer_is_shown_beside_the_expected_one(
    expect: str, part: str, expected: object, got: object
) -> None:
    result = run('given = [{ subscription = "pro", quantity = 2 }]', f"expect = {{ {expect} }}")
    difference = result.wrong[0].differences[0]
    assert (difference.part, difference.expected, difference.got) == (part, expected, got)


def test_a_wrong_answer_names_its_reason_and_sources() -> None:
    (wrong,) = run('given = [{ subscription = "pro" }]', "expect = { export = false, seats = 5 }").wrong[:1]
    assert (wrong.app, wrong.feature, wrong.reason) == ("tool", "export", "subscription_active")
    assert [(ref.id, ref.plan, ref.price) for ref in wrong.sources] == [("sub_1", "pro", "month")]


def test_without_an_app_every_app_that_sees_the_feature_is_asked() -> None:
    result = run("expect = { export = true }")
    assert [wrong.app for wrong in result.wrong] == ["tool", "viewer"]
    assert [wrong.app for wrong in run('app = "viewer"', "expect = { export = true }").wrong] == ["viewer"]


def test_an_enum_that_is_not_granted_has_no_value() -> None:
    (wrong,) = run('app = "tool"', 'expect = { support = "email" }').wrong
    assert wrong.differences[0].got is False


def test_the_shipped_sample_meets_its_scenarios() -> None:
    found = read_catalog_file(SAMPLE.read_text(), file="catalog.toml")
    results = [
        run_scenario(scenario, found.catalogs[project])
        for project, scenarios in found.scenarios.items()
        for scenario in scenarios
    ]
    assert [result for result in results if not result.is_met] == []
    said = " ".join(result.name for result in results).lower()
    shown = ("grace", "bundle", "extra projects", "passes", "denied", "trial", "refund")
    assert [word for word in shown if word not in said] == []
