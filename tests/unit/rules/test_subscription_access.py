"""When a subscription item gives access: one test per rule."""

from datetime import datetime, timedelta

import pytest
from msgspec import UNSET

from domain.model import Entitlement, Reason
from domain.rules.catalog import with_older_grants
from tests.unit.rules.builders import (
    NOW,
    ask,
    day,
    make_catalog,
    make_dispute,
    make_item,
    make_subscription,
)

MOMENT = timedelta(microseconds=1)


def refused_for(answer: Entitlement) -> Reason | None:
    return None if answer.granted else answer.reason


# ── statuses ────────────────────────────────────────────────────────────────────────────────────────


def test_an_active_subscription_gives_access_without_an_end() -> None:
    answer = ask("export", make_subscription("active"))
    assert (answer.granted, answer.reason, answer.ends_at) == (True, Reason.SUBSCRIPTION_ACTIVE, None)


def test_an_active_subscription_gives_access_between_two_billing_periods() -> None:
    item = make_item(period_start=day(-40), period_end=day(-10))
    assert ask("export", make_subscription("active", items=(item,))).granted


def test_a_trial_gives_access_without_an_end() -> None:
    answer = ask("export", make_subscription("trialing", trial_end=day(3)))
    assert (answer.granted, answer.reason, answer.ends_at) == (True, Reason.SUBSCRIPTION_TRIALING, None)


def test_a_trial_whose_end_is_not_known_gives_access() -> None:
    answer = ask("export", make_subscription("trialing"), at=day(400))
    assert (answer.granted, answer.reason) == (True, Reason.SUBSCRIPTION_TRIALING)


def test_a_trial_holds_after_its_end_until_it_should_have_settled() -> None:
    trial = make_subscription("trialing", trial_end=day(3))
    assert ask("export", trial, at=day(4) - MOMENT).granted
    assert refused_for(ask("export", trial, at=day(4))) is Reason.STATUS_UNKNOWN


def test_the_hours_a_trial_takes_to_settle_are_policy() -> None:
    trial = make_subscription("trialing", trial_end=day(3))
    catalog = make_catalog(policy="settle_hours = 1")
    assert not ask("export", trial, at=day(3) + timedelta(hours=1), catalog=catalog).granted


def test_a_trial_set_to_cancel_at_its_end_ends_exactly_then() -> None:
    trial = make_subscription("trialing", trial_end=day(3), cancel_at=day(3))
    assert ask("export", trial, at=day(3) - MOMENT).ends_at == day(3)
    assert refused_for(ask("export", trial, at=day(3))) is Reason.SUBSCRIPTION_CANCELED
    assert refused_for(ask("export", trial, at=day(9))) is Reason.SUBSCRIPTION_CANCELED


def test_a_trial_set_to_cancel_later_announces_that_end() -> None:
    trial = make_subscription("trialing", trial_end=day(3), cancel_at=day(33))
    assert ask("export", trial).ends_at == day(33)
    assert refused_for(ask("export", trial, at=day(4))) is Reason.STATUS_UNKNOWN


def test_past_due_keeps_access_for_the_days_of_grace() -> None:
    late = make_subscription("past_due", first_failure_at=day(-2))
    answer = ask("export", late)
    assert (answer.reason, answer.ends_at) == (Reason.IN_GRACE, day(5))
    assert ask("export", late, at=day(5) - MOMENT).granted
    assert refused_for(ask("export", late, at=day(5))) is Reason.PAYMENT_PAST_DUE


def test_unpaid_keeps_access_while_the_same_grace_is_open() -> None:
    unpaid = make_subscription("unpaid", first_failure_at=day(-2))
    assert ask("export", unpaid).reason is Reason.IN_GRACE
    assert refused_for(ask("export", unpaid, at=day(5))) is Reason.PAYMENT_UNPAID


