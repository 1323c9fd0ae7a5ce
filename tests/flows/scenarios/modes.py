"""How a scenario's events reach us: in which order, how often, written in which API version.

`SCENARIOS=all` runs every scenario in every mode. Without it each runs step by step, and every sixth also
with everything late, in an order and version that its name chooses. `SEED` makes other orders and choices.
"""

import os
import random
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.versions import NAMED, payload, thin

#: `thin` names the object only; the others are as `versions.NAMED`.
VERSIONS = ("endive", "clover", "basil", "acacia", "2016", "thin")
COPIES = 3
#: Of so many scenarios one is also run late where not all modes are: a quarter of a minute of a gate.
EVERY = 6
SEED = int(os.environ.get("SEED", "1"))


class Mode(Struct, frozen=True):
    """`late`: nothing arrives until all is over, and then in a random order."""

    order: Literal["in_order", "shuffled", "late"]
    version: str
    seed: int

    def __str__(self) -> str:
        return f"{self.order}-{self.version}" + ("" if self.order == "in_order" else f"-seed{self.seed}")

    @property
    def is_late(self) -> bool:
        return self.order == "late"

    def deliveries(self, account: Account, events: list[Json]) -> Iterator[bytes]:
        """The bodies that arrive for these events of Stripe's, oldest first."""
        bodies = [msgspec.json.encode(self._written(account, event)) for event in events]
        if self.order != "in_order":
            bodies *= COPIES
            random.Random(self.seed).shuffle(bodies)  # noqa: S311 - a disorder that can be repeated
        yield from bodies

    def _written(self, account: Account, event: Json) -> dict[str, Any]:
        return thin(event) if self.version == "thin" else payload(account, event, NAMED[self.version])


def modes_of(scenario: str) -> list[Mode]:
    """Those in which a scenario is run; `scenario` is its test's name."""
    if os.environ.get("SCENARIOS") == "all":
        return [
            Mode(order, version, SEED) for order in ("in_order", "shuffled", "late") for version in VERSIONS
        ]
    step_by_step = Mode("in_order", "endive", SEED)
    number, rest = divmod(zlib.crc32(scenario.encode()) + SEED, EVERY)
    return [step_by_step] if rest else [step_by_step, Mode("late", VERSIONS[number % len(VERSIONS)], SEED)]
