"""F-14: hypothesis lives, delivers in any order and number, crashes, sweeps; at rest, served = oracle.

40 examples of 30 steps in `make test`, 5,000 with `make chaos` (`CHAOS_EXAMPLES`).
"""

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from domain.flows.grant import GrantWish
from domain.settings import Settings
from tests.chaos.machine_world import Life, MachineWorld
from tests.chaos.stripe import StripeRefused

EXAMPLES = int(os.environ.get("CHAOS_EXAMPLES", "40"))
STEPS = 30
PRICES = strategies.sampled_from(["pro.month", "pro.year", "team.month"])
QUANTITIES = strategies.integers(1, 9)
SEEDS = strategies.integers(0, 2**32)
POINTS = strategies.sampled_from(["sync.claimed", "sync.fetched", "sync.committing", "sync.committed"])
GRANTS = strategies.sampled_from(
    [
        GrantWish(effect="add", target_kind="feature", target="seats", value=2, reason="machine"),
        GrantWish(effect="deny", target_kind="feature", target="export", reason="machine"),
        GrantWish(effect="allow", target_kind="plan", target="team", reason="machine"),
    ]
)


def make_machine(world: MachineWorld) -> type[RuleBasedStateMachine]:
    run = world.thread.run

    class Lives(RuleBasedStateMachine):
        life: Life

        @initialize(is_linked=strategies.booleans())
        def begin(self, is_linked: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
            self.life = Life(world.path, world.client)
            run(self.life.begin(is_linked=is_linked))

        @rule(price=PRICES, quantity=QUANTITIES)
        def subscribe(self, price: str, quantity: int) -> None:
            items = [{"price": f"price_acme.{price}", "quantity": quantity}]
            made = run(self.life.stripe.post("/v1/subscriptions", customer=self.life.customer, items=items))
            self.life.subscriptions.append(made["id"])

        @rule(price=PRICES, quantity=QUANTITIES, behavior=strategies.sampled_from(["none", "always_invoice"]))
        def change(self, price: str, quantity: int, behavior: str) -> None:
            for one in self.life.subscriptions[-1:]:
                found = run(self.life.stripe.get(f"/v1/subscriptions/{one}"))
                item = {"id": found["items"]["data"][0]["id"], "price": f"price_acme.{price}"}
                self.try_(
                    f"/v1/subscriptions/{one}",
                    items=[{**item, "quantity": quantity}],
                    proration_behavior=behavior,
                )

        @rule(is_wanted=strategies.booleans())
        def cancel_later(self, is_wanted: bool) -> None:  # noqa: FBT001
            for one in self.life.subscriptions[-1:]:
                self.try_(f"/v1/subscriptions/{one}", cancel_at_period_end=is_wanted)

        @rule()
        def cancel_now(self) -> None:
            if self.life.subscriptions:
                run(self.life.stripe.delete(f"/v1/subscriptions/{self.life.subscriptions.pop()}"))

        @rule(is_failing=strategies.booleans())
        def change_card(self, is_failing: bool) -> None:  # noqa: FBT001
            card = "pm_card_chargeCustomerFail" if is_failing else "pm_card_visa"
            run(self.life.stripe.control(f"customers/{self.life.customer}/card", card=card))

        @rule()
        def pay_what_is_open(self) -> None:
            for one in run(
                self.life.stripe.list_all("/v1/invoices", customer=self.life.customer, status="open")
            ):
                self.try_(f"/v1/invoices/{one['id']}/pay")

        @rule()
        def buy_a_pass(self) -> None:
            session = run(self.life.path.buy(self.life.customer, "pass", "once"))
            self.life.intents.append(
                run(self.life.stripe.get(f"/v1/checkout/sessions/{session}"))["payment_intent"]
            )

        @rule(is_whole=strategies.booleans())
        def refund(self, is_whole: bool) -> None:  # noqa: FBT001
            for one in self.life.intents[-1:]:
                amount = {} if is_whole else {"amount": 100}
                self.try_("/v1/refunds", payment_intent=one, **amount)

        @rule(status=strategies.sampled_from(["needs_response", "warning_needs_response"]))
        def dispute(self, status: str) -> None:
            paid = self.life.intents[-1:] or self.life.subscriptions[-1:]
            if paid and not self.life.disputes:
                try:
                    made = run(self.life.stripe.control("disputes", payment=paid[0], status=status))
                except StripeRefused:
                    return
                self.life.disputes.append(made["id"])

        @rule(status=strategies.sampled_from(["won", "lost"]))
        def decide(self, status: str) -> None:
            for one in self.life.disputes[-1:]:
                try:
                    run(self.life.stripe.control(f"disputes/{one}", status=status))
                except StripeRefused:
                    return

        @rule(wish=GRANTS)
        def grant(self, wish: GrantWish) -> None:
            run(self.life.grant(wish))

        @rule(seed=SEEDS, share=strategies.sampled_from([0.3, 0.7, 1.0]), copies=strategies.integers(1, 3))
        def deliver(self, seed: int, share: float, copies: int) -> None:
            run(self.life.deliver(random.Random(seed), share=share, copies=copies))  # noqa: S311

        @rule()
        def sweep(self) -> None:
            run(self.life.sync())

        @rule(point=POINTS)
        def crash(self, point: str) -> None:
            run(self.life.sync(crash_at=point))

        @rule(seed=SEEDS)
        def rest(self, seed: int) -> None:
            run(self.life.rest(random.Random(seed)))  # noqa: S311
            said = run(self.life.differences())
            assert not said, said

        def teardown(self) -> None:
            if hasattr(self, "life"):
                self.rest(0)

        def try_(self, path: str, **fields: object) -> None:
            """What Stripe refuses does not happen."""
            try:
                run(self.life.stripe.post(path, **fields))
            except StripeRefused:
                return

    return Lives


@pytest.fixture
def machine_world(settings: Settings) -> Iterator[MachineWorld]:
    world = MachineWorld(settings)
    yield world
    world.close()


@pytest.mark.timeout(14_400 if EXAMPLES > 40 else 600)
def test_at_rest_everybody_is_answered_what_stripe_and_the_operators_say(machine_world: MachineWorld) -> None:
    run_state_machine_as_test(
        make_machine(machine_world),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            # The same examples each time in `make test`, others each time with `make chaos`.
            derandomize="CHAOS_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
