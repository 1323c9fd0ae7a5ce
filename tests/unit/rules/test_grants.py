"""Operators' grants: four effects, four targets, and the time they hold."""

from datetime import timedelta

import pytest

from domain.model import Reason
from domain.rules.catalog import with_older_grants
from tests.unit.rules.builders import ask, day, make_catalog, make_grant, make_purchase, make_subscription

MOMENT = timedelta(microseconds=1)


# ── time ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_grant_holds_from_its_start_until_it_expires() -> None:
    grant = make_grant(starts_at=day(1), expires_at=day(2))
    assert ask("sso", grant).reason is Reason.NOT_STARTED
    assert ask("sso", grant, at=day(1)).ends_at == day(2)
    assert ask("sso", grant, at=day(2) - MOMENT).granted
    assert ask("sso", grant, at=day(2)).reason is Reason.GRANT_EXPIRED


def test_a_grant_without_expiry_has_no_end() -> None:
    answer = ask("sso", make_grant())
    assert (answer.granted, answer.reason, answer.ends_at) == (True, Reason.GRANT, None)


def test_a_revoked_grant_gives_nothing_from_then_on() -> None:
    grant = make_grant(revoked_at=day(-1), expires_at=day(9))
    assert ask("sso", grant, at=day(-1) - MOMENT).granted
    assert ask("sso", grant).reason is Reason.REVOKED


def test_a_grant_revoked_after_it_expired_has_expired() -> None:
    assert ask("sso", make_grant(revoked_at=day(-1), expires_at=day(-2))).reason is Reason.GRANT_EXPIRED


def test_a_grant_revoked_when_it_expired_is_revoked() -> None:
    assert ask("sso", make_grant(revoked_at=day(-1), expires_at=day(-1))).reason is Reason.REVOKED


def test_a_grant_revoked_before_its_start_never_gives_anything() -> None:
    grant = make_grant(starts_at=day(5), revoked_at=day(-1))
    before = ask("sso", grant, at=day(-2))
    assert (before.granted, before.reason) == (False, Reason.NOT_STARTED)
    for at in (day(0), day(5), day(6)):
        assert ask("sso", grant, at=at).reason is Reason.REVOKED


def test_a_source_that_is_a_grant_names_its_effect() -> None:
    (source,) = ask("sso", make_grant()).sources
    assert (source.kind, source.id, source.effect, source.plan) == ("grant", "gr_1", "allow", None)


# ── allow ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("feature", "app", "value"),
    [
        ("sso", "tool", True),
        ("seats", "tool", None),
        ("support", "tool", "priority"),
        ("formats", "viewer", ["pdf", "png", "svg"]),
    ],
)
def test_allow_without_a_value_gives_all_that_the_feature_can_be(
    feature: str, app: str, value: object
) -> None:
    answer = ask(feature, make_grant("allow", feature), app=app)
    assert (answer.granted, answer.value) == (True, value)


def test_allow_with_a_value_is_merged_like_a_base_plan() -> None:
    grant = make_grant("allow", "seats", value=7)
    assert ask("seats", grant).value == 7
    assert ask("seats", grant, make_subscription(plan="team")).value == 40


@pytest.mark.parametrize("value", ["seven", True, -1, ["a"]])
def test_a_value_that_does_not_fit_the_feature_gives_nothing(value: object) -> None:
    assert not ask("seats", make_grant("allow", "seats", value=value)).granted


def test_allow_on_a_plan_gives_what_one_of_the_plan_gives() -> None:
    grant = make_grant("allow", "pro", target_kind="plan")
    assert ask("seats", grant).value == 5
    assert ask("export", grant).sources[0].plan == "pro"
    assert ask("sso", grant).reason is Reason.NOT_IN_PLAN


def test_allow_on_a_grandfathered_plan_gives_what_the_plan_gives_now() -> None:
    line = "[projects.acme.plans.team]\n"
    was = make_catalog(**{line: line + "grandfather = true\n", "seats = 40": "seats = 60"})
    now = make_catalog(**{line: line + "grandfather = true\n"})
    head = with_older_grants(now, [(was, day(-100), day(-3))])
    assert ask("seats", make_grant("allow", "team", target_kind="plan"), catalog=head).value == 40


def test_only_allow_on_a_plan_is_that_plan() -> None:
    sso = "[projects.acme.features.sso]"
    catalog = make_catalog(**{sso: f'[projects.acme.features.pro]\ntype = "boolean"\n{sso}'})
    named_alike = make_grant("allow", "pro", value=True)
    assert ask("pro", named_alike, catalog=catalog).sources[0].plan is None
    assert ask("sso", named_alike, catalog=catalog).reason is Reason.NO_SUBSCRIPTION
    for effect in ("add", "deny", "override"):
        grant = make_grant(effect, "pro", target_kind="plan", value=1)
        assert ask("sso", grant).reason is Reason.NO_SUBSCRIPTION
    added = make_grant("add", "pro", target_kind="plan", value=1)
    assert (ask("seats", added).value, ask("seats", added).sources[0].plan) == (1, None)


