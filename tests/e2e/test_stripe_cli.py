"""The official Stripe CLI triggers events against the simulator.

Skipped where no `stripe` is on PATH; nothing here needs it. To run it, `npm install --prefix DIR @stripe/cli`
and put `DIR/node_modules/.bin` on PATH.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from tests.waiting import until

STRIPE = shutil.which("stripe")
pytestmark = pytest.mark.skipif(STRIPE is None, reason="the Stripe CLI is not installed")
#: Events whose trigger makes only calls that the simulator has.
TRIGGERS = [
    "billing_portal.configuration.created",
    "billing_portal.configuration.updated",
    "billing_portal.session.created",
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.failed",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.sent",
    "invoice.updated",
    "invoice.voided",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payment_method.attached",
    "payment_method.detached",
    "price.created",
    "price.updated",
    "product.created",
    "product.deleted",
    "product.updated",
    "test_helpers.test_clock.advancing",
    "test_helpers.test_clock.created",
    "test_helpers.test_clock.deleted",
    "test_helpers.test_clock.ready",
]


@pytest.fixture
async def simulator() -> AsyncIterator[SimulatorHandle]:
    async with running_simulator() as handle:
        await handle.save_portal()
        yield handle


@pytest.mark.parametrize("event_type", TRIGGERS)
async def test_cli_triggers(simulator: SimulatorHandle, tmp_path: Path, event_type: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "STRIPE_API_KEY": simulator.secret_key}
    program = await asyncio.create_subprocess_exec(
        str(STRIPE),
        "trigger",
        event_type,
        "--api-base",
        simulator.url,
        env={**environment, "STRIPE_CLI_TELEMETRY_OPTOUT": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
    # A notice that is due by the clock comes a moment later.
    await until(lambda: event_type in types_so_far(simulator))


def types_so_far(simulator: SimulatorHandle) -> set[str]:
    return {event["type"] for event in simulator.account.rows.get("event", {}).values()}
