"""How a read is recognised that is older than the event that announced it."""

from typing import Any

import msgspec
import pytest

from domain.errors import Broken
from domain.rules.closure import awaited_by, is_older, is_outdated, watched_fields
from domain.rules.shapes import parse_customer, parse_session, parse_subscription

PRICE = {"id": "price_1", "product": "prod_1", "type": "recurring"}
ITEM = {"id": "si_1", "price": PRICE, "quantity": 2, "current_period_start": 1, "current_period_end": 2}


def subscription(**changes: Any) -> dict[str, Any]:
    return {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "created": 1,
        "items": {"data": [ITEM]},
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "trialing"},
        {"cancel_at": 5},
        {"cancel_at_period_end": True},
        {"pause_collection": {"behavior": "void", "resumes_at": None}},
        {"items": {"data": [{**ITEM, "quantity": 3}]}},
        {"items": {"data": [{**ITEM, "price": {**PRICE, "id": "price_2"}}]}},
        {"items": {"data": [ITEM, {**ITEM, "id": "si_2"}]}},
    ],
)
def test_a_difference_in_a_watched_field_means_that_the_read_may_lag(changes: dict[str, Any]) -> None:
    base = {"cancel_at": None, "cancel_at_period_end": False, "pause_collection": None}
    read = watched_fields("subscription", subscription(**base))
    assert not is_older(watched_fields("subscription", subscription(**base)), read)
    assert is_older(watched_fields("subscription", subscription(**{**base, **changes})), read)


def test_the_order_of_items_is_no_difference() -> None:
    two = [ITEM, {**ITEM, "id": "si_2"}]
    one = watched_fields("subscription", subscription(items={"data": two}))
    assert not is_older(one, watched_fields("subscription", subscription(items={"data": two[::-1]})))


def test_a_field_another_version_lacks_or_shapes_otherwise_is_no_difference() -> None:
    read = watched_fields("subscription", subscription())
    old = {"id": "sub_1", "status": "active", "plan": {"id": "plan_1"}, "items": "?"}
    assert not is_older(watched_fields("subscription", old), read)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"data": 5}', b'{"data": {"object": []}}', b"\xff"])
def test_an_unreadable_payload_announces_nothing(payload: bytes) -> None:
    assert awaited_by("subscription", payload) == {}


def test_a_payload_announces_its_objects_fields() -> None:
    payload = msgspec.json.encode({"data": {"object": {"payment_status": "paid", "status": "complete"}}})
    assert awaited_by("checkout.session", payload) == {"payment_status": "paid", "status": "complete"}


# ── shapes ──


def test_the_causes_of_a_pause_are_read_from_the_status_details() -> None:
    found = parse_subscription(
        subscription(
            status="paused",
            status_details={"paused": {"subscription": {"type": "first_payment_failure"}}},
            pause_collection={"behavior": "void", "resumes_at": 60},
        )
    )
    assert found.subscription.pause_cause == "first_payment_failure"
    assert found.subscription.pause_behavior == "void"
    assert found.pause_resumes_at is not None


@pytest.mark.parametrize(
    "changes",
    [{"status": None}, {"created": "now"}, {"items": {}}, {"customer": None}, {"items": {"data": [{}]}}],
)
def test_a_subscription_of_another_shape_is_broken_and_named(changes: dict[str, Any]) -> None:
    with pytest.raises(Broken, match="sub_1"):
        parse_subscription(subscription(**changes))


def session(**changes: Any) -> dict[str, Any]:
    return {
        "id": "cs_1",
        "object": "checkout.session",
        "created": 10,
        "mode": "payment",
        "status": "complete",
        "payment_status": "paid",
        "customer": "cus_1",
        "currency": "usd",
        "payment_intent": {
            "id": "pi_1",
            "latest_charge": {"id": "ch_1", "created": 20, "amount_captured": 900},
        },
        **changes,
    }


LINE = {"id": "li_1", "price": {**PRICE, "type": "one_time"}, "quantity": 1, "currency": "usd"}


def test_a_paid_one_time_line_is_a_purchase_from_the_moment_of_its_charge() -> None:
    (bought,) = parse_session(session(), [LINE]).purchases
    assert bought.purchase.purchase_id == "cs_1/li_1"
    assert bought.purchase.paid_at.timestamp() == 20
    assert bought.purchase.captured_minor == 900


def test_a_free_line_is_a_purchase_from_the_moment_of_its_session() -> None:
    free = session(payment_status="no_payment_required", payment_intent=None)
    (bought,) = parse_session(free, [LINE]).purchases
    assert (bought.purchase.paid_at.timestamp(), bought.purchase.captured_minor) == (10, 0)


@pytest.mark.parametrize("changes", [{"payment_status": "unpaid"}, {"status": "open"}, {"status": "expired"}])
def test_what_is_not_paid_is_no_purchase(changes: dict[str, Any]) -> None:
    assert parse_session(session(**changes), [LINE]).purchases == ()


def test_the_recurring_lines_of_a_session_are_no_purchases() -> None:
    assert parse_session(session(), [{**LINE, "price": PRICE}]).purchases == ()


def test_a_deleted_customer_is_a_stub() -> None:
    found = parse_customer({"id": "cus_1", "object": "customer", "deleted": True})
    assert found.is_deleted
    assert found.ref is None


@pytest.mark.parametrize(
    ("kind", "awaited", "read"),
    [
        ("invoice", {"status": "open", "amount_paid": 0}, {"status": "paid", "amount_paid": 5}),
        ("invoice", {"status": "uncollectible"}, {"status": "void"}),
        ("invoice", {"status": "draft"}, {"status": "open"}),
        ("payment_intent", {"status": "requires_action"}, {"status": "succeeded"}),
        ("invoice_payment", {"status": "open"}, {"status": "paid"}),
        ("subscription", {"status": "incomplete"}, {"status": "active"}),
        ("subscription", {"status": "active"}, {"status": "canceled"}),
        (
            "checkout.session",
            {"status": "open", "payment_status": "unpaid"},
            {"status": "complete", "payment_status": "unpaid"},
        ),
        (
            "checkout.session",
            {"status": "complete", "payment_status": "unpaid"},
            {"status": "complete", "payment_status": "paid"},
        ),
    ],
)
def test_an_announcement_of_what_never_comes_back_is_not_waited_for(
    kind: str, awaited: dict[str, Any], read: dict[str, Any]
) -> None:
    assert is_older(awaited, read)
    assert is_outdated(kind, awaited, read)


@pytest.mark.parametrize(
    ("kind", "awaited", "read"),
    [
        ("invoice", {"status": "paid"}, {"status": "open"}),
        ("invoice", {"status": "paid"}, {"status": "uncollectible"}),
        ("invoice", {"status": "open"}, {"status": "draft"}),
        ("payment_intent", {"status": "succeeded"}, {"status": "processing"}),
        ("subscription", {"status": "past_due"}, {"status": "active"}),
        ("subscription", {"status": "active"}, {"status": "incomplete"}),
        ("subscription", {"status": "active"}, {}),
        ("refund", {"status": "failed"}, {"status": "succeeded"}),
        ("dispute", {"status": "needs_response"}, {"status": "won"}),
        (
            "checkout.session",
            {"status": "complete", "payment_status": "paid"},
            {"status": "complete", "payment_status": "unpaid"},
        ),
    ],
)
def test_what_may_still_come_is_waited_for(kind: str, awaited: dict[str, Any], read: dict[str, Any]) -> None:
    assert not is_outdated(kind, awaited, read)