@pytest.mark.parametrize(
    ("status", "reason"),
    [("past_due", Reason.PAYMENT_PAST_DUE), ("unpaid", Reason.PAYMENT_UNPAID)],
)
def test_without_an_open_invoice_the_grace_counts_from_the_smallest_period_start(
    status: str, reason: Reason
) -> None:
    items = (make_item("pro", period_start=day(-2)), make_item("boost", period_start=day(-4)))
    late = make_subscription(status, items=items)
    assert ask("export", late).ends_at == day(3)
    assert refused_for(ask("export", late, at=day(3))) is reason


def test_without_any_paid_invoice_there_is_no_grace() -> None:
    items = (make_item(is_paid_for=False, period_start=day(-2)),)
    assert refused_for(ask("export", make_subscription("unpaid", items=items))) is Reason.PAYMENT_UNPAID


def test_a_price_that_was_never_paid_for_gets_no_grace() -> None:
    upgraded = make_subscription(
        "past_due", items=(make_item("team", is_paid_for=False),), first_failure_at=day(-1)
    )
    assert refused_for(ask("export", upgraded)) is Reason.PAYMENT_PAST_DUE


def test_grace_is_judged_item_by_item() -> None:
    mixed = make_subscription(
        "past_due",
        items=(make_item("pro"), make_item("boost", is_paid_for=False)),
        first_failure_at=day(-1),
    )
    assert ask("seats", mixed).value == 5


def test_grace_days_are_policy() -> None:
    late = make_subscription("past_due", first_failure_at=day(-2))
    catalog = make_catalog(**{"grace_days = 7": "grace_days = 3"})
    assert ask("export", late, catalog=catalog).ends_at == day(1)


def test_no_grace_days_are_no_grace() -> None:
    late = make_subscription("past_due", first_failure_at=NOW)
    catalog = make_catalog(**{"grace_days = 7": "grace_days = 0"})
    assert refused_for(ask("export", late, catalog=catalog)) is Reason.PAYMENT_PAST_DUE


def test_grace_days_of_a_plan_override_the_policy() -> None:
    late = make_subscription("past_due", plan="team", first_failure_at=day(-2))
    assert ask("export", late).ends_at == day(12)


def test_a_failure_right_after_a_trial_has_its_own_grace() -> None:
    late = make_subscription("past_due", first_failure_at=day(-2), is_failing_after_trial=True)
    assert ask("export", late).ends_at == day(1)


def test_without_a_policy_for_after_trials_the_usual_grace_holds() -> None:
    late = make_subscription("past_due", first_failure_at=day(-2), is_failing_after_trial=True)
    catalog = make_catalog(grace_days_after_trial="settle_hours")
    assert ask("export", late, catalog=catalog).ends_at == day(5)


def test_grace_after_a_trial_can_be_the_plans() -> None:
    late = make_subscription("past_due", plan="team", first_failure_at=day(-2), is_failing_after_trial=True)
    catalog = make_catalog(**{"grace_days = 14": "grace_days_after_trial = 4"})
    assert ask("export", late, catalog=catalog).ends_at == day(2)


def test_grace_belongs_to_the_source_and_not_to_the_user() -> None:
    late = make_subscription("past_due", first_failure_at=day(-9))
    fine = make_subscription("past_due", subscription_id="sub_2", plan="team", first_failure_at=day(-9))
    answer = ask("export", late, fine)
    assert [source.id for source in answer.sources] == ["sub_2"]


def test_a_canceled_subscription_gives_no_access_from_its_end() -> None:
    gone = make_subscription("canceled", ended_at=day(-1))
    assert refused_for(ask("export", gone)) is Reason.SUBSCRIPTION_CANCELED
    assert refused_for(ask("export", gone, at=day(-1))) is Reason.SUBSCRIPTION_CANCELED
    before = ask("export", gone, at=day(-1) - MOMENT)
    assert (before.reason, before.ends_at) == (Reason.SUBSCRIPTION_ACTIVE, day(-1))


def test_a_canceled_subscription_without_a_date_gives_no_access() -> None:
    assert refused_for(ask("export", make_subscription("canceled"))) is Reason.SUBSCRIPTION_CANCELED


