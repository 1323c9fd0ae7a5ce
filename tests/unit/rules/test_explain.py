"""An explanation: the rule applied, every source with its fate, the arithmetic, and what would change it."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from domain.errors import Unknown
from domain.model import Facts, FeatureValue, Grant, Purchase, Reason, Subscription
from domain.rules.applied import OVERRIDDEN_TO_NOTHING, RULES
from domain.rules.catalog import Catalog
from domain.rules.entitlements import compute
from domain.rules.explain import Explanation, existing_at, explain
from domain.rules.outcomes import SENTENCES, Arithmetic, SourceOutcome
from tests.unit.rules.any_facts import facts, instants
from tests.unit.rules.builders import (
    CATALOG,
    NOW,
    day,
    facts_of,
    make_dispute,
    make_grant,
    make_item,
    make_purchase,
    make_refund,
    make_subscription,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "entitlements.md"


def why(
    feature: str,
    *sources: Subscription | Purchase | Grant,
    app: str = "tool",
    catalog: Catalog = CATALOG,
    visible_only: bool = True,
) -> Explanation:
    found = explain(facts_of(*sources), catalog, app, feature, NOW, visible_only=visible_only)
    assert found.verdict == compute(facts_of(*sources), catalog, app, NOW)[feature]
    return found


def fates(explanation: Explanation) -> dict[str, tuple[str, str]]:
    return {one.source.id: (one.outcome, one.why) for one in explanation.sources}


def sub(number: int, status: str = "active", plan: str = "pro", **fields: Any) -> Subscription:
    return make_subscription(status, plan=plan, subscription_id=f"sub_{number}", **fields)


def grant(number: int, effect: str, target: str, **fields: Any) -> Grant:
    return make_grant(effect, target, grant_id=f"gr_{number}", **fields)


def only(explanation: Explanation) -> SourceOutcome:
    (one,) = explanation.sources
    return one


# ── the rule applied ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_names_a_rule_under_a_heading_of_the_document(reason: Reason) -> None:
    headings = re.findall(r"^## (.+)$", DOCUMENT.read_text(), flags=re.MULTILINE)
    assert RULES[reason].section in headings
    assert RULES[reason].sentence.endswith(".")


def test_rules_have_names_of_their_own() -> None:
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        ((sub(1),), "subscription.active"),
        ((sub(1, "trialing", trial_end=day(3)),), "subscription.trial"),
        ((sub(1, "past_due", first_failure_at=day(-2)),), "subscription.grace"),
        ((sub(1, "past_due", first_failure_at=day(-9)),), "subscription.past_due"),
        ((sub(1, "incomplete"),), "subscription.incomplete"),
        ((make_purchase(),), "purchase.paid"),
        ((make_purchase(refunds=(make_refund(900),)),), "purchase.refunded"),
        ((make_purchase(disputes=(make_dispute("lost"),)),), "payment.disputed"),
        ((grant(1, "allow", "export"),), "grant.gives"),
        ((grant(1, "deny", "export"),), "grant.deny"),
        ((grant(1, "override", "export", value=False),), "grant.override_to_nothing"),
        ((grant(1, "override", "export", value=True),), "grant.override"),
        ((), "catalog.no_source"),
    ],
)
def test_the_rule_is_the_one_that_decided(
    sources: tuple[Subscription | Purchase | Grant, ...], name: str
) -> None:
    assert why("export", *sources).rule.name == name


def test_the_default_of_the_catalog_is_named_where_it_stands() -> None:
    found = why("projects")
    assert (found.rule.name, found.default, found.sources) == ("catalog.default", 3, ())


# ── who won, who lost, and why ──────────────────────────────────────────────────────────────────────


def test_every_source_is_listed_with_its_fate() -> None:
    found = why(
        "seats",
        sub(1),
        sub(2, plan="team", created_at=day(-30)),
        sub(3, "canceled", ended_at=day(-1)),
        grant(1, "add", "seats", value=2),
        grant(2, "allow", "sso"),
    )
    assert fates(found) == {
        "sub_1": ("loses", "lower_value"),
        "sub_2": ("wins", "highest"),
        "sub_3": ("loses", "not_in_force"),
        "gr_1": ("wins", "summed"),
        "gr_2": ("loses", "other_features"),
    }
    values = {one.source.id: one.value for one in found.sources}
    assert values == {"sub_1": 5, "sub_2": 40, "sub_3": 5, "gr_1": 2, "gr_2": UNSET}


def test_winners_are_the_sources_that_the_answer_names() -> None:
    sources = (sub(1), sub(2, plan="team"), make_purchase(), grant(1, "add", "seats", value=2))
    for feature in CATALOG.features_by_app["tool"]:
        found = why(feature.key, *sources)
        won = {one.source.id for one in found.sources if one.outcome == "wins"}
        assert won == {ref.id for ref in found.verdict.sources}, feature.key


def test_a_deny_wins_and_says_what_it_beats() -> None:
    found = why("export", sub(1), grant(1, "deny", "export"))
    assert fates(found) == {"sub_1": ("loses", "denied"), "gr_1": ("wins", "denies")}
    assert found.sources[0].sentence == "would give true, but a deny beats it"


def test_the_oldest_override_wins_over_sources_and_younger_overrides() -> None:
    older = grant(1, "override", "seats", value=3, created_at=day(-9))
    found = why("seats", sub(1), older, grant(2, "override", "seats", value=9))
    assert fates(found) == {
        "sub_1": ("loses", "overridden"),
        "gr_1": ("wins", "overrides"),
        "gr_2": ("loses", "older_override"),
    }


def test_an_add_on_without_its_plan_says_which_one_it_needs() -> None:
    one = only(why("seats", sub(1, plan="extra")))
    assert (one.outcome, one.why) == ("loses", "requirement_missing")
    assert "requires pro" in one.sentence


def test_an_item_of_quantity_zero_is_said_to_give_nothing() -> None:
    found = why("seats", sub(1, items=(make_item(quantity=0),)), visible_only=False)
    assert only(found).why == "gives_nothing"


@pytest.mark.parametrize(
    ("feature", "app", "whys"),
    [
        ("export", "tool", ["gives", "gives"]),
        ("support", "tool", ["lower_value", "highest"]),
        ("formats", "viewer", ["joins", "joins"]),
        ("credits", "tool", ["summed", "summed"]),
        ("limit", "tool", ["lower_value", "highest"]),
    ],
)
def test_each_type_says_in_its_own_way_why_a_source_won(feature: str, app: str, whys: list[str]) -> None:
    found = why(feature, sub(1), sub(2, plan="team", created_at=day(-30)), app=app)
    assert [one.why for one in found.sources] == whys


def test_a_deny_that_has_ended_takes_nothing() -> None:
    one = only(why("export", grant(1, "deny", "export", revoked_at=day(-1))))
    assert (one.outcome, one.why, one.sentence) == ("loses", "not_in_force", "takes nothing now: revoked")


def test_the_source_whose_refusal_is_the_reason_is_marked() -> None:
    found = why("export", sub(1, "past_due", first_failure_at=day(-9)), sub(2, "canceled", ended_at=day(-1)))
    assert {one.source.id: one.gives_reason for one in found.sources} == {"sub_1": True, "sub_2": False}


def test_a_price_that_nobody_knows_is_listed_for_every_feature() -> None:
    unknown = make_item(price_id="price_x", product_id="prod_x", price_key=None, revision=None)
    one = only(why("sso", sub(1, items=(unknown,))))
    assert (one.why, one.gives_reason, one.life[0].reason) == ("not_in_force", True, Reason.PRICE_UNMAPPED)


def test_a_source_is_shown_with_its_whole_life() -> None:
    one = only(why("export", sub(1, "past_due", first_failure_at=day(-2))))
    assert [(part.begins_at, part.ends_at, part.is_live, part.reason) for part in one.life] == [
        (None, day(5), True, Reason.IN_GRACE),
        (day(5), None, False, Reason.PAYMENT_PAST_DUE),
    ]


# ── what an app may see ─────────────────────────────────────────────────────────────────────────────


def test_an_app_does_not_see_a_source_without_a_feature_of_its_own() -> None:
    sources = (sub(1), grant(1, "allow", "seats", value=9), grant(2, "deny", "viewer", target_kind="app"))
    assert set(fates(why("export", *sources, app="viewer"))) == {"sub_1", "gr_2"}
    assert set(fates(why("export", *sources, app="viewer", visible_only=False))) == {"sub_1", "gr_1", "gr_2"}


# ── arithmetic ──────────────────────────────────────────────────────────────────────────────────────


def test_the_arithmetic_of_an_integer_is_shown() -> None:
    found = why(
        "seats",
        sub(1, items=(make_item(), make_item("extra"))),
        sub(2, plan="team"),
        grant(1, "add", "seats", value=2),
    )
    sums = found.arithmetic
    assert sums is not UNSET
    assert (sums.default, sums.compared, sums.summed, sums.added) == (UNSET, (5, 40), (10,), (2,))
    assert sums.value == found.verdict.value == 52
    assert sums.sentence == "largest of 5, 40 + 10 (extra) + 2 (grant gr_1) = 52"


def test_what_is_added_to_the_default_is_shown() -> None:
    sums = why("projects", grant(1, "add", "projects", value=2)).arithmetic
    assert sums is not UNSET
    assert (sums.default, sums.added, sums.value) == (3, (2,), 5)
    assert sums.sentence == "default 3 + 2 (grant gr_1) = 5"


def test_a_sum_of_everything_begins_without_a_sign() -> None:
    sums = why("credits", sub(1), sub(2, plan="team")).arithmetic
    assert sums is not UNSET
    assert sums.sentence == "100 (pro) + 50 (team) = 150"


def test_nothing_can_be_added_to_unlimited() -> None:
    found = why("seats", grant(1, "allow", "seats"), sub(1), grant(2, "add", "seats", value=2))
    assert found.arithmetic is not UNSET
    assert found.arithmetic.sentence == "unlimited beats every number"
    assert fates(found) == {
        "gr_1": ("wins", "unlimited"),
        "sub_1": ("loses", "lower_value"),
        "gr_2": ("loses", "nothing_to_add_to"),
    }


@pytest.mark.parametrize("feature", ["export", "support"])
def test_only_integers_have_arithmetic(feature: str) -> None:
    assert why(feature, sub(1)).arithmetic is UNSET


def test_a_denied_integer_has_no_arithmetic() -> None:
    assert why("seats", sub(1), grant(1, "deny", "seats")).arithmetic is UNSET


# ── what would change it ────────────────────────────────────────────────────────────────────────────


def test_grace_says_when_it_ends_and_what_follows() -> None:
    found = why("export", sub(1, "past_due", first_failure_at=day(-2)))
    (change,) = found.next_changes
    assert (change.at, change.granted, change.reason) == (day(5), False, Reason.PAYMENT_PAST_DUE)
    assert found.would_change == (f"At {day(5).isoformat()} it ends by itself: payment_past_due.",)


def test_a_value_that_changes_by_itself_is_said() -> None:
    found = why("seats", sub(1, plan="team", cancel_at=day(3)), sub(2))
    assert [(one.at, one.value) for one in found.next_changes] == [(day(3), 5)]
    assert found.would_change == (f"At {day(3).isoformat()} it becomes 5 by itself: subscription_active.",)


def test_a_change_of_another_feature_is_no_change_of_this_one() -> None:
    found = why("sso", sub(1, plan="team"), grant(1, "allow", "export", expires_at=day(2)))
    assert found.next_changes == ()
    assert found.would_change == ("Nothing that is known: it holds until a source changes.",)


def test_what_is_not_granted_names_the_plans_that_have_it() -> None:
    found = why("sso", sub(1))
    assert found.available_in == ("team",)
    assert found.would_change == ("A plan that gives it (team), or a grant.",)


def test_a_refusal_says_what_would_end_it() -> None:
    found = why("export", sub(1, "past_due", first_failure_at=day(-9)))
    assert found.would_change[0] == "A payment of the open invoice of sub_1."


def test_a_deny_is_ended_by_an_operator_and_not_by_a_plan() -> None:
    found = why("export", grant(1, "deny", "export"))
    assert found.would_change == ("The end of gr_1, which only an operator can revoke.",)


def test_a_start_that_is_known_is_said() -> None:
    found = why("sso", grant(1, "allow", "sso", starts_at=day(1)))
    assert found.would_change[0] == f"At {day(1).isoformat()} it becomes true by itself: grant."
    assert only(found).sentence == f"gives nothing now: not_started (until {day(1).isoformat()})"


def test_an_app_that_the_catalog_does_not_know_is_refused() -> None:
    with pytest.raises(Unknown, match="has no app"):
        why("export", app="none")


def test_what_did_not_exist_yet_explains_nothing() -> None:
    facts = facts_of(sub(1, created_at=day(-1)), sub(2), make_purchase())
    assert [one.subscription_id for one in existing_at(facts, day(-2)).subscriptions] == ["sub_2"]
    assert existing_at(facts, day(-1)) == facts


# ── what programs may rely on ───────────────────────────────────────────────────────────────────────


def test_every_code_and_every_name_of_a_rule_is_documented() -> None:
    text = (DOCUMENT.parent / "api.md").read_text()
    names = {rule.name for rule in (*RULES.values(), OVERRIDDEN_TO_NOTHING)}
    assert {name for name in (*names, *SENTENCES) if f"`{name}`" not in text} == set()


# ── whatever the facts ──────────────────────────────────────────────────────────────────────────────

#: One feature an example, so that the whole folder stays under five seconds.
quick = settings(max_examples=60, deadline=None, derandomize=True)
asked = st.sampled_from(
    [(app, feature.key) for app, features in CATALOG.features_by_app.items() for feature in features]
)


@quick
@given(facts, asked, instants)
def test_an_explanation_is_never_at_odds_with_its_answer(
    given_facts: Facts, names: tuple[str, str], at: datetime
) -> None:
    found = explain(given_facts, CATALOG, *names, at, visible_only=True)
    answer = compute(given_facts, CATALOG, names[0], at)[names[1]]
    assert found.verdict == answer
    won = {one.source.id for one in found.sources if one.outcome == "wins"}
    refused_by = {one.source.id for one in found.sources if one.gives_reason}
    assert won <= {ref.id for ref in answer.sources} <= won | refused_by
    if found.arithmetic is not UNSET:
        assert _sum(found.arithmetic) == answer.value


@quick
@given(facts, asked, instants)
def test_the_known_changes_are_the_ones_that_come(
    given_facts: Facts, names: tuple[str, str], at: datetime
) -> None:
    def said(moment: datetime) -> tuple[object, ...]:
        answer = compute(given_facts, CATALOG, names[0], moment)[names[1]]
        return answer.granted, answer.value, answer.reason

    for change in explain(given_facts, CATALOG, *names, at, visible_only=True).next_changes:
        assert said(change.at) == (change.granted, change.value, change.reason)
        assert said(change.at - timedelta(microseconds=1)) != said(change.at)


def _sum(sums: Arithmetic) -> FeatureValue:
    """What the shown numbers come to."""
    numbers = [0 if sums.default is UNSET else sums.default, *sums.summed, *sums.added]
    if None in (*sums.compared, *numbers):
        return None
    largest = max((value for value in sums.compared if isinstance(value, int)), default=0)
    return largest + sum(value for value in numbers if isinstance(value, int))
