"""Idempotency keys: the same key and parameters get the same answer, without a second effect."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.params import Raw
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe's limit, in characters.
LONGEST_KEY = 255


class IdempotencyKeys:
    """Which keys are in use right now; the answers themselves are rows of the account."""

    def __init__(self) -> None:
        self._in_flight: set[tuple[str, str]] = set()

    @contextmanager
    def holding(self, account: Account, key: str | None) -> Iterator[None]:
        """Hold a key while its call is answered; raises 409 when another call holds it."""
        if key is None:
            yield
            return
        if len(key) > LONGEST_KEY:
            message = f"Idempotency-Key can be at most {LONGEST_KEY} characters, this one has {len(key)}."
            raise StripeError(message, error_type="idempotency_error", is_saved=False)
        place = (account.account_id, key)
        if place in self._in_flight:
            raise StripeError(
                "There is currently another in-progress request using this Idempotent Key (that probably "
                "means you submitted twice, and the other request is still going through). Please try "
                "again later.",
                status=409,
                code="idempotency_key_in_use",
                is_saved=False,
            )
        self._in_flight.add(place)
        try:
            yield
        finally:
            self._in_flight.discard(place)


def find_answer(account: Account, key: str, fingerprint: str) -> Json | None:
    """The saved answer (`status`, `body`, `request_id`); raises when the key was used for another call."""
    saved = account.find("idempotency", key)
    if saved is not None and saved["fingerprint"] != fingerprint:
        raise StripeError(
            "Keys for idempotent requests can only be used with the same parameters they were first used "
            f"with. Try using a key other than '{key}' if you meant to execute a different request.",
            error_type="idempotency_error",
            is_saved=False,
        )
    return saved


def save_answer(
    account: Account, key: str, fingerprint: str, *, status: int, body: bytes, request_id: str
) -> None:
    row = {"id": key, "fingerprint": fingerprint, "status": status, "body": body.decode()}
    account.put("idempotency", {**row, "request_id": request_id})


def fingerprint_of(method: str, path: str, form: dict[str, Raw]) -> str:
    """Equal for calls that ask for the same, whatever the order of their parameters."""
    return hashlib.sha256(msgspec.json.encode([method, path, form], order="sorted")).hexdigest()