def test_allow_on_the_app_gives_all_that_the_app_sees() -> None:
    grant = make_grant("allow", "tool", target_kind="app")
    assert ask("seats", grant).unlimited is True
    assert not ask("export", grant, app="viewer").granted


def test_allow_on_the_project_gives_everything_in_every_app() -> None:
    grant = make_grant("allow", "acme", target_kind="project")
    assert ask("sso", grant).granted
    assert ask("formats", grant, app="viewer").value == ["pdf", "png", "svg"]


@pytest.mark.parametrize("kind", ["feature", "plan", "app", "project"])
@pytest.mark.parametrize("effect", ["allow", "add", "override", "deny"])
def test_a_target_that_the_catalog_does_not_know_changes_nothing(effect: str, kind: str) -> None:
    grant = make_grant(effect, "gone", target_kind=kind, value=3)
    assert ask("seats", grant, make_subscription()) == ask("seats", make_subscription())


# ── add ─────────────────────────────────────────────────────────────────────────────────────────────


def test_add_is_added_to_the_merged_sources() -> None:
    answer = ask("seats", make_subscription(), make_grant("add", "seats", value=3))
    assert (answer.value, answer.reason) == (8, Reason.SUBSCRIPTION_ACTIVE)
    assert [source.id for source in answer.sources] == ["sub_1", "gr_1"]


def test_several_add_grants_all_count() -> None:
    adds = [make_grant("add", "seats", grant_id=f"gr_{number}", value=3) for number in range(3)]
    assert ask("seats", *adds).value == 9


def test_add_is_added_to_the_default_where_no_source_gives() -> None:
    answer = ask("projects", make_grant("add", "projects", value=2))
    assert (answer.value, answer.reason) == (5, Reason.GRANT)


def test_add_to_unlimited_changes_nothing() -> None:
    unlimited = make_grant("allow", "seats", grant_id="gr_2")
    answer = ask("seats", unlimited, make_grant("add", "seats", value=3))
    assert (answer.unlimited, [source.id for source in answer.sources]) == (True, ["gr_2"])


@pytest.mark.parametrize("value", [None, True, 0, -1, "three", ["a"]])
def test_add_of_anything_but_a_number_above_zero_adds_nothing(value: object) -> None:
    add = make_grant("add", "seats", grant_id="gr_2", value=value)
    assert ask("seats", add).reason is Reason.NO_SUBSCRIPTION
    assert ask("seats", make_subscription(), add) == ask("seats", make_subscription())


def test_add_is_for_integers() -> None:
    assert not ask("sso", make_grant("add", "sso", value=1)).granted


# ── override ────────────────────────────────────────────────────────────────────────────────────────


def test_override_beats_every_source_also_with_less() -> None:
    answer = ask("seats", make_subscription(plan="team"), make_grant("override", "seats", value=2))
    assert (answer.value, answer.reason) == (2, Reason.OVERRIDE)
    assert [source.effect for source in answer.sources] == ["override"]


@pytest.mark.parametrize(
    ("feature", "app", "value"),
    [
        ("sso", "tool", True),
        ("seats", "tool", None),
        ("support", "tool", "priority"),
        ("formats", "viewer", ["pdf", "png", "svg"]),
    ],
)
def test_override_without_a_value_gives_all_that_the_feature_can_be(
    feature: str, app: str, value: object
) -> None:
    answer = ask(feature, make_grant("override", feature), app=app)
    assert (answer.granted, answer.value, answer.reason) == (True, value, Reason.OVERRIDE)


def test_override_beats_add() -> None:
    add = make_grant("add", "seats", grant_id="gr_2", value=10)
    assert ask("seats", add, make_grant("override", "seats", value=2)).value == 2


@pytest.mark.parametrize(("feature", "value"), [("export", False), ("seats", 0)])
def test_override_with_nothing_takes_away(feature: str, value: object) -> None:
    answer = ask(feature, make_subscription(), make_grant("override", feature, value=value))
    assert (answer.granted, answer.reason) == (False, Reason.DENIED)


def test_of_two_overrides_the_older_stands() -> None:
    older = make_grant("override", "seats", grant_id="gr_9", value=2, created_at=day(-6))
    answer = ask("seats", make_grant("override", "seats", value=7), older)
    assert (answer.value, [source.id for source in answer.sources]) == (2, ["gr_9"])


def test_an_override_that_gave_and_is_over_says_so() -> None:
    assert ask("sso", make_grant("override", "sso", expires_at=day(-1))).reason is Reason.GRANT_EXPIRED
    taker = make_grant("override", "sso", value=False, expires_at=day(-1))
    assert ask("sso", taker).reason is Reason.NO_SUBSCRIPTION


def test_override_targets_features_only() -> None:
    grant = make_grant("override", "pro", target_kind="plan", value=False)
    assert ask("export", make_subscription(), grant).granted
    namesake = make_grant("override", "export", target_kind="app", value=False)
    assert ask("export", make_subscription(), namesake).granted


