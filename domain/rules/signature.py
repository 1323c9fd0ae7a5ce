"""Verifies `Stripe-Signature` on bytes, before anything is parsed.

Never looser than the SDK's `WebhookSignature.verify_header` (a test compares the two) and stricter where
that one is lax: both directions of the clock are limited, the header is short ASCII with one `t`, and no
input can raise anything but `SignatureRefused`. Source: docs.stripe.com/webhooks#verify-manually.
"""

import hmac
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

from domain.errors import Rejected

MAX_HEADER_BYTES = 1024
MAX_SIGNATURES = 10


class SignatureRefused(Rejected):
    """Not signed with a secret of ours; `reason` is for our counters, never for the sender."""

    code = "bad_signature"

    def __init__(self, reason: str) -> None:
        super().__init__("The signature or the body is not valid.")
        self.reason = reason


def verify_signature(
    body: bytes, header: bytes | None, secrets: Iterable[bytes], *, at: datetime, tolerance_s: int
) -> None:
    """Return if `header` signs `body` with one of the active `secrets`; `at` is aware UTC.

    `|at - t| ≤ tolerance_s`, both ends allowed; whole seconds, as Stripe's `t` has them.

    Raises:
        SignatureRefused: anything else; `reason` says which check.
    """
    timestamp, signatures = _parse(header)
    if abs(int(at.timestamp()) - int(timestamp)) > tolerance_s:
        raise SignatureRefused("timestamp")
    signed = timestamp + b"." + body
    for secret in secrets:
        expected = hmac.new(secret, signed, sha256).hexdigest().encode()
        # Every signature is compared, so that the time taken does not tell which one came close.
        if any([hmac.compare_digest(expected, given) for given in signatures]):  # noqa: C419 - see above
            return
    raise SignatureRefused("mismatch")


def _parse(header: bytes | None) -> tuple[bytes, list[bytes]]:
    if not header:
        raise SignatureRefused("missing")
    if len(header) > MAX_HEADER_BYTES or not header.isascii():
        raise SignatureRefused("header")
    pairs = [part.partition(b"=") for part in header.split(b",")]
    timestamps = [value for key, _, value in pairs if key == b"t"]
    signatures = [value for key, _, value in pairs if key == b"v1"]
    # 12 digits reach the year 33658; more would only make int() slow.
    if len(timestamps) != 1 or not timestamps[0].isdigit() or len(timestamps[0]) > 12:  # noqa: PLR2004
        raise SignatureRefused("header")
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise SignatureRefused("header")
    return timestamps[0], signatures
