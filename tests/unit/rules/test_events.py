"""Which event is a hint of which object, whatever version and shape its payload has."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.model import EventState, NewEvent, TargetRef
from domain.rules.closure import WATCHED
from domain.rules.events import USED, BodyRefused, Deployment, classify, read_envelope

OURS = Deployment("acct_ours", "test", "local")


def event(**changes: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "object": "event",
        "type": "customer.subscription.updated",
        "created": 1_700_000_000,
        "livemode": False,
        "api_version": "2020-08-27",
        "data": {"object": {"id": "sub_1", "object": "subscription", "customer": "cus_1"}},
        **changes,
    }


def received(deployment: Deployment | None = OURS, **changes: Any) -> NewEvent:
    return classify(read_envelope(msgspec.json.encode(event(**changes))), deployment)


def about(**fields: Any) -> dict[str, Any]:
    return {"object": {"id": "sub_1", "object": "subscription", **fields}}


def test_a_used_type_is_pending_for_the_customer_its_payload_names() -> None:
    found = received()
    assert (found.state, found.object_kind, found.object_id) == (EventState.PENDING, "subscription", "sub_1")
    assert found.target == TargetRef("customer", "cus_1")


@pytest.mark.parametrize(
    ("data", "target"),
    [
        (about(customer="cus_1"), TargetRef("customer", "cus_1")),
        (about(customer={"id": "cus_1", "object": "customer"}), TargetRef("customer", "cus_1")),
        (about(customer=None), TargetRef("subscription", "sub_1")),
        (about(), TargetRef("subscription", "sub_1")),
        (about(customer=17), TargetRef("subscription", "sub_1")),
        (about(customer={"deleted": True}), TargetRef("subscription", "sub_1")),
        (about(customer="cus_1\x00"), TargetRef("subscription", "sub_1")),
    ],
)
def test_the_target_is_the_customer_where_one_is_named_else_the_object(
    data: dict[str, Any], target: TargetRef
) -> None:
    assert received(data=data).target == target


def test_a_customers_own_event_is_for_itself() -> None:
    found = received(type="customer.updated", data={"object": {"id": "cus_7", "object": "customer"}})
    assert found.target == TargetRef("customer", "cus_7")


def test_a_type_we_do_not_use_is_stored_as_ignored() -> None:
    found = received(type="payout.paid")
    assert (found.state, found.reason, found.target) == (EventState.IGNORED, "unused_type", None)


@pytest.mark.parametrize(
    "data",
    [None, {}, {"object": None}, {"object": {}}, {"object": {"id": None}}, {"object": {"id": "../invoices"}}],
)
def test_a_used_type_whose_payload_names_no_object_has_no_target(data: Any) -> None:
    found = received(data=data)
    assert (found.state, found.reason, found.target) == (EventState.IGNORED, "no_target", None)


def test_a_thin_event_names_its_object_beside_the_data() -> None:
    thin = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "customer.subscription.updated",
        "created": "2026-11-22T12:00:00.000Z",
        "livemode": False,
        "related_object": {"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"},
    }
    found = classify(read_envelope(msgspec.json.encode(thin)), OURS)
    assert found.target == TargetRef("subscription", "sub_1")
    assert found.created_at is not None


def test_the_other_mode_is_foreign() -> None:
    assert (received(livemode=True).state, received(livemode=True).reason) == (
        EventState.FOREIGN,
        "other_mode",
    )


def test_another_account_is_foreign_and_an_absent_one_is_ours() -> None:
    assert received(account="acct_other").reason == "other_account"
    assert received(account="acct_ours").state is EventState.PENDING
    assert received(account=None).state is EventState.PENDING


def test_while_the_deployment_is_not_known_nothing_is_judged_foreign() -> None:
    assert received(None, livemode=True).state is EventState.PENDING


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"17",
        b'{"id": "evt_1"}',
        b'{"type": "x", "id": 5}',
        b'{"id": "", "type": "x"}',
        b'{"id": "evt 1", "type": "x"}',
        b'{"id": "evt_\\u0000", "type": "x"}',
        b'{"id": "th_forged", "type": "x"}',
        b'{"id": "evt_1", "type": "x", "livemode": NaN}',
        b'{"id": "evt_1", "type": "x", "livemode": "yes"}',
        b'{"id": "evt_1", "type": "\\ud800"}',
        b"\xff\xfe{}",
        b'{"id": "' + b"e" * 300 + b'", "type": "x"}',
        b'{"data":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(BodyRefused):
        read_envelope(body)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    try:
        read_envelope(body)
    except BodyRefused:
        return


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(created=json_values, account=json_values, found=json_values, customer=json_values)
def test_whatever_a_payload_holds_the_event_is_pending_with_a_target_or_has_a_reason(
    created: Any, account: Any, found: Any, customer: Any
) -> None:
    data = {"object": {"id": found, "customer": customer}}
    result = received(created=created, account=account, data=data)
    if result.state is EventState.PENDING:
        assert result.target is not None
        assert result.object_id is not None
    else:
        assert result.target is None
        assert result.reason is not None


def test_every_used_type_says_why() -> None:
    assert all(use.why for use in USED.values())
    assert {use.object_kind for use in USED.values()} == {"customer", *WATCHED}


@pytest.mark.parametrize(
    "odd", ["../invoices", "sub_1/../x", "sub_1?a=b", "sub_1#a", "%73ub_1", "sub.1", "sub 1"]
)
def test_an_id_that_would_lead_a_read_to_another_path_is_no_id(odd: str) -> None:
    assert received(data={"object": {"id": odd, "customer": "cus_1"}}).reason == "no_target"
    assert received(data={"object": {"id": "sub_1", "customer": odd}}).target == TargetRef(
        "subscription", "sub_1"
    )
