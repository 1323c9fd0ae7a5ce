"""When a run is over, and what must then hold. Every check is named: a crippled build has to fail its own."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.cache import cache_key
from domain.store import entitlements
from tests.chaos.customers import PROJECT, Town
from tests.chaos.oracle import make_oracle, read_grants
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import World

APPS = ("editor", "viewer")
#: A reader may hold what it has for so long when the message of a change was lost.
FRESH_S = 10.0
#: Users of one question to the read API.
AT_ONCE = 200

OWED = """
    SELECT (SELECT count(*) FROM sync_targets WHERE dirty_seq > synced_seq AND state = 'active') AS owed,
           (SELECT count(*) FROM webhook_events e WHERE e.state = 'pending' AND NOT EXISTS (
                SELECT 1 FROM sync_targets t WHERE t.state = 'dead'
                AND (t.kind, t.stripe_id) = (e.target_kind, e.target_ref))) AS pending
"""
#: Stripe may be behind its own event: the object is read again, at most three times.
RECHECKS = "SELECT count(*) AS rechecks FROM timers WHERE cause = 'recheck' AND due_at < 'infinity'"


@dataclass(slots=True)
class Verdict:
    """What was seen at the end of a run. `failed` names the checks that did not hold."""

    acknowledged: int = 0
    lost: int = 0
    wrong_users: int = 0
    dead: int = 0
    fenced: int = 0
    #: From the last fault to nothing owed; None: never.
    converged_s: float | None = None
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def check(self, name: str, is_so: bool, said: object = "") -> None:  # noqa: FBT001 - reads as a sentence
        if not is_so:
            self.failed[name] = str(said)[:600]


async def until_quiet(
    world: World, acknowledged: Acknowledged, *, within_s: float, rechecks: bool = False
) -> bool:
    """Until Stripe has delivered everything and nothing is owed; False: not in time. Never "queue empty".

    `rechecks`: what is to be read again for a lagging Stripe has been, too.
    """
    until = time.monotonic() + within_s
    was_quiet = False
    while time.monotonic() < until:
        is_quiet = await world.stripe.is_quiet()
        if is_quiet and not was_quiet:
            acknowledged.quiet_at = time.monotonic()
        was_quiet = is_quiet
        if is_quiet:
            left = await world.rows(OWED) + (await world.rows(RECHECKS) if rechecks else [])
            if not any(number for row in left for number in row.values()):
                await acknowledged.look()
                return True
        await asyncio.sleep(0.2)
    await acknowledged.look()
    return False


async def judge(world: World, town: Town, acknowledged: Acknowledged, *, is_quiet: bool) -> Verdict:
    """Every check of the end state, by the read API, Postgres, Redis and the logs."""
    verdict = Verdict(acknowledged=len(acknowledged.events), fenced=world.logged("sync_fenced"))
    verdict.check("nothing owed", is_quiet, "" if is_quiet else await world.rows(OWED))
    await _check_inbox(world, acknowledged, verdict)
    await _check_versions(world, verdict)
    await _check_answers(world, town, verdict)
    await _check_cache(world, town, verdict)
    return verdict


async def _check_inbox(world: World, acknowledged: Acknowledged, verdict: Verdict) -> None:
    rows = await world.rows("SELECT event_id, state, source, target_kind FROM webhook_events")
    stored = {row["event_id"] for row in rows}
    lost = acknowledged.events - stored
    verdict.lost = len(lost)
    verdict.check("every acknowledged event is stored", not lost, sorted(lost)[:5])
    made = {event["id"] for event in await world.stripe.list_all("/v1/events")}
    extra = {row["event_id"] for row in rows if row["source"] == "stripe"} - made
    verdict.check("each event is stored once", not extra, f"{len(extra)} rows too many: {sorted(extra)[:3]}")
    dead = await world.rows("SELECT stripe_id, last_error FROM sync_targets WHERE state = 'dead'")
    failed = [row for row in rows if row["state"] == "failed"]
    verdict.dead = len(dead) + len(failed)
    verdict.check("nothing is dead", not verdict.dead, dead[:3] or failed[:3])


async def _check_versions(world: World, verdict: Verdict) -> None:
    fell = await world.rows(
        """
        SELECT * FROM (SELECT user_key, app, first_version,
                              lag(last_version) OVER (PARTITION BY user_key, app ORDER BY id) AS before
                       FROM chaos_versions) v WHERE first_version <= before
        """
    )
    verdict.check("no stored version fell", not fell, fell[:3])


async def _check_answers(world: World, town: Town, verdict: Verdict) -> None:
    """A reader may still hold what was fresh a moment ago: what is wrong then must not be, FRESH_S later."""
    oracle = await make_oracle(world.stripe, world.context)
    grants = await read_grants(world.context)
    customers: dict[str, list[str]] = {}
    for one in town.customers:
        customers.setdefault(one.user_id, []).append(one.customer_id)
    until = time.monotonic() + FRESH_S + 2
    while True:
        wrong: dict[str, str] = {}
        for app in APPS:
            for user_id, served in (await read_answers(world, town.user_ids, app)).items():
                at = datetime.now(UTC)
                wanted = oracle.answers(customers[user_id], grants[user_id], app, at)
                said = differences(served["entitlements"], wanted)
                if said or served["freshness"] != "live":
                    wrong[user_id] = f"{app}: {served['freshness']} {said}"
        if not wrong or time.monotonic() > until:
            break
        await asyncio.sleep(0.5)
    verdict.wrong_users = len(wrong)
    verdict.check("every answer is the oracle's", not wrong, dict(list(wrong.items())[:2]))


async def read_answers(world: World, user_ids: list[str], app: str) -> dict[str, Any]:
    """What the read API answers, by user."""
    url = f"{world.environment.ports.url('read')}/api/v1/entitlements/query"
    key = {"authorization": f"Bearer {world.keys.app_keys[f'{PROJECT}/{app}']}"}
    found: dict[str, Any] = {}
    for start in range(0, len(user_ids), AT_ONCE):
        asked = {"user_ids": user_ids[start : start + AT_ONCE]}
        async with world.http.post(url, json=asked, headers=key) as answer:
            body = await answer.json()
            if answer.status != 200:
                raise AssertionError(f"the read API answered {answer.status}: {body}")
            found |= {one["user_id"]: one for one in body["data"]}
    return found


def differences(served: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What differs, for people; "" where nothing does."""
    return "; ".join(
        f"{feature}: served {served.get(feature)}, expected {wanted.get(feature)}"
        for feature in sorted(served.keys() | wanted.keys())
        if served.get(feature) != wanted.get(feature)
    )


async def _check_cache(world: World, town: Town, verdict: Verdict) -> None:
    """Redis has what Postgres has, or something that no reader takes for fresh."""
    stale: list[str] = []
    assert world.context.cache is not None
    for app in APPS:
        for user_id in town.user_ids:
            cached = await world.context.cache.find(PROJECT, cache_key(PROJECT, user_id, app))
            if cached is None:
                continue
            async with world.context.database.connection() as connection:
                stored = await entitlements.find_set(connection, PROJECT, user_id, app)
            is_fresh = time.time() - cached.read_at < FRESH_S
            if stored is None and cached.stored.last_version == 0:
                continue  # the catalog's defaults, for a user without answers of its own
            if stored is None or (stored.last_version != cached.stored.last_version and is_fresh):
                stale.append(f"{user_id}/{app}")
            elif stored.last_version == cached.stored.last_version and _bytes(stored) != _bytes(
                cached.stored
            ):
                stale.append(f"{user_id}/{app}: other bytes")
    verdict.check("the cache is what is stored", not stale, stale[:5])


def _bytes(stored: Any) -> bytes:
    return msgspec.json.encode(stored.segments)
