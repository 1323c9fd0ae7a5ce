"""How several sources make one answer, by the type of the feature."""

from typing import Any

from domain.model import Reason, SourceRef
from tests.unit.rules.builders import (
    ask,
    day,
    make_catalog,
    make_grant,
    make_item,
    make_purchase,
    make_subscription,
)


def sub(plan: str, number: int = 2, **fields: Any):
    return make_subscription(plan=plan, subscription_id=f"sub_{number}", **fields)


def ids(sources: tuple[SourceRef, ...]) -> list[str]:
    return [source.id for source in sources]


def test_a_boolean_is_given_by_any_source() -> None:
    answer = ask("sso", sub("pro", 1), sub("team", 2))
    assert (answer.value, ids(answer.sources)) == (True, ["sub_2"])


def test_every_source_that_gives_a_boolean_is_named_older_first() -> None:
    old, new = sub("team", 2, created_at=day(-90)), sub("pro", 1, created_at=day(-3))
    assert ids(ask("export", new, old).sources) == ["sub_2", "sub_1"]


def test_sources_of_one_age_are_named_by_id() -> None:
    assert ids(ask("export", sub("team", 2), sub("pro", 1)).sources) == ["sub_1", "sub_2"]


def test_the_reason_is_the_older_sources_where_several_give_the_same() -> None:
    old = sub("team", 2, status="past_due", first_failure_at=day(-1), created_at=day(-90))
    assert ask("export", old, sub("pro", 1)).reason is Reason.IN_GRACE


def test_access_by_several_sources_ends_with_the_last_of_them() -> None:
    assert ask("export", sub("pro", 1, cancel_at=day(3)), sub("team", 2, cancel_at=day(9))).ends_at == day(9)
    assert ask("export", sub("pro", 1, cancel_at=day(3)), sub("team", 2)).ends_at is None


def test_an_integer_is_the_max_of_base_plans() -> None:
    answer = ask("seats", sub("pro", 1), sub("team", 2, cancel_at=day(3)))
    assert (answer.value, ids(answer.sources), answer.ends_at) == (40, ["sub_2"], day(3))


def test_an_add_on_is_summed_on_top_of_the_base_plans() -> None:
    items = (make_item("pro"), make_item("extra", quantity=2), make_item("boost"))
    answer = ask("seats", make_subscription(items=items))
    assert answer.value == 5 + 2 * 10 + 2
    assert [source.plan for source in answer.sources] == ["boost", "extra", "pro"]


def test_an_integer_may_be_merged_as_sum_of_all() -> None:
    assert ask("credits", sub("pro", 1), sub("team", 2)).value == 150


def test_an_integer_may_be_merged_as_max_even_with_add_ons() -> None:
    items = (make_item("pro"), make_item("extra"))
    assert ask("limit", make_subscription(items=items)).value == 10


def test_per_unit_multiplies_before_the_merge() -> None:
    pro = make_subscription(items=(make_item("pro", quantity=9),))
    answer = ask("seats", pro, sub("team", 2))
    assert (answer.value, ids(answer.sources)) == (45, ["sub_1"])


def test_unlimited_beats_every_number() -> None:
    items = (make_item("team"), make_item("boost"))
    answer = ask("projects", make_subscription(items=items), make_grant("allow", "projects", value=7))
    assert (answer.granted, answer.value, answer.unlimited) == (True, None, True)
    assert [source.plan for source in answer.sources] == ["boost"]


def test_a_number_that_json_would_round_is_the_largest_that_it_keeps() -> None:
    largest = 2**53 - 1
    many = make_subscription(items=(make_item("pro", quantity=largest),))
    assert ask("seats", many).value == largest
    assert ask("credits", sub("pro", 1), make_grant("add", "credits", value=largest)).value == largest
    assert ask("credits", sub("pro", 1), make_grant("allow", "credits", value=largest)).value == largest


def test_a_limited_integer_says_that_it_is_not_unlimited() -> None:
    assert ask("seats", sub("pro")).unlimited is False


def test_an_enum_is_the_highest_rank() -> None:
    answer = ask("support", sub("pro", 1), sub("team", 2))
    assert (answer.value, ids(answer.sources)) == ("priority", ["sub_2"])


def test_a_set_is_the_sorted_union() -> None:
    answer = ask("formats", sub("pro", 1), sub("team", 2), app="viewer")
    assert (answer.value, ids(answer.sources)) == (["pdf", "png", "svg"], ["sub_1", "sub_2"])


def test_an_integer_that_a_plan_gives_as_zero_is_not_granted() -> None:
    catalog = make_catalog(**{"seats = 40": "seats = 0"})
    answer = ask("seats", sub("team"), catalog=catalog)
    assert (answer.granted, answer.value, answer.reason) == (False, 0, Reason.NOT_IN_PLAN)


def test_one_lost_purchase_does_not_take_what_another_source_gives() -> None:
    expired = make_purchase(paid_at=day(-90))
    assert ids(ask("export", expired, sub("pro", 1)).sources) == ["sub_1"]
