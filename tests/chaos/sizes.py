"""How much of it: each size says what it is in the table, so that nobody takes a small run for a full one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Waits of production divided by about five, so that what a kill leaves behind is taken up within the test.
COMPRESSED = {
    "lease_s": "3",
    "fetch_timeout_s": "2.5",
    "stripe_timeout_s": "2",
    "ring_again_s": "1",
    "recheck_s": "3",
    "retry_base_s": "0.1",
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    name: str
    customers: int
    #: Events that Stripe makes at least; each is delivered three times.
    events: int
    #: How often the deck of nine faults is drawn.
    decks: int
    fault_every_s: float
    #: Between the acts of eight customers.
    pause_s: float
    #: From the last fault to nothing owed, to pass.
    converge_s: float = 30.0
    #: After this the run has failed.
    patience_s: float = 120.0
    #: F-02: runs that must have lost their lease before they committed.
    fenced: int = 1
    #: How long something is away: Redis, Postgres, Stripe, the right key.
    away_s: float = 12.0
    #: Single deeds of a fault that counts them, such as kills between commit and bell.
    repeats: int = 100
    settings: Mapping[str, str] = field(default_factory=dict)


SIZES = {
    "ci": Sizes(
        name="ci",
        customers=10,
        events=150,
        decks=1,
        fault_every_s=0.7,
        pause_s=0.1,
        # A machine that runs everything else meanwhile is slow, not wrong.
        converge_s=90.0,
        repeats=20,
        settings=COMPRESSED,
    ),
    "short": Sizes(
        name="short",
        customers=20,
        events=300,
        decks=1,
        fault_every_s=1.0,
        pause_s=0.1,
        repeats=40,
        settings=COMPRESSED,
    ),
    "default": Sizes(
        name="default",
        customers=100,
        events=2_000,
        decks=2,
        fault_every_s=2.0,
        pause_s=0.1,
        fenced=5,
        away_s=20.0,
        repeats=200,
        settings=COMPRESSED,
    ),
    "full": Sizes(
        name="full",
        customers=500,
        events=10_000,
        decks=3,
        fault_every_s=4.0,
        pause_s=0.05,
        patience_s=600.0,
        fenced=20,
        away_s=60.0,
        repeats=1_000,
    ),
}