# ── deny ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "target"), [("feature", "export"), ("plan", "pro"), ("app", "tool"), ("project", "acme")]
)
def test_deny_beats_everything_else_on_each_target(kind: str, target: str) -> None:
    deny = make_grant("deny", target, grant_id="gr_2", target_kind=kind)
    override = make_grant("override", "export", value=True)
    answer = ask("export", make_subscription(), override, deny)
    assert (answer.granted, answer.value, answer.reason) == (False, False, Reason.DENIED)
    assert [source.id for source in answer.sources] == ["gr_2"]


def test_deny_beats_the_default_of_the_catalog() -> None:
    assert ask("projects", make_grant("deny", "projects")).reason is Reason.DENIED


def test_deny_of_an_app_leaves_the_other_apps_alone() -> None:
    deny = make_grant("deny", "viewer", target_kind="app")
    assert ask("export", make_subscription(), deny).granted
    assert not ask("export", make_subscription(), deny, app="viewer").granted


def test_deny_of_a_plan_takes_every_feature_it_grants_whoever_else_gives_it() -> None:
    deny = make_grant("deny", "pro", target_kind="plan")
    team = make_subscription(plan="team")
    assert ask("export", team, deny).reason is Reason.DENIED
    assert ask("sso", team, deny).granted


def test_deny_of_a_plan_leaves_what_the_plan_says_it_does_not_give() -> None:
    catalog = make_catalog(**{"seats = 40": "seats = 0"})
    deny = make_grant("deny", "team", target_kind="plan")
    assert ask("seats", make_subscription(), deny, catalog=catalog).granted


def test_deny_of_a_grandfathered_plan_takes_also_what_it_once_granted() -> None:
    was = {"grants = { export = true, seats = 3 }": "grandfather = true\ngrants = { sso = true }"}
    now = {"grants = { export = true, seats = 3 }": "grandfather = true\ngrants = { export = true }"}
    head = with_older_grants(make_catalog(**now), [(make_catalog(**was), day(-100), day(-20))])
    early = make_purchase("founder", paid_at=day(-30))
    deny = make_grant("deny", "founder", target_kind="plan")
    assert ask("sso", early, catalog=head).granted
    assert ask("sso", early, deny, catalog=head).reason is Reason.DENIED


def test_a_deny_that_is_over_denies_nothing_and_is_no_reason() -> None:
    over = make_grant("deny", "sso", expires_at=day(-1))
    assert ask("sso", over).reason is Reason.NO_SUBSCRIPTION
    revoked = make_grant("deny", "export", revoked_at=day(-1))
    answer = ask("export", make_subscription(), revoked)
    assert (answer.granted, answer.ends_at) == (True, None)


def test_a_known_later_deny_is_the_end_of_the_access() -> None:
    deny = make_grant("deny", "export", starts_at=day(4))
    assert ask("export", make_subscription(), deny).ends_at == day(4)
    assert ask("export", make_subscription(cancel_at=day(2)), deny).ends_at == day(2)


def test_a_later_deny_is_the_end_of_what_it_denies_only() -> None:
    sooner = make_grant("deny", "sso", starts_at=day(4))
    later = make_grant("deny", "export", grant_id="gr_2", starts_at=day(6))
    assert ask("export", make_subscription(plan="team"), sooner, later).ends_at == day(6)
    assert ask("sso", make_subscription(plan="team"), sooner, later).ends_at == day(4)
    assert ask("seats", make_subscription(plan="team"), sooner, later).ends_at is None


def test_a_later_deny_that_is_revoked_already_ends_nothing() -> None:
    deny = make_grant("deny", "export", starts_at=day(4), revoked_at=day(-1))
    assert ask("export", make_subscription(), deny).ends_at is None


def test_a_later_override_with_nothing_is_no_end_while_an_older_override_stands() -> None:
    standing = make_grant("override", "seats", grant_id="gr_2", value=2, created_at=day(-6))
    nothing = make_grant("override", "seats", value=0, starts_at=day(4))
    assert ask("seats", standing, nothing).ends_at is None
    ending = make_grant("override", "seats", grant_id="gr_2", value=2, created_at=day(-6), expires_at=day(9))
    assert ask("seats", ending, nothing).ends_at == day(9)


def test_a_later_deny_is_the_end_also_of_an_override() -> None:
    standing = make_grant("override", "seats", grant_id="gr_2", value=2, created_at=day(-6))
    assert ask("seats", standing, make_grant("deny", "seats", starts_at=day(4))).ends_at == day(4)


def test_of_several_later_denies_the_first_is_the_end() -> None:
    denies = [
        make_grant("deny", "export", grant_id=f"gr_{at}", starts_at=day(at)) for at in (*range(5, 16), 4)
    ]
    assert ask("export", make_subscription(), *denies).ends_at == day(4)


def test_a_known_later_override_with_less_is_no_end_and_with_nothing_is_one() -> None:
    less = make_grant("override", "seats", value=1, starts_at=day(4))
    assert ask("seats", make_subscription(), less).ends_at is None
    nothing = make_grant("override", "seats", value=0, starts_at=day(4))
    assert ask("seats", make_subscription(), nothing).ends_at == day(4)
