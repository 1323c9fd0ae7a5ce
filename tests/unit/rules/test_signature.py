"""The door's first check: never looser than the SDK, and nothing but SignatureRefused comes out of it."""

import hashlib
import hmac
from datetime import UTC, datetime

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.signature import SignatureRefused, verify_signature

SECRET = b"whsec_test"
NOW = 1_795_000_000
BODY = b'{"id": "evt_1"}'


def sign(body: bytes = BODY, *, secret: bytes = SECRET, at: int = NOW) -> bytes:
    digest = hmac.new(secret, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}".encode()


def is_accepted(body: bytes, header: bytes | None, *secrets: bytes, at: int = NOW) -> bool:
    try:
        verify_signature(
            body, header, secrets or (SECRET,), at=datetime.fromtimestamp(at, tz=UTC), tolerance_s=300
        )
    except SignatureRefused:
        return False
    return True


def is_accepted_by_sdk(body: bytes, header: bytes) -> bool:
    try:
        return bool(
            stripe.WebhookSignature.verify_header(
                body.decode(), header.decode("latin-1"), SECRET.decode(), tolerance=None
            )
        )
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        return False


def test_a_delivery_signed_with_our_secret_is_accepted() -> None:
    assert is_accepted(BODY, sign())
    assert is_accepted_by_sdk(BODY, sign())


def test_a_changed_body_is_refused() -> None:
    assert not is_accepted(BODY + b" ", sign())


@pytest.mark.parametrize(
    ("late_s", "accepted"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)]
)
def test_the_timestamp_may_be_five_minutes_off_in_either_direction(late_s: int, *, accepted: bool) -> None:
    assert is_accepted(BODY, sign(at=NOW), at=NOW + late_s) is accepted


def test_while_a_secret_is_rotated_both_are_accepted() -> None:
    assert is_accepted(BODY, sign(secret=b"whsec_new"), SECRET, b"whsec_new")
    assert is_accepted(BODY, sign(), SECRET, b"whsec_new")
    assert not is_accepted(BODY, sign(), b"whsec_new")


def test_any_of_several_signatures_may_be_ours() -> None:
    header = sign().replace(b",v1=", b",v1=" + b"0" * 64 + b",v1=")
    assert is_accepted(BODY, header)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "missing"),
        (b"", "missing"),
        (b"t=1", "header"),
        (b"v1=" + b"0" * 64, "header"),
        (sign() + b",t=1", "header"),
        (sign().replace(b"v1", b"v0"), "header"),
        (b"t=" + str(NOW).encode() + b",v1=x" * 11, "header"),
        (sign() + b",x=" + b"y" * 1024, "header"),
        ("t=1,v1=ä".encode(), "header"),
        (b"t=-5,v1=" + b"0" * 64, "header"),
        (b"t=" + b"9" * 13 + b",v1=" + b"0" * 64, "header"),
        (b"t=1,v1=" + b"0" * 64, "timestamp"),
        (f"t={NOW},v1={'0' * 64}".encode(), "mismatch"),
    ],
)
def test_a_refusal_names_its_check_for_our_counters_and_says_the_same_to_everybody(
    header: bytes | None, reason: str
) -> None:
    with pytest.raises(SignatureRefused) as refused:
        verify_signature(BODY, header, [SECRET], at=datetime.fromtimestamp(NOW, tz=UTC), tolerance_s=300)
    assert refused.value.reason == reason
    assert refused.value.detail == "The signature or the body is not valid."


def test_without_a_secret_nothing_is_accepted() -> None:
    with pytest.raises(SignatureRefused):
        verify_signature(BODY, sign(), [], at=datetime.fromtimestamp(NOW, tz=UTC), tolerance_s=300)


@given(header=st.binary(max_size=80), body=st.binary(max_size=40))
def test_no_bytes_raise_anything_but_a_refusal(header: bytes, body: bytes) -> None:
    assert not is_accepted(body, header)


@given(
    position=st.integers(0, 200),
    replacement=st.sampled_from([b"", b",", b"=", b"t", b"v1=", b"0", b"\xff", b" ", b"1"]),
)
def test_what_the_sdk_refuses_we_refuse(position: int, replacement: bytes) -> None:
    signed = sign()
    cut = position % (len(signed) + 1)
    header = signed[:cut] + replacement + signed[cut + 1 :]
    if is_accepted(BODY, header):
        assert is_accepted_by_sdk(BODY, header)