@pytest.mark.parametrize("status", ["incomplete", "incomplete_expired"])
def test_a_subscription_that_was_never_paid_gives_no_access(status: str) -> None:
    answer = ask("export", make_subscription(status, ended_at=day(-1), first_failure_at=day(-1)))
    assert refused_for(answer) is Reason.SUBSCRIPTION_INCOMPLETE


@pytest.mark.parametrize("cause", ["first_payment_failure", "final_payment_failure"])
def test_a_pause_for_a_failed_payment_keeps_access_in_grace(cause: str) -> None:
    paused = make_subscription("paused", pause_cause=cause, first_failure_at=day(-2))
    assert ask("export", paused).reason is Reason.IN_GRACE
    assert refused_for(ask("export", paused, at=day(5))) is Reason.SUBSCRIPTION_PAUSED


@pytest.mark.parametrize("cause", [None, "trial_end_without_payment_method", "something_new"])
def test_a_pause_for_any_other_cause_gives_no_access(cause: str | None) -> None:
    paused = make_subscription("paused", pause_cause=cause, first_failure_at=day(-2))
    assert refused_for(ask("export", paused)) is Reason.SUBSCRIPTION_PAUSED


# ── statuses that we do not know ────────────────────────────────────────────────────────────────────


def test_an_unknown_status_is_judged_by_the_last_known_one_for_seven_days() -> None:
    odd = make_subscription("hibernating", last_known_status="active", unknown_since=day(-1))
    answer = ask("export", odd)
    assert (answer.granted, answer.reason) == (True, Reason.SUBSCRIPTION_ACTIVE)
    assert ask("export", odd, at=day(6) - MOMENT).granted
    assert refused_for(ask("export", odd, at=day(6))) is Reason.STATUS_UNKNOWN


def test_an_unknown_status_announces_no_end_that_the_known_one_did_not() -> None:
    odd = make_subscription("hibernating", last_known_status="active", unknown_since=day(-1))
    assert ask("export", odd).ends_at is None
    late = make_subscription(
        "hibernating", last_known_status="past_due", unknown_since=day(-1), first_failure_at=day(-2)
    )
    assert ask("export", late).ends_at == day(5)


def test_an_unknown_status_after_a_refusing_one_still_refuses() -> None:
    odd = make_subscription("hibernating", last_known_status="unpaid", unknown_since=day(-1))
    assert refused_for(ask("export", odd)) is Reason.PAYMENT_UNPAID
    assert refused_for(ask("export", odd, at=day(6))) is Reason.STATUS_UNKNOWN


@pytest.mark.parametrize(
    ("last_known", "since"), [(None, day(-1)), ("another_new_one", day(-1)), ("active", None)]
)
def test_a_status_of_which_nothing_is_known_gives_no_access(
    last_known: str | None, since: datetime | None
) -> None:
    odd = make_subscription("hibernating", last_known_status=last_known, unknown_since=since)
    assert refused_for(ask("export", odd)) is Reason.STATUS_UNKNOWN


def test_an_unknown_status_ends_with_the_subscription() -> None:
    odd = make_subscription(
        "hibernating", last_known_status="active", unknown_since=day(-1), cancel_at=day(2)
    )
    assert refused_for(ask("export", odd, at=day(2))) is Reason.SUBSCRIPTION_CANCELED


# ── end ─────────────────────────────────────────────────────────────────────────────────────────────


def test_subscription_set_to_cancel_keeps_access_until_its_end() -> None:
    ending = make_subscription(cancel_at=day(8))
    assert ask("export", ending).ends_at == day(8)
    assert ask("export", ending, at=day(8) - MOMENT).granted
    assert refused_for(ask("export", ending, at=day(8))) is Reason.SUBSCRIPTION_CANCELED


def test_cancel_at_period_end_is_the_largest_period_end_of_its_items() -> None:
    items = (make_item("pro", period_end=day(8)), make_item("boost", period_end=day(20)))
    ending = make_subscription(items=items, cancel_at_period_end=True)
    assert ask("export", ending).ends_at == day(20)


