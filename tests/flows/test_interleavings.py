"""Two flows of one user at once, whatever the order of their awaits: no stale writer wins.

After each interleaving: stored versions never fell; the stored set is what the facts and the catalog head
give now; Redis, a reader behind Redis and a reader of Postgres answer the same version and bytes; history
and feed hold each version once. The last tests cripple a part and show that this is noticed.
"""

import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import redis.asyncio as redis

from domain.cache import Cache
from domain.context import Context
from domain.flows.grant import GrantWish, Operator, grant
from domain.flows.lookup import Lookup
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.flows.recompute import Recomputed, publish, recompute_user
from domain.flows.recompute_due import recompute_due
from domain.flows.sync import Syncer
from domain.model import CachedSet, TargetRef
from domain.rules.events import internal_event
from domain.store import inbox
from domain.store.session import Connection
from tests.flows.agreement import USER, VERSION_LOG, Stale, check
from tests.flows.event_path import CATALOG, EventPath
from tests.flows.interleaving import Flow, Interleaved, interleave, rewriting

BY = Operator(actor="test")
#: `make chaos` holds a flow at every await; `make test` at every fourth one, for its time.
STRIDE = int(os.environ.get("CHAOS_STRIDE", "4"))
#: More awaits than any flow has: a flow that never ends must not make a test that never does.
MOST_AWAITS = 500


class World:
    """A user with two Stripe customers, each with a subscription; everything is synced and published."""

    def __init__(self, path: EventPath) -> None:
        self.path = path
        self.context = path.context
        self.opened_at = datetime.now(UTC)
        #: (customer, subscription, its item)
        self.bought: list[tuple[str, str, str]] = []

    async def open(self) -> None:
        await self.path.execute(VERSION_LOG)
        for _ in range(2):
            customer = await self.path.make_customer(USER)
            await self.path.buy(customer)
            found = (await self.path.retrieve(f"/v1/subscriptions?customer={customer}"))["data"][0]
            self.bought.append((customer, found["id"], found["items"]["data"][0]["id"]))
            await self.sync(await self.owe(len(self.bought) - 1))(self.context)

    async def owe(self, which: int, quantity: int = 1) -> int:
        """Change a subscription at Stripe and mark it; answers its customer's target."""
        customer, subscription, item = self.bought[which]
        await self.context.stripe_or_raise.create(
            f"/v1/subscriptions/{subscription}",
            {"items": [{"id": item, "quantity": quantity}]},
            idempotency_key=uuid.uuid4().hex,
        )
        event = internal_event(
            f"th_{uuid.uuid4().hex}",
            "sync",
            "subscription",
            subscription,
            TargetRef("customer", customer),
            cause="test",
        )
        async with self.context.database.connection() as connection:
            return (await inbox.mark(connection, [event])).target_ids[0]

    def sync(self, target_id: int) -> Flow:
        async def run(context: Context) -> None:
            synced = await Syncer(context).sync_target(target_id)
            if not synced.outcomes or set(synced.outcomes) - {"processed", "settled"}:
                errors = await self.path.rows("SELECT last_error FROM sync_targets WHERE id = $1", target_id)
                raise Stale(f"a sync ended {synced.outcomes}: {errors}")

        return run

    async def user_key(self) -> int:
        return int((await self.path.rows("SELECT user_key FROM users"))[0]["user_key"])

    async def forget_cache(self) -> None:
        url = self.context.settings.cache_url
        assert url is not None
        async with redis.Redis.from_url(url.reveal()) as client:
            await client.flushdb()


@pytest.fixture
async def world(path: EventPath) -> World:
    made = World(path)
    await made.open()
    await check(made.path)
    return made


# ── the pairs: each makes two flows of the present state, the second one newer where that matters ──


async def two_syncs(world: World, number: int) -> tuple[Flow, Flow]:
    first, second = await world.owe(0, number + 1), await world.owe(1, number + 2)
    return world.sync(first), world.sync(second)


async def sync_and_boundary(world: World, number: int) -> tuple[Flow, Flow]:
    """A grant that ended an hour before the test, of which only the timeline knows."""

    async def two_hours_ago(_connection: Connection) -> datetime:
        return world.opened_at - timedelta(hours=2)

    wish = GrantWish(
        effect="allow",
        target_kind="feature",
        target="sso",
        expires_at=world.opened_at - timedelta(hours=1),
        reason="test",
    )
    before = msgspec.structs.replace(world.context, now=two_hours_ago)
    await grant(before, "acme", USER, wish, BY)
    return world.sync(await world.owe(0, number + 1)), recompute_due


async def sync_and_catalog(world: World, number: int) -> tuple[Flow, Flow]:
    text = CATALOG.read_text().replace("projects = 50", f"projects = {50 + number}")

    async def apply(context: Context) -> None:
        await publish_locally(context, read_catalog(text, file="catalog.toml"))
        await recompute_due(context)

    return world.sync(await world.owe(0, number + 1)), apply


async def sync_and_grant(world: World, number: int) -> tuple[Flow, Flow]:
    wish = GrantWish(effect="add", target_kind="feature", target="seats", value=number, reason="test")

    async def give(context: Context) -> None:
        await grant(context, "acme", USER, wish, BY)

    return world.sync(await world.owe(0, number + 1)), give


async def lookup_and_sync(world: World, number: int) -> tuple[Flow, Flow]:
    """A reader that finds nothing in Redis, and copies there what it read in Postgres."""
    await world.forget_cache()

    async def read(context: Context) -> None:
        lookup = Lookup(context, timeout_s=30.0)
        await lookup.find("acme", "editor", USER)
        await lookup.close()

    return read, world.sync(await world.owe(0, number + 1))


