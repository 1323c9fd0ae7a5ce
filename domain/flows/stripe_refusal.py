"""What Stripe refuses though we thought it was right: told by Stripe's parameter, never a 500."""

from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import FieldError, Invalid
from domain.stripe_gateway import StripeRefused


@contextmanager
def telling_refusals(what: str) -> Iterator[None]:
    """A refusal of Stripe's within the block is the caller's to know: `what` it had asked for, and why not.

    Stripe's sentence is in neither the answer nor the log, because it may quote what a customer typed.

    Raises:
        Invalid: `stripe_refused`; `errors` name Stripe's parameter, and its code where it gave one.
    """
    try:
        yield
    except StripeRefused as error:
        why = error.decline_code or error.reason or "Stripe gives no code; its log shows the sentence"
        raise Invalid(
            f"Stripe refused {what} ({why}): correct what it blames, or look at its log of the request.",
            code="stripe_refused",
            errors=(FieldError(error.param, f"refused by Stripe: {why}"),) if error.param else (),
        ) from error
