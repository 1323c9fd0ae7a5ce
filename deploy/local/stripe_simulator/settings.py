"""What a simulator is started with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """All waits are here, so that a test can shorten them."""

    secret_key: str = "sk_test_local0000000000000000"  # noqa: S105 (a key of this simulator opens nothing else)
    account_id: str = "acct_local000000000000"
    #: Where the state is kept; None: in memory, gone at exit.
    state: Path | None = None
    #: Seconds before the first retry of a delivery; each next wait is twice as long, up to `RETRY_CAP_S`.
    retry_base_s: float = 2.0
    #: Attempts of one delivery. With the defaults the last is about three days after the first, as at Stripe.
    max_attempts: int = 83
    #: Seconds an endpoint may take to answer before the attempt has failed.
    delivery_timeout_s: float = 10.0
    #: Deliveries under way at once.
    max_concurrency: int = 64
