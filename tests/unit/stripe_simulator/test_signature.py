import time

import pytest
import stripe

from deploy.local.stripe_simulator.sender import signature

BODY = b'{"id":"evt_1"}'


def test_the_sdk_accepts_our_signature() -> None:
    header = signature("whsec_a", BODY, int(time.time()))
    assert stripe.WebhookSignature.verify_header(BODY.decode(), header, "whsec_a", 300)


def test_the_sdk_refuses_another_secret_and_another_body() -> None:
    header = signature("whsec_a", BODY, int(time.time()))
    for body, secret in ((BODY.decode(), "whsec_b"), (BODY.decode() + " ", "whsec_a")):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(body, header, secret, 300)