def test_cancel_at_beats_the_flag_and_an_actual_end_beats_both() -> None:
    flagged = make_subscription(cancel_at=day(8), cancel_at_period_end=True)
    assert ask("export", flagged).ends_at == day(8)
    ended = make_subscription(cancel_at=day(8), cancel_at_period_end=True, ended_at=day(-1))
    assert refused_for(ask("export", ended)) is Reason.SUBSCRIPTION_CANCELED


def test_an_end_within_the_grace_ends_the_grace() -> None:
    late = make_subscription("past_due", first_failure_at=day(-2), cancel_at=day(1))
    assert ask("export", late).ends_at == day(1)
    assert refused_for(ask("export", late, at=day(1))) is Reason.SUBSCRIPTION_CANCELED


def test_after_the_grace_the_payment_is_the_reason_until_the_end() -> None:
    late = make_subscription("past_due", first_failure_at=day(-2), cancel_at=day(9))
    assert ask("export", late).ends_at == day(5)
    assert refused_for(ask("export", late, at=day(8))) is Reason.PAYMENT_PAST_DUE
    assert refused_for(ask("export", late, at=day(9))) is Reason.SUBSCRIPTION_CANCELED


# ── paused collection ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("behavior", ["keep_as_draft", "mark_uncollectible"])
def test_collection_paused_without_voiding_keeps_access(behavior: str) -> None:
    answer = ask("export", make_subscription(pause_behavior=behavior, paid_through=day(-3)))
    assert (answer.granted, answer.ends_at) == (True, None)


def test_collection_paused_by_voiding_keeps_access_as_long_as_it_is_paid() -> None:
    paused = make_subscription(pause_behavior="void", paid_through=day(3))
    assert ask("export", paused).ends_at == day(3)
    assert refused_for(ask("export", paused, at=day(3))) is Reason.SUBSCRIPTION_PAUSED


def test_collection_paused_by_voiding_without_a_paid_invoice_gives_no_access() -> None:
    paused = make_subscription(pause_behavior="void", paid_through=None)
    assert refused_for(ask("export", paused)) is Reason.SUBSCRIPTION_PAUSED


def test_policy_may_keep_access_while_invoices_are_voided() -> None:
    paused = make_subscription(pause_behavior="void", paid_through=day(-3))
    assert ask("export", paused, catalog=make_catalog(policy='pause_void = "keep"')).granted


def test_a_pause_does_not_hide_a_payment_that_failed_before() -> None:
    late = make_subscription("past_due", first_failure_at=day(-9), pause_behavior="void", paid_through=day(3))
    assert refused_for(ask("export", late, at=day(4))) is Reason.PAYMENT_PAST_DUE


def test_a_pause_does_not_hide_a_grace_that_ends_after_it_began() -> None:
    late = make_subscription("past_due", first_failure_at=day(-2), pause_behavior="void", paid_through=day(3))
    assert ask("export", late).ends_at == day(3)
    assert refused_for(ask("export", late, at=day(4))) is Reason.SUBSCRIPTION_PAUSED
    assert refused_for(ask("export", late, at=day(5))) is Reason.PAYMENT_PAST_DUE


def test_a_pause_is_said_before_a_status_that_is_unknown() -> None:
    trial = make_subscription("trialing", trial_end=day(3), pause_behavior="void", paid_through=day(3))
    assert refused_for(ask("export", trial, at=day(9))) is Reason.SUBSCRIPTION_PAUSED
    never_paid = make_subscription("trialing", trial_end=day(3), pause_behavior="void")
    assert refused_for(ask("export", never_paid, at=day(9))) is Reason.SUBSCRIPTION_PAUSED


# ── items, quantities, mapping ──────────────────────────────────────────────────────────────────────


def test_a_metered_item_counts_as_one() -> None:
    assert ask("seats", make_subscription(items=(make_item(quantity=None),))).value == 5


