"""What an answer says: features in sight, defaults, and the reason for a refusal."""

from itertools import pairwise
from typing import Any

import pytest
from msgspec import UNSET

from domain.errors import Unknown
from domain.model import Reason
from domain.rules.entitlements import compute, encode_entitlements
from tests.unit.rules.builders import (
    CATALOG,
    NOW,
    ask,
    day,
    facts_of,
    make_catalog,
    make_dispute,
    make_grant,
    make_item,
    make_purchase,
    make_refund,
    make_subscription,
)


def sub(number: int, status: str = "active", plan: str = "pro", **fields: Any):
    return make_subscription(status, plan=plan, subscription_id=f"sub_{number}", **fields)


# ── what is in the set ──────────────────────────────────────────────────────────────────────────────


def test_a_set_holds_the_features_that_the_app_sees_sorted_by_key() -> None:
    tool = compute(facts_of(), CATALOG, "tool", NOW)
    viewer = compute(facts_of(), CATALOG, "viewer", NOW)
    assert list(tool) == ["credits", "export", "limit", "projects", "seats", "sso", "support"]
    assert list(viewer) == ["credits", "export", "formats", "limit", "projects", "sso", "support"]


def test_an_app_that_the_catalog_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(Unknown, match='has no app "toool"; it has: tool, viewer') as refused:
        compute(facts_of(), CATALOG, "toool", NOW)
    assert refused.value.code == "unknown_app"


def test_the_same_facts_give_the_same_bytes_in_any_order() -> None:
    one, two = sub(1), sub(2, plan="team")
    assert encode_entitlements(compute(facts_of(one, two), CATALOG, "tool", NOW)) == encode_entitlements(
        compute(facts_of(two, one), CATALOG, "tool", NOW)
    )


@pytest.mark.parametrize(
    ("feature", "app", "nothing"),
    [("sso", "tool", False), ("seats", "tool", 0), ("support", "tool", None), ("formats", "viewer", [])],
)
def test_what_is_not_granted_has_the_nothing_of_its_type(feature: str, app: str, nothing: object) -> None:
    answer = ask(feature, app=app)
    assert (answer.granted, answer.value, answer.ends_at, answer.sources) == (False, nothing, None, ())
    assert answer.unlimited is (False if feature == "seats" else UNSET)
    denied = ask(feature, make_grant("deny", feature), app=app)
    assert (denied.granted, denied.value, denied.unlimited) == (False, nothing, answer.unlimited)


def test_only_integers_say_whether_they_are_unlimited() -> None:
    assert ask("export", sub(1)).unlimited is UNSET
    assert ask("seats", sub(1)).unlimited is False


def test_the_default_of_the_catalog_stands_where_nobody_gives() -> None:
    answer = ask("projects")
    assert (answer.value, answer.reason, answer.ends_at) == (3, Reason.CATALOG_DEFAULT, None)
    assert answer.sources == ()


def test_a_source_beats_the_default() -> None:
    assert ask("projects", make_grant("allow", "projects", value=2)).value == 2


def test_the_default_stands_beneath_a_source_that_lost_its_access() -> None:
    unpaid = sub(1, "unpaid", items=(make_item("boost"),))
    assert ask("projects", unpaid).reason is Reason.CATALOG_DEFAULT


@pytest.mark.parametrize(
    ("line", "granted"), [("default = true", True), ("default = false", False), ("", False)]
)
def test_a_default_of_nothing_is_no_default(line: str, *, granted: bool) -> None:
    catalog = make_catalog(**{'features.sso]\ntype = "boolean"': f'features.sso]\ntype = "boolean"\n{line}'})
    assert ask("sso", catalog=catalog).granted is granted


def test_flags_of_all_sources_that_made_the_answer_are_told_sorted() -> None:
    refunded = make_purchase(refunds=(make_refund(1),))
    asked = sub(1, disputes=(make_dispute("warning_under_review"),))
    assert ask("export", refunded, asked).flags == ("dispute_inquiry", "partially_refunded")
    older = make_purchase(purchase_id="cs_0/1", paid_at=day(-60), refunds=(make_refund(1),))
    assert ask("export", refunded, asked, older, at=day(-31)).flags == (
        "dispute_inquiry",
        "partially_refunded",
    )
    assert ask("seats", refunded, asked).flags == ("dispute_inquiry",)
    again = sub(2, disputes=(make_dispute("warning_under_review"),))
    assert ask("export", again, asked).flags == ("dispute_inquiry",)
    founder = make_purchase("founder", purchase_id="cs_3/1", paid_at=day(-60), refunds=(make_refund(1),))
    assert ask("export", founder, asked).flags == ("dispute_inquiry", "partially_refunded")


