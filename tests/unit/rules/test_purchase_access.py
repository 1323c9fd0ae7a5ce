"""When a one-time purchase gives access: one test per rule."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec import UNSET

from domain.model import Reason
from domain.rules.catalog import with_older_grants
from tests.unit.rules.builders import (
    NOW,
    ask,
    day,
    make_catalog,
    make_dispute,
    make_purchase,
    make_refund,
)

MOMENT = timedelta(microseconds=1)


def second(**fields: Any):
    return make_purchase(**{"purchase_id": "cs_2/li_1", "object_id": "cs_2", **fields})


# ── how long ────────────────────────────────────────────────────────────────────────────────────────


def test_a_lifetime_purchase_gives_access_without_an_end() -> None:
    answer = ask("export", make_purchase("founder"), at=day(40_000))
    assert (answer.granted, answer.reason, answer.ends_at) == (True, Reason.PURCHASE, None)


def test_a_timed_purchase_gives_access_for_its_days() -> None:
    bought = make_purchase(paid_at=day(-10))
    held = ask("export", bought)
    assert (held.reason, held.ends_at) == (Reason.PURCHASE, day(20))
    assert ask("export", bought, at=day(20) - MOMENT).granted
    answer = ask("export", bought, at=day(20))
    assert (answer.granted, answer.reason) == (False, Reason.PURCHASE_EXPIRED)


def test_a_purchase_gives_no_access_before_it_was_paid() -> None:
    for plan in ("pass", "founder"):
        answer = ask("export", make_purchase(plan, paid_at=day(1)))
        assert (answer.granted, answer.reason) == (False, Reason.NOT_STARTED)
        assert ask("export", make_purchase(plan, paid_at=day(1)), at=day(1)).granted


def test_each_price_of_a_plan_has_its_own_days() -> None:
    assert ask("export", make_purchase(price_key="week", paid_at=day(-1))).ends_at == day(6)


def test_a_listed_legacy_price_has_the_days_of_the_price_that_lists_it() -> None:
    catalog = make_catalog(**{'duration = "P30D"': 'duration = "P30D"\nstripe_ids = ["price_2019"]'})
    bought = make_purchase(price_id="price_2019", product_id="prod_old", price_key=None, paid_at=day(-1))
    assert ask("export", bought, catalog=catalog).ends_at == day(29)


def test_a_price_made_in_the_dashboard_gives_the_shortest_time_the_plan_sells() -> None:
    assert ask("export", make_purchase(price_key=None, paid_at=day(-1))).ends_at == day(6)


def test_a_purchase_of_a_plan_that_sells_no_time_is_not_mapped() -> None:
    answer = ask("export", make_purchase("pro", price_key=None))
    assert (answer.granted, answer.reason) == (False, Reason.PRICE_UNMAPPED)


def test_a_purchase_of_an_unknown_product_is_not_mapped() -> None:
    answer = ask("export", make_purchase("unheard_of"))
    assert (answer.granted, answer.reason) == (False, Reason.PRICE_UNMAPPED)


def test_an_unmapped_purchase_that_was_refunded_is_refunded() -> None:
    answer = ask("export", make_purchase("unheard_of", refunds=(make_refund(900),)))
    assert answer.reason is Reason.REFUNDED


def test_a_purchase_is_named_by_the_object_it_stands_on() -> None:
    (source,) = ask("export", make_purchase(revision=4)).sources
    assert (source.kind, source.id, source.plan) == ("purchase", "cs_1", "pass")
    assert (source.price, source.revision) == ("once", 4)


# ── folding ─────────────────────────────────────────────────────────────────────────────────────────


def test_timed_purchases_of_one_plan_follow_each_other() -> None:
    both = (make_purchase(paid_at=day(-10)), second(paid_at=day(-5)))
    assert [source.id for source in ask("export", *both).sources] == ["cs_1"]
    assert [source.id for source in ask("export", *both, at=day(20)).sources] == ["cs_2"]
    assert ask("export", *both, at=day(50) - MOMENT).granted
    assert ask("export", *both, at=day(50)).reason is Reason.PURCHASE_EXPIRED


def test_access_by_purchases_that_follow_each_other_ends_with_the_last() -> None:
    assert ask("export", make_purchase(paid_at=day(-10)), second(paid_at=day(-5))).ends_at == day(50)


def test_a_purchase_after_the_end_of_the_one_before_begins_when_it_is_paid() -> None:
    apart = (make_purchase(paid_at=day(-50)), second(paid_at=day(-5)))
    assert ask("export", *apart).ends_at == day(25)
    assert not ask("export", *apart, at=day(-10)).granted
    assert ask("export", *apart, at=day(-45)).ends_at == day(-20)


def test_purchases_of_one_instant_follow_each_other_by_id() -> None:
    both = (second(paid_at=NOW), make_purchase(paid_at=NOW))
    assert [source.id for source in ask("export", *both).sources] == ["cs_1"]


def test_purchases_of_different_plans_run_side_by_side() -> None:
    catalog = make_catalog(**{'duration = "lifetime"': 'duration = "P60D"'})
    both = (make_purchase(paid_at=NOW), second(plan="founder", price_id="p", paid_at=NOW))
    assert [source.id for source in ask("export", *both, catalog=catalog).sources] == ["cs_1", "cs_2"]


def test_a_refunded_purchase_drops_out_of_the_row() -> None:
    both = (make_purchase(paid_at=day(-10), refunds=(make_refund(900),)), second(paid_at=day(-5)))
    assert ask("export", *both).ends_at == day(25)


def test_a_disputed_purchase_does_not_delay_a_paid_one() -> None:
    both = (make_purchase(paid_at=day(-10), disputes=(make_dispute("lost"),)), second(paid_at=day(-5)))
    answer = ask("export", *both)
    assert ([source.id for source in answer.sources], answer.ends_at) == (["cs_2"], day(25))


# ── refunds ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["succeeded", "pending"])
def test_a_full_refund_ends_the_purchase(status: str) -> None:
    answer = ask("export", make_purchase(refunds=(make_refund(900, status),)))
    assert (answer.granted, answer.reason) == (False, Reason.REFUNDED)


def test_partial_refunds_that_sum_to_all_end_the_purchase() -> None:
    refunds = (make_refund(400), make_refund(500))
    assert ask("export", make_purchase(refunds=refunds)).reason is Reason.REFUNDED


def test_a_full_refund_of_the_smallest_amount_ends_the_purchase() -> None:
    bought = make_purchase(captured_minor=1, refunds=(make_refund(1),))
    assert ask("export", bought).reason is Reason.REFUNDED


def test_a_partial_refund_keeps_the_purchase_and_is_flagged() -> None:
    answer = ask("export", make_purchase(refunds=(make_refund(899),)))
    assert (answer.granted, answer.flags) == (True, ("partially_refunded",))


@pytest.mark.parametrize("status", ["failed", "canceled", "requires_action"])
def test_a_refund_that_fails_restores(status: str) -> None:
    answer = ask("export", make_purchase(refunds=(make_refund(900, status),)))
    assert (answer.granted, answer.flags) == (True, UNSET)


def test_policy_may_set_the_share_from_which_a_refund_counts() -> None:
    catalog = make_catalog(policy="refund = { revoke_from = 0.5 }")
    kept = make_purchase(refunds=(make_refund(449),))
    assert ask("export", kept, catalog=catalog).flags == ("partially_refunded",)
    ended = make_purchase(refunds=(make_refund(450),))
    assert ask("export", ended, catalog=catalog).reason is Reason.REFUNDED


def test_policy_may_keep_access_after_a_refund() -> None:
    answer = ask(
        "export", make_purchase(refunds=(make_refund(900),)), catalog=make_catalog(policy='refund = "keep"')
    )
    assert (answer.granted, answer.flags) == (True, UNSET)


def test_a_free_purchase_is_not_refunded() -> None:
    assert ask("export", make_purchase(captured_minor=0)).granted


# ── disputes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["needs_response", "under_review", "lost", "appeal_under_review"])
def test_a_dispute_takes_the_purchase_away(status: str) -> None:
    answer = ask("export", make_purchase(disputes=(make_dispute(status),)))
    assert (answer.granted, answer.reason) == (False, Reason.DISPUTED)


@pytest.mark.parametrize("status", ["won", "warning_closed"])
def test_a_dispute_that_is_won_restores_the_purchase(status: str) -> None:
    assert ask("export", make_purchase(disputes=(make_dispute(status),))).granted


def test_an_inquiry_keeps_the_purchase_and_is_flagged() -> None:
    answer = ask("export", make_purchase(disputes=(make_dispute("warning_under_review"),)))
    assert (answer.granted, answer.flags) == (True, ("dispute_inquiry",))


def test_of_several_disputes_of_a_purchase_each_one_counts() -> None:
    won = make_dispute("won")
    assert not ask("export", make_purchase(disputes=(won, make_dispute("lost")))).granted
    asked = make_purchase(disputes=(won, make_dispute("warning_under_review")))
    assert ask("export", asked).flags == ("dispute_inquiry",)


def test_a_prevented_dispute_is_a_refund_of_its_amount() -> None:
    whole = make_purchase(disputes=(make_dispute("prevented", amount_minor=900),))
    assert ask("export", whole).reason is Reason.REFUNDED
    part = make_purchase(disputes=(make_dispute("prevented", amount_minor=100),))
    assert ask("export", part).flags == ("partially_refunded",)


def test_policy_may_keep_a_purchase_while_its_dispute_is_open() -> None:
    catalog = make_catalog(policy='dispute = "keep"')
    assert ask("export", make_purchase(disputes=(make_dispute("under_review"),)), catalog=catalog).granted
    assert not ask("export", make_purchase(disputes=(make_dispute("lost"),)), catalog=catalog).granted


def test_a_status_that_stripe_adds_to_disputes_changes_nothing() -> None:
    assert ask("export", make_purchase(disputes=(make_dispute("meditating"),))).granted


# ── what was bought under an earlier catalog ────────────────────────────────────────────────────────


def test_a_grandfathered_purchase_keeps_what_it_once_gave() -> None:
    was = {"grants = { export = true, seats = 3 }": "grandfather = true\ngrants = { seats = 9, sso = true }"}
    now = {"grants = { export = true, seats = 3 }": "grandfather = true\ngrants = { export = true }"}
    head = with_older_grants(make_catalog(**now), [(make_catalog(**was), day(-100), day(-20))])
    early, late = make_purchase("founder", paid_at=day(-30)), make_purchase("founder", paid_at=day(-20))
    assert ask("seats", early, catalog=head).value == 9
    assert not ask("export", early, catalog=head).granted
    assert not ask("seats", late, catalog=head).granted
    assert ask("export", late, catalog=head).granted


def test_an_older_grant_that_no_longer_fits_its_feature_is_nothing() -> None:
    was = {"grants = { export = true, seats = 3 }": "grandfather = true\ngrants = { credits = 9 }"}
    now = {
        "grants = { export = true, seats = 3 }": "grandfather = true\ngrants = { export = true }",
        'features.credits]\ntype = "integer"\nmerge = "sum"': 'features.credits]\ntype = "boolean"',
        "credits = 100": "",
        "credits = 50": "",
    }
    head = with_older_grants(make_catalog(**now), [(make_catalog(**was), day(-100), day(-20))])
    assert not ask("credits", make_purchase("founder", paid_at=day(-30)), catalog=head).granted