def test_per_unit_multiplies_by_the_quantity_of_the_item() -> None:
    assert ask("seats", make_subscription(items=(make_item(quantity=4),))).value == 20


def test_what_is_not_per_unit_ignores_the_quantity() -> None:
    assert ask("credits", make_subscription(items=(make_item(quantity=4),))).value == 100


def test_an_item_of_quantity_zero_gives_nothing() -> None:
    answer = ask("export", make_subscription(items=(make_item(quantity=0),)))
    assert refused_for(answer) is Reason.NOT_IN_PLAN


def test_a_price_made_in_the_dashboard_under_a_known_product_is_mapped() -> None:
    item = make_item("pro", price_id="price_dashboard", price_key=None, revision=None)
    answer = ask("export", make_subscription(items=(item,)))
    assert answer.granted
    assert (answer.sources[0].plan, answer.sources[0].price) == ("pro", None)


def test_a_listed_legacy_price_gives_its_plan() -> None:
    item = make_item("x", price_id="price_legacy", product_id="prod_old", price_key=None, revision=None)
    assert ask("export", make_subscription(items=(item,))).sources[0].plan == "pro"


def test_an_archived_price_still_grants() -> None:
    item = make_item("pro", price_id="price_of_2019", price_key="gone_from_the_catalog", revision=1)
    assert ask("export", make_subscription(items=(item,))).granted


def test_an_unknown_product_gives_nothing_and_says_so_for_every_feature() -> None:
    unknown = make_subscription(items=(make_item("x"),))
    for feature in ("export", "sso", "seats"):
        answer = ask(feature, unknown)
        assert refused_for(answer) is Reason.PRICE_UNMAPPED
        assert answer.sources[0].plan is None


def test_an_ended_subscription_of_an_unknown_product_is_just_canceled() -> None:
    gone = make_subscription("canceled", items=(make_item("x"),), ended_at=day(-1))
    assert refused_for(ask("export", gone)) is Reason.SUBSCRIPTION_CANCELED


def test_a_grandfathered_subscription_keeps_what_its_plan_gave_when_it_was_created() -> None:
    line = "[projects.acme.plans.team]\n"
    was = make_catalog(**{line: line + "grandfather = true\n", "seats = 40": "seats = 60"})
    now = make_catalog(**{line: line + "grandfather = true\n"})
    head = with_older_grants(now, [(was, day(-100), day(-20))])
    early = make_subscription(plan="team", created_at=day(-20) - MOMENT)
    assert ask("seats", early, catalog=head).value == 60
    late = make_subscription(plan="team", created_at=day(-20))
    assert ask("seats", late, catalog=head).value == 40
    assert (
        ask("seats", early, catalog=with_older_grants(make_catalog(), [(was, day(-100), day(-20))])).value
        == 40
    )


def test_a_source_names_the_plan_price_and_revision_of_its_item() -> None:
    (source,) = ask("export", make_subscription(items=(make_item(revision=3),))).sources
    assert (source.kind, source.id, source.plan, source.price, source.revision) == (
        "subscription",
        "sub_1",
        "pro",
        "month",
        3,
    )


def test_an_add_on_counts_only_with_the_plan_it_requires() -> None:
    alone = make_subscription(items=(make_item("extra"),))
    assert refused_for(ask("seats", alone)) is Reason.NOT_IN_PLAN
    both = make_subscription(items=(make_item("pro"), make_item("extra")))
    assert ask("seats", both).value == 15


def test_an_add_on_that_lost_its_access_gives_nothing_beside_the_plan_it_requires() -> None:
    addon = make_subscription("unpaid", subscription_id="sub_2", items=(make_item("extra"),))
    assert ask("seats", make_subscription(), addon).value == 5


def test_an_add_on_ends_with_the_plan_it_requires() -> None:
    base = make_subscription(cancel_at=day(3))
    addon = make_subscription(subscription_id="sub_2", items=(make_item("extra"),))
    assert ask("seats", base, addon).ends_at == day(3)
    assert not ask("seats", base, addon, at=day(3)).granted


