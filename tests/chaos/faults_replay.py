"""F-19: everything is replayed twice, in a whole deployment with its workers, and nothing comes of it."""

from collections import Counter
from pathlib import Path
from typing import Any

from domain.flows.record_action import Operator
from domain.flows.replay_events import MOST, ReplayWish, replay
from tests.chaos.checks import Verdict, judge, until_quiet
from tests.chaos.customers import Town
from tests.chaos.sizes import Sizes
from tests.chaos.stripe import Acknowledged
from tests.chaos.world import Setup, World, running_world

OPERATOR = Operator(actor="cli:chaos")
#: What a replay must not touch. A boundary that passes meanwhile is no change of a replay.
TOLD = """
    SELECT (SELECT count(*) FROM entitlement_history WHERE cause <> 'boundary') AS history,
           (SELECT count(*) FROM entitlement_changes WHERE cause <> 'boundary') AS changes,
           (SELECT count(*) FROM webhook_events WHERE source IN ('stripe', 'poll')) AS events,
           (SELECT count(*) FROM revenue_entries) AS entries,
           (SELECT count(*) FROM users) AS users
"""


async def f19(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """All that was ever processed, ignored or foreign gets its turn again, twice, while nobody buys."""
    async with running_world(directory, Setup(settings=sizes.settings)) as world:
        town, acknowledged = Town(world.stripe, world.context, seed), Acknowledged(world.stripe)
        await town.settle(sizes.customers, strangers=2)
        await town.live(until_events=sizes.events)
        is_quiet = await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        told, states = await _told(world), await _states(world)
        replayed = 0
        for _ in range(2):
            replayed += await _replay_everything(world)
            is_quiet &= await until_quiet(world, acknowledged, within_s=sizes.patience_s)
        verdict = await judge(world, town, acknowledged, is_quiet=is_quiet)
        verdict.notes |= {"replayed": replayed, **told}
        verdict.check("all was replayed, twice", replayed >= 2 * (sum(states.values()) - states["ignored"]))
        again = await _told(world)
        verdict.check("nothing was told anew", again == told, f"{told} → {again}")
        verdict.check("each event ended as before", await _states(world) == states, await _states(world))
        return verdict


async def _replay_everything(world: World) -> int:
    count, cursor = 0, None
    while True:
        page = await replay(world.context, ReplayWish(cursor=cursor, limit=MOST), OPERATOR)
        count += len(page.event_ids)
        cursor = page.next_cursor
        if cursor is None:
            return count


async def _told(world: World) -> dict[str, Any]:
    (row,) = await world.rows(TOLD)
    return dict(row)


async def _states(world: World) -> Counter[str]:
    """Of Stripe's events: timers may add some of our own at any time."""
    rows = await world.rows(
        "SELECT state, count(*) AS events FROM webhook_events WHERE source = 'stripe' GROUP BY state"
    )
    return Counter({str(row["state"]): int(row["events"]) for row in rows})