async def two_publishes(world: World, number: int) -> tuple[Flow, Flow]:
    await world.forget_cache()
    older, newer = [await recompute(world, quantity) for quantity in (number + 10, number + 11)]

    async def publish_older(context: Context) -> None:
        await publish(context, [older], time.time())

    async def publish_newer(context: Context) -> None:
        await publish(context, [newer], time.time())

    return publish_older, publish_newer


async def recompute(world: World, quantity: int) -> Recomputed:
    """New answers, committed and not yet in the cache."""
    user_key = await world.user_key()
    async with world.context.database.transaction() as connection:
        await connection.execute("UPDATE subscription_items SET quantity = $1", quantity)
        return await recompute_user(world.context, connection, user_key, cause="test")


Pair = Callable[[World, int], Awaitable[tuple[Flow, Flow]]]
PAIRS: tuple[Pair, ...] = (
    two_syncs,
    sync_and_boundary,
    sync_and_catalog,
    sync_and_grant,
    lookup_and_sync,
    two_publishes,
)
DIRECTIONS = [
    pytest.param(pair, is_reversed, id=f"{pair.__name__}-{'second' if is_reversed else 'first'} is held")
    for pair in PAIRS
    for is_reversed in (False, True)
    # Two syncs are the same flow twice.
    if not (pair is two_syncs and is_reversed)
]


@pytest.mark.parametrize(("pair", "is_reversed"), DIRECTIONS)
async def test_no_interleaving_lets_a_stale_writer_win(
    world: World, pair: Pair, *, is_reversed: bool
) -> None:
    held = await interleave_at_every_await(world, world.context, pair, is_reversed=is_reversed)
    assert len(held) >= (2 if pair is two_publishes else 5)
    if pair is two_syncs:
        assert {one.is_blocked for one in held} == {True, False}, "the lock was never met, or always"


async def interleave_at_every_await(
    world: World, context: Context, pair: Pair, *, is_reversed: bool = False
) -> list[Interleaved]:
    """Every place in which the first flow can be held (each STRIDE-th of them), checked after each."""
    held: list[Interleaved] = []
    stride = 1 if pair in {two_publishes, lookup_and_sync} else STRIDE  # those have few awaits
    for hold_at in range(1, MOST_AWAITS, stride):
        flows: Sequence[Flow] = await pair(world, hold_at)
        first, second = reversed(flows) if is_reversed else flows
        interleaved = await interleave(context, first, second, hold_at)
        try:
            await settle(world)
            await check(world.path)
        except Stale as error:
            raise Stale(f"{error}, after being held at await {hold_at}: {interleaved.held_at}") from error
        if interleaved.held_at is None:
            return held
        held.append(interleaved)
    raise AssertionError(f"more than {MOST_AWAITS} awaits")


async def settle(world: World) -> None:
    """What was left for the clock, because the other flow was at the user: nothing else may be owed."""
    if await world.path.owed_targets():
        raise Stale("a target is still owed")
    while await recompute_due(world.context):
        pass


# ── crippled parts are noticed ──


class ForgetfulCache(Cache):
    """Keeps what was written last, whatever its version."""

    async def store(self, entries: Sequence[tuple[str, CachedSet]]) -> None:
        async with redis.Redis.from_url(self._url) as client:
            for key, _ in entries:
                await client.delete(key)
        await super().store(entries)


@pytest.fixture
async def forgetful(world: World) -> AsyncIterator[Context]:
    url = world.context.settings.cache_url
    assert url is not None
    cache = ForgetfulCache(url.reveal())
    yield msgspec.structs.replace(world.context, cache=cache)
    await cache.close()


@pytest.mark.parametrize("pair", [lookup_and_sync, two_publishes, two_syncs], ids=lambda pair: pair.__name__)
async def test_a_cache_that_compares_no_versions_is_noticed(
    world: World, forgetful: Context, pair: Pair
) -> None:
    with pytest.raises(Stale, match="readers disagree"):
        await interleave_at_every_await(world, forgetful, pair)


#: What finds or makes a user, and holds its row until COMMIT.
FIND_OR_INSERT = """
    WITH made AS (INSERT INTO users (project, user_id) VALUES ($1, $2)
                  ON CONFLICT DO NOTHING RETURNING user_key)
    SELECT user_key FROM made UNION ALL SELECT user_key FROM users WHERE project = $1 AND user_id = $2
"""


def without_user_lock(statement: str) -> str:
    if "INSERT INTO users (project, user_id) VALUES ($1, $2)" in statement:
        return FIND_OR_INSERT
    return statement.replace("FOR UPDATE", "") if "FROM users" in statement else statement


def without_lock_and_guard(statement: str) -> str:
    guard = "WHERE e.catalog_version <= excluded.catalog_version AND e.last_version < excluded.first_version"
    return without_user_lock(statement).replace(guard, "")


@pytest.mark.parametrize("pair", [two_syncs, sync_and_grant], ids=lambda pair: pair.__name__)
@pytest.mark.parametrize("rewrite", [without_user_lock, without_lock_and_guard])
async def test_a_recompute_without_the_user_lock_is_noticed(
    world: World, pair: Pair, rewrite: Callable[[str], str]
) -> None:
    with pytest.raises(Stale, match="not what the facts give"):
        await interleave_at_every_await(world, rewriting(rewrite, world.context), pair)


async def test_what_the_crippled_parts_leave_out_is_there(world: World) -> None:
    said: list[str] = []

    def listen(statement: str) -> str:
        said.append(statement)
        return statement

    await world.sync(await world.owe(0, 2))(rewriting(listen, world.context))
    assert any(without_user_lock(statement) != statement for statement in said)
    assert any(without_lock_and_guard(s) != without_user_lock(s) for s in said)
