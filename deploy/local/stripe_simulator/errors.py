"""Errors in Stripe's envelope: what the SDK turns into its exception classes."""

from typing import Any


class StripeError(Exception):
    """The call is refused with an HTTP status and an error object."""

    def __init__(  # the envelope has this many fields, and each is named at the call
        self,
        message: str,
        *,
        status: int = 400,
        error_type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        extra: dict[str, Any] | None = None,
        is_saved: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        #: Whether an Idempotency-Key replays this error. Stripe saves what a call that began answered,
        #: but not the refusal of a call whose parameters were malformed.
        self.is_saved = is_saved
        fields = {"code": code, "param": param, "doc_url": doc_url(code), **(extra or {})}
        self.error: dict[str, Any] = {
            "message": message,
            "type": error_type,
            **{name: value for name, value in fields.items() if value is not None},
        }

    def envelope(self, request_id: str) -> dict[str, Any]:
        """The answer's body; the request is named as Stripe's dashboard link names it."""
        link = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": {**self.error, "request_log_url": link}}


def doc_url(code: str | None) -> str | None:
    return f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}" if code else None


def refused(message: str, param: str | None = None, code: str | None = None) -> StripeError:
    """The call is well formed, but its values are not acceptable (400)."""
    return StripeError(message, param=param, code=code)


def malformed(message: str, param: str, code: str | None = None) -> StripeError:
    """A parameter cannot be read (400); never saved under an Idempotency-Key."""
    return StripeError(message, param=param, code=code, is_saved=False)


def missing_object(kind: str, object_id: str, param: str = "id") -> StripeError:
    """No such object: 404 when the address names it, 400 when another parameter does."""
    status = 404 if param == "id" else 400
    return StripeError(f"No such {kind}: '{object_id}'", status=status, code="resource_missing", param=param)


def unauthorized(message: str) -> StripeError:
    return StripeError(message, status=401, is_saved=False)


def card_declined(intent: dict[str, Any] | None = None) -> StripeError:
    """The test card that a bank always declines (402)."""
    extra = {"decline_code": "generic_decline", "payment_intent": intent}
    return StripeError(
        "Your card was declined.", status=402, error_type="card_error", code="card_declined", extra=extra
    )