# ── why not ─────────────────────────────────────────────────────────────────────────────────────────


def test_without_any_source_the_reason_is_no_subscription() -> None:
    answer = ask("sso")
    assert (answer.reason, answer.available_in) == (Reason.NO_SUBSCRIPTION, ("team",))


def test_a_plan_that_lacks_the_feature_is_the_reason() -> None:
    answer = ask("sso", sub(1))
    assert (answer.reason, answer.available_in) == (Reason.NOT_IN_PLAN, ("team",))


@pytest.mark.parametrize(
    "held",
    [
        sub(1, "unpaid"),
        sub(1, "past_due"),
        sub(1, "paused"),
        sub(1, "hibernating"),
        sub(1, disputes=(make_dispute("under_review"),)),
        make_purchase(disputes=(make_dispute("under_review"),)),
    ],
)
def test_a_plan_whose_payment_is_missing_is_still_the_plan_that_lacks_the_feature(held: Any) -> None:
    assert ask("sso", held).reason is Reason.NOT_IN_PLAN


@pytest.mark.parametrize(
    "gone",
    [
        sub(1, "canceled", ended_at=day(-1)),
        sub(1, "incomplete"),
        make_purchase(paid_at=day(-90)),
        make_purchase(paid_at=day(1)),
        make_purchase(refunds=(make_refund(900),)),
        make_grant("allow", "pro", target_kind="plan", expires_at=day(-1)),
        make_grant("allow", "pro", target_kind="plan", revoked_at=day(-1)),
    ],
)
def test_a_plan_that_is_gone_is_no_plan(gone: Any) -> None:
    assert ask("sso", gone).reason is Reason.NO_SUBSCRIPTION


def test_plans_that_would_grant_it_are_listed_by_rank() -> None:
    assert ask("seats").available_in == ("extra", "boost", "pass", "pro", "founder", "team")


def test_plans_that_would_grant_it_are_listed_with_those_two_reasons_only() -> None:
    assert ask("export", sub(1, "unpaid")).available_in is UNSET
    assert ask("export", sub(1)).available_in is UNSET


def test_a_refusal_names_its_source() -> None:
    (source,) = ask("export", sub(1, "unpaid")).sources
    assert (source.kind, source.id) == ("subscription", "sub_1")


def test_a_lost_source_says_nothing_about_features_it_would_not_give() -> None:
    assert ask("sso", sub(1, "canceled", ended_at=day(-1)), sub(2)).reason is Reason.NOT_IN_PLAN


#: One source refused for each reason, in the order in which the first that applies is said.
REFUSED = (
    make_grant("deny", "export", grant_id="gr_deny"),
    make_purchase(purchase_id="cs_d/1", disputes=(make_dispute("lost"),)),
    sub(1, "unpaid"),
    sub(2, "past_due"),
    sub(3, "paused"),
    sub(4, "incomplete"),
    sub(5, "hibernating"),
    sub(6, items=(make_item("unheard_of"),)),
    make_purchase(purchase_id="cs_r/1", refunds=(make_refund(900),)),
    make_purchase(purchase_id="cs_x/1", paid_at=day(-90)),
    make_grant("allow", "export", grant_id="gr_revoked", revoked_at=day(-1)),
    make_grant("allow", "export", grant_id="gr_expired", expires_at=day(-1)),
    sub(7, "canceled", ended_at=day(-1)),
    make_grant("allow", "export", grant_id="gr_later", starts_at=day(1)),
)
REASONS = [reason for reason in Reason if list(Reason).index(reason) >= list(Reason).index(Reason.DENIED)][
    :-2
]


def test_each_reason_for_a_refusal_has_its_source() -> None:
    assert [ask("export", source).reason for source in REFUSED] == REASONS


def test_of_two_reasons_the_first_in_the_order_is_said() -> None:
    for first, second in pairwise(REFUSED):
        assert ask("export", second, first).reason is ask("export", first).reason


def test_of_all_reasons_the_first_that_is_left_is_said() -> None:
    for index, reason in enumerate(REASONS):
        assert ask("export", *reversed(REFUSED[index:])).reason is reason


def test_within_one_reason_the_newest_source_is_named() -> None:
    older, newer = sub(1, "unpaid", created_at=day(-80)), sub(2, "unpaid", created_at=day(-8))
    assert ask("export", newer, older).sources[0].id == "sub_2"
