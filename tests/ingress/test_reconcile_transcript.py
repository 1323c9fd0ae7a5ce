"""The transcript of docs/operations.md, "A night with everything broken": typed as it stands there."""

import random
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from domain.rules.events import OLD_NAMES, USED
from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path
from tests.ingress.terminal import answer_in, type_in

DROPPED = 0.05
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings, reconcile_settle_s=0.001) as running:
        yield running


async def test_the_transcript_of_a_broken_night_is_what_happens(path: EventPath, settings: Settings) -> None:
    await _break_everything(path)
    environ = {
        "TOLLHOUSE_STRIPE_API_BASE": path.stripe.url,
        "TOLLHOUSE_STRIPE_SECRET_KEY": path.stripe.secret_key,
        "TOLLHOUSE_STRIPE_RATE": "0",
        "TOLLHOUSE_RECONCILE_SETTLE_S": "0.001",
    }
    commands = list(_transcript())
    assert len(commands) >= 5
    for words, expected in commands:
        done = await type_in(settings, *words, **environ)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        _refuse_difference(" ".join(done.stdout.split()), expected, words)
        await path.drain()
    # What a pass heals is healed; what only a person can end is still named.
    last = await type_in(settings, "reconcile", "--check", **environ)
    assert last.exit_code == 4
    assert "missing_subscription" not in last.stdout
    assert "two_customers" in last.stdout
    runs = await answer_in(settings, "reconcile", "--runs")
    assert len(runs["data"]) == 3
    shown = await answer_in(settings, "reconcile", "--run", runs["data"][0]["id"])
    assert {one["type"] for one in shown["drifts"]} == {
        "price_unmapped",
        "two_customers",
        "two_subscriptions",
    }
    assert (await type_in(settings, "reconcile", "--run", "run_none")).exit_code == 2


async def _break_everything(path: EventPath) -> None:
    await path.create(
        "/v1/webhook_endpoints",
        {
            "url": "https://billing.example.com/api/v1/webhooks/stripe",
            "enabled_events": sorted(USED.keys() - OLD_NAMES),
            "api_version": "2026-10-28.endive",
        },
    )
    moved = await path.make_customer("u_moved")
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(moved, 'pro', 'month')}")
    await _move_to_a_price_made_by_hand(path, str(session["subscription"]))
    for _ in range(2):
        twice = await path.make_customer("u_twice")
        await path.buy(twice, "pro", "month")
    for number in range(10):
        await path.buy(await path.make_customer(f"u_{number}"), "pro", "month")
    # One delivery in twenty never happens; which, is the same each time.
    luck = random.Random(20)  # noqa: S311
    for event in await path.events():
        if luck.random() >= DROPPED:
            await path.deliver(event)
    await path.drain()
    lost = await path.make_customer("u_lost")
    await path.drain()
    await path.buy(lost, "pro", "month")
    # Their events are on no list either: what finds them is the pass alone.
    await path.execute("UPDATE reconciliation_watermark SET read_until = clock_timestamp() + interval '1 h'")


async def _move_to_a_price_made_by_hand(path: EventPath, subscription: str) -> None:
    product = await path.create("/v1/products", {"name": "Made by hand"})
    price = await path.create(
        "/v1/prices",
        {
            "product": product["id"],
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
        },
    )
    shown = await path.retrieve(f"/v1/subscriptions/{subscription}")
    item = {"id": shown["items"]["data"][0]["id"], "price": price["id"]}
    await path.create(f"/v1/subscriptions/{subscription}", {"items": [item]})


def _transcript() -> Iterator[tuple[list[str], list[str]]]:
    """(words after `tollhouse`, lines that its answer has to hold)."""
    night = GUIDE.read_text().partition("### A night with everything broken")[2]
    block = night.partition("```console\n")[2].partition("```")[0]
    for part in block.split("$ tollhouse ")[1:]:
        command, *lines = part.splitlines()
        yield shlex.split(command), [line for line in lines if line.strip()]


def _refuse_difference(said: str, expected: list[str], words: list[str]) -> None:
    """Each line is somewhere in the answer; `…` stands for anything, and tables may be folded."""
    for line in expected:
        pattern = r".*?".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        assert re.search(pattern, said), f"{words}: no {line!r} in\n{said}"
