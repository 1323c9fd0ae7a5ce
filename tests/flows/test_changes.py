"""The change feed: every change once, in the order of commits, whatever writers do at the same time."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest

from domain.context import Context, open_context
from domain.errors import Expired, Invalid, Unknown
from domain.flows.changes import NOW, START, number_changes, read_changes
from domain.flows.defaults import find_defaults
from domain.flows.prune_changes import prune_changes
from domain.flows.recompute import recompute_user
from domain.flows.recompute_due import recompute_due
from domain.model import StoredSet
from domain.settings import Settings
from domain.store import changes, customers
from domain.store.changes import Change
from domain.store.session import Connection
from tests.flows.event_path import EventPath
from tests.seeds import make_catalog, seed_catalog, seed_user

WRITERS, ROUNDS, USERS = 12, 25, 8
#: Changes that are old when they are written.
OLD = 80


@pytest.fixture
async def ready(settings: Settings) -> AsyncIterator[Context]:
    """A process with connections for many writers at once."""
    async with open_context("worker", settings) as context:
        await seed_catalog(context)
        yield context


async def append(connection: Connection, user_key: int, *versions: int, app: str = "editor") -> None:
    """What a recompute adds to the feed, in the caller's transaction."""
    stored = StoredSet(
        project="acme",
        app=app,
        user_key=user_key,
        first_version=versions[0],
        last_version=versions[-1],
        catalog_version=1,
        computed_at=datetime.now(UTC),
        segments=(),
    )
    await changes.append_changes(connection, stored, [(v, ["export"]) for v in versions], cause="test")


async def read_all(context: Context, cursor: str = START, app: str = "editor") -> list[Change]:
    found: list[Change] = []
    while True:
        page = await read_changes(context, "acme", app, cursor, 100)
        if not page.changes:
            return found
        found, cursor = [*found, *page.changes], page.next_cursor


async def test_a_change_that_commits_late_is_not_passed_by_a_reader(ready: Context) -> None:
    early, late = await seed_user(ready, "early"), await seed_user(ready, "late")
    async with ready.database.transaction() as held:
        await append(held, late, 1)
        async with ready.database.transaction() as quick:
            await append(quick, early, 1)
        first = await read_changes(ready, "acme", "editor", START, 100)
        assert [change.user_id for change in first.changes] == ["early"]
    second = await read_changes(ready, "acme", "editor", first.next_cursor, 100)
    assert [change.user_id for change in second.changes] == ["late"]
    assert (await read_changes(ready, "acme", "editor", second.next_cursor, 100)).changes == []


