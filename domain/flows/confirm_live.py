"""Nobody changes Stripe in live mode by accident: somebody types the environment's name."""

from domain.context import Context
from domain.errors import Conflict
from domain.settings import TESTING


def find_confirmation(context: Context) -> str | None:
    """The environment's name that somebody has to type before Stripe is changed; None: nobody has to.

    Raises:
        Conflict: the key is of live mode, and the environment is one for tests.
    """
    env = context.settings.env
    if context.stripe_or_raise.mode != "live":
        return None
    if env in TESTING:
        raise Conflict(
            f"TOLLHOUSE_STRIPE_SECRET_KEY is a live key and TOLLHOUSE_ENV {env} is for tests: use a "
            "test key, or name the environment that sells.",
            code="live_key_in_test",
        )
    return env


def require_confirmation(context: Context, confirmed: str | None) -> None:
    """Raises Conflict, where `confirmed` is not what `find_confirmation` wants; also as that does."""
    wanted = find_confirmation(context)
    if wanted is not None and confirmed != wanted:
        raise Conflict(
            f"This changes Stripe in live mode: confirm it with the environment's name, --confirm {wanted}.",
            code="not_confirmed",
        )
