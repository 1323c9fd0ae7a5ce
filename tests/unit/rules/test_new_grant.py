"""What an operator may give or take, judged by the catalog."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from domain.errors import Invalid
from domain.model import Grant
from domain.rules.new_grant import GrantWish, judge_grant
from tests.unit.rules.builders import NOW, ask, day, make_catalog

CATALOG = make_catalog()
HOUR = timedelta(hours=1)


def wish(effect: Any = "allow", kind: Any = "feature", target: str = "sso", **changes: Any) -> GrantWish:
    return GrantWish(
        **{"effect": effect, "target_kind": kind, "target": target, "reason": "case 12", **changes}
    )


def judged(given: GrantWish, now: datetime = NOW) -> Grant:
    return judge_grant(CATALOG, given, grant_id="gr_1", now=now)


def faults(given: GrantWish) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        judged(given)
    assert refused.value.code == "grant_invalid"
    return [(error["field"], error["detail"]) for error in refused.value.errors]


# ── what can be ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("effect", "kind", "target", "value"),
    [
        ("allow", "feature", "seats", 7),
        ("allow", "feature", "seats", None),
        ("allow", "feature", "support", "email"),
        ("allow", "feature", "formats", ["png"]),
        ("allow", "feature", "sso", True),
        ("add", "feature", "seats", 3),
        ("add", "plan", "pro", 3),
        ("add", "app", "tool", 3),
        ("add", "project", "acme", 3),
        ("override", "feature", "seats", 0),
        ("override", "feature", "sso", False),
        ("override", "feature", "formats", []),
    ],
)
def test_a_value_that_fits_is_taken_as_it_is(effect: str, kind: str, target: str, value: Any) -> None:
    assert judged(wish(effect, kind, target, value=value)).value == value


@pytest.mark.parametrize(
    ("kind", "target"),
    [("feature", "sso"), ("feature", "formats"), ("plan", "pro"), ("app", "tool"), ("project", "acme")],
)
@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_allow_and_deny_take_any_target_without_a_value(effect: str, kind: str, target: str) -> None:
    made = judged(wish(effect, kind, target))
    assert (made.effect, made.target_kind, made.target, made.value) == (effect, kind, target, None)


def test_every_grant_that_is_taken_changes_an_answer() -> None:
    """What the rules would ignore is refused: so what is accepted does something."""
    for effect, feature, value in [
        ("allow", "sso", True),
        ("add", "seats", 2),
        ("override", "seats", 4),
        ("override", "projects", 0),
        ("deny", "projects", None),
    ]:
        given = wish(effect, target=feature, **({} if effect == "deny" else {"value": value}))
        assert ask(feature, judged(given, now=day(-1))) != ask(feature)


def test_a_grant_begins_now_and_never_ends_unless_it_says_otherwise() -> None:
    made = judged(wish())
    assert (made.created_at, made.starts_at, made.expires_at, made.revoked_at) == (NOW, NOW, None, None)


def test_times_are_kept_in_utc() -> None:
    zone = timezone(2 * HOUR)
    made = judged(wish(starts_at=day(1).astimezone(zone), expires_at=day(2).astimezone(zone)))
    assert (made.starts_at, made.expires_at) == (day(1), day(2))
    assert made.starts_at.tzinfo is UTC


def test_a_start_in_the_past_is_taken() -> None:
    assert judged(wish(starts_at=day(-3), expires_at=day(1))).starts_at == day(-3)


# ── what cannot be ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "target", "said"),
    [
        ("feature", "ssso", 'unknown feature; did you mean "sso"?'),
        ("plan", "proo", 'unknown plan; did you mean "pro"?'),
        ("app", "tol", 'unknown app; did you mean "tool"?'),
        ("project", "globex", "unknown project; known: acme"),
    ],
)
@pytest.mark.parametrize("effect", ["allow", "add", "override", "deny"])
def test_an_unknown_target_is_named_with_the_nearest_one(
    effect: str, kind: str, target: str, said: str
) -> None:
    assert faults(wish(effect, kind, target)) == [(f"target.{kind}", said)]


@pytest.mark.parametrize(
    ("effect", "kind", "target", "value", "field"),
    [
        ("override", "plan", "pro", True, "effect"),
        ("override", "app", "tool", True, "effect"),
        ("override", "project", "acme", True, "effect"),
        ("add", "feature", "sso", 1, "effect"),
        ("add", "feature", "formats", 1, "effect"),
        ("add", "feature", "seats", 0, "value"),
        ("add", "feature", "seats", -1, "value"),
        ("add", "feature", "seats", None, "value"),
        ("add", "feature", "seats", True, "value"),
        ("add", "feature", "seats", 2**53, "value"),
        ("deny", "feature", "sso", False, "value"),
        ("deny", "feature", "sso", None, "value"),
        ("allow", "plan", "pro", 3, "value"),
        ("allow", "app", "tool", True, "value"),
        ("allow", "project", "acme", None, "value"),
        ("allow", "feature", "sso", False, "value"),
        ("allow", "feature", "sso", None, "value"),
        ("allow", "feature", "sso", 1, "value"),
        ("allow", "feature", "seats", 0, "value"),
        ("allow", "feature", "seats", -1, "value"),
        ("allow", "feature", "seats", True, "value"),
        ("allow", "feature", "seats", 2**53, "value"),
        ("allow", "feature", "seats", "five", "value"),
        ("allow", "feature", "support", "gold", "value"),
        ("allow", "feature", "support", None, "value"),
        ("allow", "feature", "formats", [], "value"),
        ("allow", "feature", "formats", ["png", "png"], "value"),
        ("allow", "feature", "formats", [""], "value"),
        ("override", "feature", "seats", "many", "value"),
        ("override", "feature", "sso", None, "value"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(
    effect: str, kind: str, target: str, value: Any, field: str
) -> None:
    assert [place for place, _ in faults(wish(effect, kind, target, value=value))] == [field]


@pytest.mark.parametrize(
    ("effect", "feature", "said"),
    [
        ("override", "seats", "a whole number from 0 to 9007199254740991, or null for unlimited"),
        ("override", "sso", "true or false"),
        ("override", "support", "one of "),
        ("override", "formats", 'a list of different texts, such as ["png"]'),
        ("add", "seats", "a whole number from 1"),
    ],
)
def test_a_value_that_is_missing_is_asked_for_in_the_words_of_the_feature(
    effect: str, feature: str, said: str
) -> None:
    [(field, detail)] = faults(wish(effect, target=feature))
    assert field == "value"
    assert said in detail


def test_a_set_that_no_plan_gives_needs_its_strings_said() -> None:
    features = {"formats": msgspec.structs.replace(CATALOG.features["formats"], default=None)}
    bare = msgspec.structs.replace(CATALOG, features=features, plans={})
    with pytest.raises(Invalid) as refused:
        judge_grant(bare, wish(target="formats"), grant_id="gr_1", now=NOW)
    assert [error["field"] for error in refused.value.errors] == ["value"]


@pytest.mark.parametrize(
    ("times", "field", "said"),
    [
        ({"expires_at": NOW}, "expires_at", "is in the past"),
        ({"expires_at": day(-1)}, "expires_at", "is in the past"),
        ({"starts_at": day(2), "expires_at": day(2)}, "expires_at", "after starts_at"),
        ({"starts_at": day(2), "expires_at": day(1)}, "expires_at", "after starts_at"),
        ({"starts_at": datetime(2026, 12, 1)}, "starts_at", "needs a zone"),  # noqa: DTZ001 - that is the mistake
        ({"expires_at": datetime(2026, 12, 1)}, "expires_at", "needs a zone"),  # noqa: DTZ001
        (
            {"expires_at": datetime(9999, 12, 31, 23, tzinfo=timezone(-2 * HOUR))},
            "expires_at",
            "between the years",
        ),
        ({"starts_at": datetime(1, 1, 1, tzinfo=timezone(2 * HOUR))}, "starts_at", "between the years"),
    ],
)
def test_a_time_that_cannot_be_is_named(times: dict[str, Any], field: str, said: str) -> None:
    [(place, detail)] = faults(wish(**times))
    assert place == field
    assert said in detail


@pytest.mark.parametrize("reason", ["", "  \n ", "x" * 501, "a\0b", "\x1b[2J", "a\x7fb"])
def test_a_reason_says_why_in_plain_text(reason: str) -> None:
    assert [place for place, _ in faults(wish(reason=reason))] == ["reason"]


@pytest.mark.parametrize(
    "reason", ["x", "x" * 500, " " + "x" * 500 + " ", "two\nlines\tand a tab", "größer ✓"]
)
def test_a_reason_of_up_to_500_characters_is_taken(reason: str) -> None:
    judged(wish(reason=reason))


def test_everything_that_is_wrong_is_said_at_once() -> None:
    places = [place for place, _ in faults(wish(target="ssso", expires_at=day(-1), reason=""))]
    assert places == ["target.feature", "expires_at", "reason"]
