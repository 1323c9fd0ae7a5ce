"""F-24, F-25 and F-27: Stripe behind itself, the wrong key, and webhooks that come much too late."""

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.chaos.checks import FRESH_S, Verdict, judge, read_answers, until_quiet
from tests.chaos.customers import VISA, Town
from tests.chaos.faults_away import lively
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import Setup, World, running_world


async def f24(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Stripe answers the state of up to six seconds ago; a recheck comes after three, at most three times."""
    settings = {**sizes.settings, "recheck_s": "3"}
    async with running_world(directory, Setup(settings=settings)) as world:
        town, acknowledged = Town(world.stripe, world.context, seed), Acknowledged(world.stripe)
        await world.stripe.control("deliver", mode="shuffle", duplicate=3, seed=seed)
        await town.settle(sizes.customers)
        await world.stripe.control("read_lag", seconds=6.0, share=0.7, seed=seed)
        await town.live(until_events=sizes.events // 2, pause_s=0.1)
        last = time.monotonic()
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s, rechecks=True)
        converged_s = round(time.monotonic() - last, 1)
        # From here on the oracle reads, and nobody syncs any more.
        await world.stripe.control("read_lag", seconds=0.0)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.converged_s = converged_s if is_quiet else None
        rechecked = await world.rows("SELECT count(*) AS n FROM webhook_events WHERE source = 'timer'")
        verdict.notes |= {"lag_s": 6.0, "events of timers": rechecked[0]["n"]}
        verdict.check("something was read again", rechecked[0]["n"] > 0)
        return verdict


async def f25(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Workers and schedulers with the key of another account, and with one that Stripe does not know."""
    foreign = "sk_test_" + "f" * 32
    async with lively(directory, sizes, seed, Setup(settings=sizes.settings)) as (world, town, acknowledged):
        await world.stripe.control("accounts", secret_key=foreign, account_id="acct_1Foreign")
        before = await served(world, town)
        ours = world.environment.secrets.stripe_secret_key
        changed: dict[str, Any] = {}
        for key in (foreign, "sk_test_unknown"):
            await rearm(world, key)
            await town.live(until_events=await town.count_events() + sizes.events // 10)
            await asyncio.sleep(sizes.away_s / 2)
            now = await served(world, town)
            changed |= {name: now[name] for name in now if now[name] != before[name]}
        alarms = {name: world.logged(name) for name in ("wrong_deployment", "sync_failed")}
        await rearm(world, ours)
        last = time.monotonic()
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        converged_s = round(time.monotonic() - last, 1)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.converged_s = converged_s if is_quiet else None
        verdict.check("no answer changed under a wrong key", not changed, list(changed.items())[:2])
        verdict.check("it was said", all(alarms.values()), alarms)
        verdict.notes |= {"lines that say so": alarms, "ends": world.fleet.deaths()}
        return verdict


async def served(world: World, town: Town) -> dict[str, Any]:
    found = await read_answers(world, town.user_ids, "editor")
    return {user_id: _from_stripe(one["entitlements"]) for user_id, one in found.items()}


def _from_stripe(entitlements: dict[str, Any]) -> dict[str, Any]:
    """Without what operators may grant meanwhile: those features are not of Stripe alone."""
    return {name: one for name, one in entitlements.items() if name not in {"seats", "sso", "export"}}


async def rearm(world: World, secret_key: str) -> None:
    """From now on everybody who reads Stripe has this key; not waited for, because a wrong one may refuse."""
    for name in (*world.fleet.names("worker"), *world.fleet.names("scheduler")):
        world.fleet.rearm(name, TOLLHOUSE_STRIPE_SECRET_KEY=secret_key)
        world.fleet.kill(name)


async def f27(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Trials end and periods renew while every webhook is late: whoever pays is denied at no moment."""
    settings = {**sizes.settings, "trial_end_delay_s": "1", "period_end_delay_s": "2"}
    async with running_world(directory, Setup(settings=settings)) as world:
        town, acknowledged = Town(world.stripe, world.context, seed), Acknowledged(world.stripe)
        await town.settle(max(6, sizes.customers // 5), unlinked=0.0)
        soon = int(time.time()) + 15
        for number, one in enumerate(town.customers):
            terms = {"trial_end": soon} if number % 2 else {"billing_cycle_anchor": soon}
            await world.stripe.control(f"customers/{one.customer_id}/card", card=VISA)
            made = await world.stripe.post(
                "/v1/subscriptions",
                customer=one.customer_id,
                items=[{"price": "price_acme.pro.month"}],
                **terms,
            )
            one.subscription = made["id"]
        await until_quiet(world, acknowledged, within_s=14)
        await world.stripe.control("deliver", delay_s=sizes.away_s)
        denied = await _denied_until(world, town, soon + sizes.away_s)
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.check("no paying user was denied", not denied, denied)
        verdict.notes |= {"webhooks_late_s": sizes.away_s, "denied": len(denied)}
        return verdict


async def _denied_until(world: World, town: Town, until: float) -> dict[str, Any]:
    denied: dict[str, Any] = {}
    while time.time() < until:
        for user_id, one in (await read_answers(world, town.user_ids, "editor")).items():
            if not one["entitlements"]["export"]["granted"]:
                denied[user_id] = one["entitlements"]["export"]
        await asyncio.sleep(FRESH_S / 50)
    return denied