async def test_a_poller_sees_each_change_once_and_a_users_versions_ascending_under_many_writers(
    ready: Context,
) -> None:
    keys = [await seed_user(ready, f"u_{number}") for number in range(USERS)]
    committed: Counter[tuple[int, int]] = Counter()
    begun, ended = [0], asyncio.Event()

    async def write(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - a repeatable order, no secret
        for _ in range(ROUNDS):
            user_key, number = chance.choice(keys), chance.randint(1, 3)
            async with ready.database.connection() as connection:
                transaction = connection.transaction()
                await transaction.start()
                await customers.lock_user(connection, user_key)
                last = await connection.fetchval(
                    "SELECT coalesce(max(version), 0) FROM entitlement_changes WHERE user_key = $1", user_key
                )
                versions = range(last + 1, last + 1 + number)
                await append(connection, user_key, *versions)
                begun[0] += 1
                # Held open for a while, so that commits come in another order than inserts.
                for _ in range(chance.choice((0, 0, 1, 20))):
                    await connection.fetchval("SELECT 1")
                if chance.random() < 0.2:
                    await transaction.rollback()
                else:
                    await transaction.commit()
                    committed.update((user_key, version) for version in versions)

    async def poll() -> list[Change]:
        seen: list[Change] = []
        cursor = START
        while True:
            is_last = ended.is_set()
            page = await read_changes(ready, "acme", "editor", cursor, 7)
            seen += page.changes
            cursor = page.next_cursor
            if is_last and not page.changes:
                return seen

    pollers = [asyncio.create_task(poll()) for _ in range(2)]
    await asyncio.gather(*(write(seed) for seed in range(WRITERS)))
    ended.set()
    assert begun[0] == WRITERS * ROUNDS
    names = {f"u_{number}": key for number, key in enumerate(keys)}
    for seen in [await poller for poller in pollers]:
        assert Counter((names[change.user_id], change.version) for change in seen) == committed
        versions: dict[str, list[int]] = defaultdict(list)
        for change in seen:
            versions[change.user_id].append(change.version)
        assert all(found == sorted(found) for found in versions.values())


async def test_whoever_gives_positions_keeps_others_waiting_until_the_commit(ready: Context) -> None:
    user_key = await seed_user(ready)
    async with ready.database.transaction() as connection:
        await append(connection, user_key, 1)
    async with ready.database.transaction() as holder:
        await changes.lock_feed(holder)
        assert await changes.number_changes(holder, 10) == 1
        reader = asyncio.create_task(read_changes(ready, "acme", "editor", START, 100))
        async with asyncio.timeout(10), ready.database.connection() as watching:
            while not await watching.fetchval(  # noqa: ASYNC110 - waits for a state of the server
                "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            ):
                await asyncio.sleep(0.005)
        assert not reader.done()
    assert [change.version for change in (await reader).changes] == [1]


async def test_positions_are_never_given_twice_although_all_rows_are_deleted(ready: Context) -> None:
    user_key = await seed_user(ready)
    async with ready.database.transaction() as connection:
        await append(connection, user_key, 1, 2)
    cursor = (await read_changes(ready, "acme", "editor", START, 100)).next_cursor
    async with ready.database.transaction() as connection:
        await connection.execute("DELETE FROM entitlement_changes")
    assert (await read_changes(ready, "acme", "editor", cursor, 100)).changes == []
    async with ready.database.transaction() as connection:
        await append(connection, user_key, 3)
    assert [change.version for change in await read_all(ready, cursor)] == [3]


async def test_what_nobody_reads_is_numbered_by_the_clock(ready: Context) -> None:
    user_key = await seed_user(ready)
    async with ready.database.transaction() as connection:
        await append(connection, user_key, *range(1, 2502))
    assert await number_changes(ready) == 2501
    assert await number_changes(ready) == 0
    assert [change.version for change in await read_all(ready)] == list(range(1, 2502))


async def test_now_is_where_the_next_change_begins(ready: Context) -> None:
    user_key = await seed_user(ready)
    nothing = await read_changes(ready, "acme", "editor", NOW, 100)
    assert nothing.changes == []
    async with ready.database.transaction() as connection:
        await append(connection, user_key, 1)
    assert len(await read_all(ready, nothing.next_cursor)) == 1
    page = await read_changes(ready, "acme", "editor", NOW, 100)
    assert page.changes == []
    async with ready.database.transaction() as connection:
        await append(connection, user_key, 2)
    assert [change.version for change in await read_all(ready, page.next_cursor)] == [2]


async def test_an_app_sees_neither_another_apps_changes_nor_another_projects(ready: Context) -> None:
    await seed_catalog(ready, make_catalog("globex", "editor"))
    mine, theirs = await seed_user(ready), await seed_user(ready, project="globex")
    async with ready.database.transaction() as connection:
        await append(connection, mine, 1)
        await append(connection, mine, 1, app="viewer")
        await connection.execute(
            """
            INSERT INTO entitlement_changes (project, app, user_key, version, cause, changed)
            VALUES ('globex', 'editor', $1, 9, 'test', '{}')
            """,
            theirs,
        )
    assert [(change.user_id, change.version) for change in await read_all(ready)] == [("u_17", 1)]
    with pytest.raises(Unknown):
        await read_changes(ready, "acme", "nosuch", START, 100)
    with pytest.raises(Unknown):
        await read_changes(ready, "nosuch", "editor", START, 100)


async def grow_old(context: Context, *, up_to: int) -> None:
    async with context.database.connection() as connection:
        await connection.execute(
            "UPDATE entitlement_changes SET recorded_at = '-infinity' WHERE version <= $1",
            up_to,
        )


async def test_a_follower_at_the_border_goes_on_and_one_below_it_is_told_what_to_do(ready: Context) -> None:
    user_key = await seed_user(ready)
    async with ready.database.transaction() as connection:
        await append(connection, user_key, 1, 2, 3, 4)
        await append(connection, user_key, 1, app="viewer")
    begun = (await read_changes(ready, "acme", "editor", START, 1)).next_cursor
    border = (await read_changes(ready, "acme", "editor", begun, 1)).next_cursor
    quiet = (await read_changes(ready, "acme", "viewer", START, 100)).next_cursor
    await grow_old(ready, up_to=2)

    assert await prune_changes(ready) == 2, "up to the first that is young: the viewer's stands after it"
    assert [change.version for change in await read_all(ready, border)] == [3, 4]
    assert [change.version for change in await read_all(ready, START)] == [3, 4]
    for late in ("c0", begun):
        with pytest.raises(Expired) as told:
            await read_changes(ready, "acme", "editor", late, 100)
        assert (told.value.status, told.value.code) == (410, "cursor_expired")
        assert "cursor=now" in told.value.detail
    # A quiet app's cursor stays good, however old it is and whatever others lost.
    assert (await read_changes(ready, "acme", "viewer", quiet, 100)).next_cursor == quiet

    await grow_old(ready, up_to=4)
    assert await prune_changes(ready) == 3
    assert await prune_changes(ready) == 0
    for cursor in (START, NOW):
        page = await read_changes(ready, "acme", "editor", cursor, 100)
        assert page.changes == []
        async with ready.database.transaction() as connection:
            await append(connection, user_key, 5 if cursor == START else 6)
        assert len(await read_all(ready, page.next_cursor)) == 1, f"{cursor} of an emptied feed is a cursor"


async def test_a_follower_beside_a_pruner_and_a_writer_is_told_of_what_it_missed(
    ready: Context,
) -> None:
    """Old rows are pruned while they are written: each poller sees a row, or is told that it lost some."""
    user_key, ended = await seed_user(ready), asyncio.Event()

    async def write() -> None:
        for version in range(1, OLD + 1):
            async with ready.database.transaction() as connection:
                await append(connection, user_key, version)
                await connection.execute(
                    "UPDATE entitlement_changes SET recorded_at = '-infinity' WHERE version = $1", version
                )
            await number_changes(ready)

    async def prune() -> None:
        while not ended.is_set():
            await prune_changes(ready, limit=3)

    async def poll() -> int:
        """How often it was told; it then goes on from what is kept."""
        cursor, last, told = START, 0, 0
        while last < OLD and not (ended.is_set() and told):
            try:
                page = await read_changes(ready, "acme", "editor", cursor, 2)
            except Expired:
                cursor, last, told = NOW, 0, told + 1
                continue
            for change in page.changes:
                assert last in {0, change.version - 1}, "a gap that nobody was told of"
                last = change.version
            cursor = page.next_cursor
        return told

    pruning, polling = asyncio.create_task(prune()), [asyncio.create_task(poll()) for _ in range(3)]
    await write()
    ended.set()
    async with asyncio.timeout(60):
        await asyncio.gather(pruning, *polling)


@pytest.mark.parametrize("cursor", ["", "c", "17", "c-1", "c1.5", "c٣", "cc1", "newest", "c" + "9" * 19])
async def test_what_is_no_cursor_is_refused(ready: Context, cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        await read_changes(ready, "acme", "editor", cursor, 100)
    assert refused.value.errors[0]["field"] == "cursor"


async def test_a_cursor_of_a_future_that_a_restore_has_undone_is_refused(ready: Context) -> None:
    with pytest.raises(Invalid) as refused:
        await read_changes(ready, "acme", "editor", "c999", 100)
    assert "restored" in refused.value.errors[0]["detail"]


# ── what recompute adds ──


async def buy(path: EventPath, *plans: tuple[str, str]) -> int:
    """Purchases of one customer, synced; the user's key."""
    customer = await path.make_customer()
    for plan, price in plans:
        await path.buy(customer, plan, price)
        for event in await path.events(types=["checkout.session.completed"]):
            await path.deliver(event)
        await path.drain()
    return int((await path.rows("SELECT user_key FROM users"))[0]["user_key"])


async def test_a_first_version_names_what_differs_from_the_defaults(path: EventPath) -> None:
    await buy(path, ("pro", "month"))
    (change,) = await read_all(path.context)
    assert (change.user_id, change.version) == ("u_1", 1)
    assert change.cause == "checkout.session.completed"
    defaults = await path_defaults(path)
    answer = await path.answer()
    assert change.changed == sorted(key for key in answer if answer[key] != defaults[key])
    assert "export" in change.changed


async def path_defaults(path: EventPath) -> dict[str, object]:
    """What was answered before the first version."""
    async with path.context.database.connection() as connection:
        stored = await find_defaults(connection, "acme", "editor")
    found: dict[str, object] = msgspec.json.decode(bytes(stored.segments[0].entitlements))
    return found


async def test_a_later_version_names_what_differs_from_the_version_before(path: EventPath) -> None:
    user_key = await buy(path, ("pro", "month"))
    before = await path.answer()
    await path.execute("UPDATE subscription_items SET quantity = 7")
    async with path.context.database.transaction() as connection:
        await recompute_user(path.context, connection, user_key, cause="test")
    after = await path.answer()
    found = await read_all(path.context)
    assert [change.version for change in found] == [1, 2]
    assert found[1].changed == sorted(key for key in after if after[key] != before[key]) != []


async def test_a_recompute_that_changes_nothing_adds_nothing(path: EventPath) -> None:
    user_key = await buy(path, ("pro", "month"))
    async with path.context.database.transaction() as connection:
        await recompute_user(path.context, connection, user_key, cause="again")
    assert len(await read_all(path.context)) == 1


async def test_a_boundary_that_has_passed_is_a_change_of_its_own(path: EventPath) -> None:
    user_key = await buy(path, ("pass", "once"))
    # As if it had been bought, read and answered 31 days ago.
    await path.execute("UPDATE purchases SET paid_at = paid_at - interval '31 days'")
    await path.execute(
        """
        UPDATE entitlements SET timeline = (
            SELECT json_agg(json_build_object(
                'begins_at', (s->>'begins_at')::timestamptz - interval '31 days',
                'ends_at', (s->>'ends_at')::timestamptz - interval '31 days',
                'entitlements', s->'entitlements'))
            FROM json_array_elements(timeline) s)
        """
    )
    await path.execute("UPDATE users SET next_boundary_at = clock_timestamp() - interval '1 day'")
    assert await recompute_due(path.context) == 1
    found = await read_all(path.context)
    assert [(change.version, change.cause) for change in found[:2]] == [
        (1, "checkout.session.completed"),
        (2, "boundary"),
    ]
    assert "export" in found[1].changed
    async with path.context.database.transaction() as connection:
        await recompute_user(path.context, connection, user_key, cause="again")
    assert await read_all(path.context) == found
