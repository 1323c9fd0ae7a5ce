"""F-14: hypothesis lives, delivers in any order and number, crashes, sweeps; at rest, served = oracle.

40 examples of 30 steps in `make test`; 40, 200 or 5,000 with
`make chaos`, by its SIZE (`CHAOS_EXAMPLES`).
"""

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from domain.settings import Settings
from tests.chaos.machine_world import Life, MachineWorld
from tests.flows.interleaving import Rewrite

EXAMPLES = int(os.environ.get("CHAOS_EXAMPLES", "40"))
STEPS = 30
SEEDS = strategies.integers(0, 2**32)
POINTS = strategies.sampled_from(["sync.claimed", "sync.fetched", "sync.committing", "sync.committed"])


def make_machine(world: MachineWorld) -> type[RuleBasedStateMachine]:
    run = world.thread.run

    class Lives(RuleBasedStateMachine):
        """Few rules with a seed each: hypothesis leaves rules out by turns, and a life needs all of them."""

        life: Life

        @initialize(is_linked=strategies.booleans())
        def begin(self, is_linked: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
            self.life = Life(world.path, world.client)
            run(self.life.begin(is_linked=is_linked))

        @rule(seed=SEEDS, deeds=strategies.integers(1, 3))
        def live(self, seed: int, deeds: int) -> None:
            """Subscribe, switch, fail to pay, cancel, pause, buy, be refunded, dispute, be granted."""
            run(self.life.live(seed, deeds))

        @rule(seed=SEEDS, share=strategies.sampled_from([0.3, 0.7, 1.0]), copies=strategies.integers(1, 3))
        def deliver(self, seed: int, share: float, copies: int) -> None:
            run(self.life.deliver(random.Random(seed), share=share, copies=copies))  # noqa: S311

        @rule(crash_at=strategies.none() | POINTS)
        def sweep(self, crash_at: str | None) -> None:
            run(self.life.sync(crash_at=crash_at or ""))

        @rule(seed=SEEDS)
        def rest(self, seed: int) -> None:
            run(self.life.rest(random.Random(seed)))  # noqa: S311
            said = run(self.life.differences())
            assert not said, said

        def teardown(self) -> None:
            if hasattr(self, "life"):
                self.rest(0)

    return Lives


@pytest.fixture
def machine_world(settings: Settings) -> Iterator[MachineWorld]:
    world = MachineWorld(settings)
    yield world
    world.close()


MACHINE = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    # The same examples each time in `make test`, others each time with `make chaos`.
    derandomize="CHAOS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@pytest.mark.timeout(14_400 if EXAMPLES > 40 else 600)
def test_at_rest_everybody_is_answered_what_stripe_and_the_operators_say(machine_world: MachineWorld) -> None:
    run_state_machine_as_test(make_machine(machine_world), settings=MACHINE)


def keep_quantity(statement: str) -> str:
    if "INSERT INTO subscription_items" not in statement:
        return statement
    return statement.replace("quantity = excluded.quantity", "quantity = subscription_items.quantity")


def keep_status(statement: str) -> str:
    is_upsert = "INSERT INTO subscriptions AS s" in statement
    return statement.replace("status = excluded.status", "status = s.status") if is_upsert else statement


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "cripple",
    [keep_quantity, keep_status] if EXAMPLES > 40 else [keep_quantity],
    ids=lambda one: one.__name__,
)
def test_a_mirror_that_keeps_what_it_read_first_is_noticed(
    machine_world: MachineWorld, cripple: Rewrite
) -> None:
    machine_world.cripple(cripple)
    with pytest.raises(AssertionError, match=r"served .*, expected"):
        run_state_machine_as_test(
            make_machine(machine_world),
            settings=settings(MACHINE, max_examples=max(EXAMPLES, 40), phases=[Phase.generate]),
        )