def test_what_an_add_on_alone_gives_ends_with_the_first_of_both() -> None:
    catalog = make_catalog(**{"limit = 4 }": "limit = 4, sso = true }"})
    addon = make_subscription(subscription_id="sub_2", items=(make_item("extra"),), cancel_at=day(5))
    for cancel_at, end in ((None, day(5)), (day(3), day(3)), (day(9), day(5))):
        assert ask("sso", make_subscription(cancel_at=cancel_at), addon, catalog=catalog).ends_at == end


def test_an_add_on_counts_with_a_required_plan_that_gives_nothing_itself() -> None:
    catalog = make_catalog(
        **{
            'requires = "pro"': 'requires = "frame"',
            "[projects.acme.plans.boost]\n": "[projects.acme.plans.frame]\n[projects.acme.plans.boost]\n",
        }
    )
    both = make_subscription(items=(make_item("frame"), make_item("extra")))
    assert ask("seats", both, catalog=catalog).value == 10


def test_an_add_on_does_not_count_with_none_of_the_plan_it_requires() -> None:
    none = make_subscription(items=(make_item("pro", quantity=0), make_item("extra")))
    assert refused_for(ask("seats", none)) is Reason.NOT_IN_PLAN


def test_an_add_on_does_not_count_with_a_plan_that_gives_no_access_now() -> None:
    base = make_subscription("unpaid")
    addon = make_subscription(subscription_id="sub_2", items=(make_item("extra"),))
    answer = ask("seats", base, addon)
    assert refused_for(answer) is Reason.PAYMENT_UNPAID


# ── disputes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["needs_response", "under_review", "lost", "appeal_needs_response"])
def test_a_dispute_of_the_latest_paid_invoice_suspends_the_subscription(status: str) -> None:
    answer = ask("export", make_subscription(disputes=(make_dispute(status),)))
    assert refused_for(answer) is Reason.DISPUTED


@pytest.mark.parametrize("status", ["won", "warning_closed", "prevented"])
def test_a_dispute_that_is_over_without_loss_restores_the_subscription(status: str) -> None:
    answer = ask("export", make_subscription(disputes=(make_dispute(status),)))
    assert (answer.granted, answer.flags) == (True, UNSET)


@pytest.mark.parametrize("status", ["warning_needs_response", "warning_under_review", "warning_new"])
def test_an_inquiry_keeps_the_subscription_and_is_flagged(status: str) -> None:
    answer = ask("export", make_subscription(disputes=(make_dispute(status),)))
    assert (answer.granted, answer.flags) == (True, ("dispute_inquiry",))


def test_a_dispute_of_an_older_invoice_changes_nothing() -> None:
    for status in ("lost", "warning_under_review"):
        answer = ask("export", make_subscription(disputes=(make_dispute(status, is_latest=False),)))
        assert (answer.granted, answer.flags) == (True, UNSET)


def test_of_several_disputes_each_one_counts() -> None:
    asked = make_subscription(disputes=(make_dispute("won"), make_dispute("warning_under_review")))
    assert ask("export", asked).flags == ("dispute_inquiry",)
    lost = make_subscription(disputes=(make_dispute("won"), make_dispute("lost")))
    assert refused_for(ask("export", lost)) is Reason.DISPUTED


def test_policy_may_count_disputes_of_any_invoice() -> None:
    disputed = make_subscription(disputes=(make_dispute("under_review", is_latest=False),))
    catalog = make_catalog(policy='dispute = "any_invoice"')
    assert refused_for(ask("export", disputed, catalog=catalog)) is Reason.DISPUTED


def test_policy_may_keep_access_while_a_dispute_is_open() -> None:
    catalog = make_catalog(policy='dispute = "keep"')
    opened = make_subscription(disputes=(make_dispute("needs_response"),))
    assert ask("export", opened, catalog=catalog).granted
    lost = make_subscription(disputes=(make_dispute("lost"),))
    assert refused_for(ask("export", lost, catalog=catalog)) is Reason.DISPUTED
