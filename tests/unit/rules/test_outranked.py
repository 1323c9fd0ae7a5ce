"""Which grants keep a new one from counting."""

from datetime import datetime
from typing import Any

import pytest

from domain.model import Grant
from domain.rules.outranked import describe_outranking, list_outranking
from tests.unit.rules.builders import NOW, ask, day, make_catalog, make_grant

CATALOG = make_catalog()


def older(effect: str, target: str = "sso", **fields: Any) -> Grant:
    return make_grant(
        effect, target, **{"grant_id": "gr_a", "created_at": day(-9), "starts_at": day(-9), **fields}
    )


def newer(effect: str, target: str = "sso", **fields: Any) -> Grant:
    return make_grant(effect, target, **{"grant_id": "gr_b", "created_at": NOW, "starts_at": NOW, **fields})


def said(new: Grant, *others: Grant) -> list[tuple[str, tuple[str, ...], datetime | None]]:
    return [(one.id, one.features, one.until) for one in list_outranking(new, (*others, new), CATALOG)]


@pytest.mark.parametrize(
    ("first", "second", "is_above"),
    [
        ("override", "override", True),
        ("override", "allow", True),
        ("deny", "override", True),
        ("deny", "allow", True),
        ("deny", "deny", False),
        ("allow", "allow", False),
        ("allow", "override", False),
        ("override", "deny", False),
    ],
)
def test_what_stands_above_is_named_exactly_where_the_new_grant_changes_no_answer(
    first: str, second: str, *, is_above: bool
) -> None:
    one = older(first, value=False if first == "override" else None)
    new = newer(second, value=True if second == "override" else None)
    assert said(new, one) == ([("gr_a", ("sso",), None)] if is_above else [])
    if is_above:
        assert ask("sso", one, new) == ask("sso", one)


def test_an_override_made_in_the_same_instant_stands_by_its_id() -> None:
    both = [newer("override", value=True, grant_id=grant_id, created_at=NOW) for grant_id in ("gr_a", "gr_b")]
    assert said(both[1], both[0]) == [("gr_a", ("sso",), None)]
    assert said(both[0], both[1]) == []


def test_only_what_is_in_force_at_the_same_time_about_the_same_feature_stands_above() -> None:
    new = newer("allow", expires_at=day(10))
    assert said(new, older("deny", expires_at=day(5))) == [("gr_a", ("sso",), day(5))]
    assert said(new, older("deny", expires_at=day(5), revoked_at=day(3))) == [("gr_a", ("sso",), day(3))]
    for apart in (
        older("deny", expires_at=NOW),
        older("deny", revoked_at=day(-1)),
        older("deny", starts_at=day(10)),
        older("deny", "export"),
        older("override", value=7),
    ):
        assert said(new, apart) == []


def test_of_a_wider_target_only_the_features_that_are_decided_elsewhere_are_named() -> None:
    new = newer("allow", "team", target_kind="plan")
    assert said(new, older("deny", "pro", target_kind="plan"))[0][1] == (
        "credits",
        "export",
        "formats",
        "limit",
        "seats",
        "support",
    )
    assert said(new, older("override", "seats", value=3)) == [("gr_a", ("seats",), None)]


def test_the_sentence_names_each_with_its_end_and_what_to_do() -> None:
    new = newer("allow", expires_at=day(10))
    sentence = describe_outranking(
        list_outranking(new, [older("deny", expires_at=day(5)), older("override", value=True)], CATALOG)
    )
    assert sentence is not None
    assert f"gr_a (deny on sso, until {day(5).isoformat()})" in sentence
    assert "(override on sso, without an end)" in sentence
    assert "Revoke those" in sentence
    assert describe_outranking(()) is None
