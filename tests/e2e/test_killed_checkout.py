"""A-20: the same checkout many times at once, the process killed at each step: one session, one answer.

`make chaos` sends each call 200 times (`CHAOS_CHECKOUTS`).
"""

import asyncio
import os
import sys
from typing import Any

import msgspec
import pytest

from deploy.local.environment import ROOT
from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from domain.flows.manage_keys import create_key
from domain.flows.publish_catalog import publish_locally
from domain.settings import Secret, Settings
from ingress.lifespan import open_running
from tests.conftest import PEPPER
from tests.e2e.checkout_door import FEW
from tests.seeds import make_catalog

#: Every step between the call and its answer.
POINTS = (
    "idempotency.claimed",
    "checkout.customer",
    "checkout.inserted",
    "checkout.created",
    "idempotency.kept",
)
CALLS = os.environ.get("CHAOS_CHECKOUTS", "6")


@pytest.mark.timeout(900)
async def test_a_checkout_killed_at_any_step_and_sent_again_is_one_session_and_one_answer(
    settings: Settings,
) -> None:
    async with running_simulator() as stripe:
        key = await prepare(settings, stripe)
        told = await run_doors(environ_of(settings, stripe), key)
        sessions = list(stripe.account.rows["checkout.session"].values())
        customers = list(stripe.account.rows["customer"].values())
    assert [point for point, seen in told.items() if not seen["is_killed"]] == []
    for point, seen in told.items():
        [(status, body)] = seen["answers"]
        made = [one for one in sessions if one["metadata"]["tollhouse_user"] == f"user {point}"]
        assert [one["id"] for one in made] == [msgspec.json.decode(body)["id"]], point
        assert (status, made[0]["status"]) == (201, "open")
    assert (len(sessions), len(customers)) == (len(POINTS), len(POINTS))


async def prepare(settings: Settings, stripe: SimulatorHandle) -> str:
    """A catalog in Stripe, and a key of the app."""
    changed = msgspec.structs.replace(
        settings, stripe_secret_key=Secret(stripe.secret_key), stripe_api_base=stripe.url
    )
    async with open_running("api", changed) as running:
        published = await publish_locally(running.context, {"acme": make_catalog()})
        await stripe.seed(**published.stripe)
        created = await create_key(running.context, kind="app", project="acme", app="editor", name="backend")
    return created.key


async def run_doors(environ: dict[str, str], key: str) -> dict[str, dict[str, Any]]:
    doors = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.checkout_door", key, CALLS, *POINTS),
        stdout=asyncio.subprocess.PIPE,
        env=environ,
        cwd=ROOT,
    )
    said, _ = await doors.communicate()
    # The log goes to stdout too, a line each; the result is the last.
    told: dict[str, dict[str, Any]] = msgspec.json.decode(said.rstrip().rpartition(b"\n")[2])
    return told


def environ_of(settings: Settings, stripe: SimulatorHandle) -> dict[str, str]:
    ours = {
        "ENV": "test",
        "DATABASE_URL": settings.database_url.reveal(),
        "REDIS_URL": settings.redis_url.reveal(),
        "CACHE_URL": settings.cache_url.reveal(),
        "KEY_PEPPERS": f"1:{PEPPER}",
        "STRIPE_SECRET_KEY": stripe.secret_key,
        "STRIPE_API_BASE": stripe.url,
        # A dead attempt's call is taken up after this; a living one must not be, however many are in its way.
        "LEASE_S": "2" if int(CALLS) <= FEW else "15",
        "FETCH_TIMEOUT_S": "1.5",
        # 200 calls of one app in a moment.
        "WRITE_RATE": "100000",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("TOLLHOUSE_")}
    return others | {f"TOLLHOUSE_{name}": value for name, value in ours.items()}
