"""The table of event types: what we listen to, and whom each payload concerns, of whatever version."""

from typing import Any

import msgspec
import pytest

from domain.model import EventState, NewEvent, TargetRef
from domain.rules.closure import awaited_by
from domain.rules.events import OLD_NAMES, USED, classify, read_envelope

EXPECTED = {
    "checkout.session": "completed async_payment_succeeded async_payment_failed expired",
    "customer.subscription": "created updated deleted paused resumed trial_will_end pending_update_applied "
    "pending_update_expired",
    "invoice": "paid payment_failed payment_action_required finalized voided marked_uncollectible",
    "invoice_payment": "paid",
    "payment_intent": "succeeded payment_failed canceled",
    "charge": "refunded",
    "refund": "created updated failed",
    "charge.dispute": "created updated closed funds_withdrawn funds_reinstated",
    "customer": "created updated deleted",
    "product": "created updated deleted",
    "price": "created updated deleted",
    "test_helpers.test_clock": "ready",
}


def received(event_type: str, shown: dict[str, Any] | None, **changes: Any) -> NewEvent:
    event = {"id": "evt_1", "object": "event", "type": event_type, "data": {"object": shown}, **changes}
    return classify(read_envelope(msgspec.json.encode(event)), None)


def test_the_table_has_the_41_types_and_two_older_names() -> None:
    wanted = {f"{noun}.{verb}" for noun, verbs in EXPECTED.items() for verb in verbs.split()}
    assert len(wanted) == 41
    assert set(USED) == wanted | OLD_NAMES


@pytest.mark.parametrize("event_type", sorted(USED))
def test_a_payload_with_a_customer_concerns_the_customer_unless_it_is_shared(event_type: str) -> None:
    kind = USED[event_type].object_kind
    found = received(event_type, {"id": "obj_1", "customer": {"id": "cus_1", "object": "customer"}})
    assert (found.state, found.object_kind, found.object_id) == (EventState.PENDING, kind, "obj_1")
    if kind in {"customer", "product", "price", "test_clock"}:
        assert found.target == TargetRef(kind, "obj_1")
    else:
        assert found.target == TargetRef("customer", "cus_1")


@pytest.mark.parametrize("event_type", sorted(USED))
@pytest.mark.parametrize("customer", [{}, {"customer": None}])
def test_a_payload_without_a_customer_concerns_its_object(event_type: str, customer: dict[str, Any]) -> None:
    kind = USED[event_type].object_kind
    assert received(event_type, {"id": "obj_1", **customer}).target == TargetRef(kind, "obj_1")


@pytest.mark.parametrize("event_type", sorted(USED))
def test_a_thin_event_names_its_object_only(event_type: str) -> None:
    thin = {
        "id": "evt_1",
        "object": "v2.core.event",
        "type": f"v1.{event_type}",
        "related_object": {"id": "obj_1", "type": "x", "url": "/v1/x"},
    }
    found = classify(read_envelope(msgspec.json.encode(thin)), None)
    assert found.target == TargetRef(USED[event_type].object_kind, "obj_1")


@pytest.mark.parametrize("event_type", ["charge.dispute.closed", "charge.refund.updated"])
@pytest.mark.parametrize("reference", ["ch_1", {"id": "ch_1", "object": "charge"}])
def test_an_old_dispute_or_refund_without_an_id_concerns_its_charge(event_type: str, reference: Any) -> None:
    found = received(event_type, {"object": "dispute", "charge": reference, "status": "won"})
    assert (found.object_kind, found.object_id) == ("charge", "ch_1")
    assert found.target == TargetRef("charge", "ch_1")
    by_intent = received(event_type, {"charge": None, "payment_intent": "pi_1"})
    assert by_intent.target == TargetRef("payment_intent", "pi_1")


@pytest.mark.parametrize("event_type", sorted(USED))
@pytest.mark.parametrize("shown", [None, {}, {"id": None}, {"id": 5}, {"id": "../customers"}])
def test_a_payload_that_names_nothing_is_ignored_with_the_reason(
    event_type: str, shown: dict[str, Any] | None
) -> None:
    found = received(event_type, shown)
    assert (found.state, found.reason, found.target) == (EventState.IGNORED, "no_target", None)


def test_an_upcoming_invoice_has_no_id_and_is_not_used() -> None:
    assert received("invoice.upcoming", {"customer": "cus_1"}).reason == "unused_type"


def test_of_a_payload_that_shows_another_object_than_is_read_nothing_is_awaited() -> None:
    body = msgspec.json.encode({"data": {"object": {"object": "dispute", "status": "won", "charge": "ch_1"}}})
    assert awaited_by("charge", body) == {}
    assert awaited_by("dispute", body) == {"status": "won"}


@pytest.mark.parametrize("kind", ["customer", "product", "price", "test_clock"])
def test_of_a_deleted_object_its_deletion_is_awaited(kind: str) -> None:
    body = msgspec.json.encode({"type": f"{kind}.deleted", "data": {"object": {"id": "x", "active": True}}})
    assert awaited_by(kind, body) == {"deleted": True}


@pytest.mark.parametrize("event_type", ["product.updated", "price.updated"])
def test_a_chosen_id_may_have_dots_but_lead_to_no_other_path(event_type: str) -> None:
    assert received(event_type, {"id": "gold-1.5"}).object_id == "gold-1.5"
    for odd in (".", "..", "../customers", "a/b", "a?b", "%2e%2e", ""):
        assert received(event_type, {"id": odd}).reason == "no_target", odd
