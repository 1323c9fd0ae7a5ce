"""A-27: a user is erased, and then looked for everywhere; what comes late brings nobody back."""

import asyncio
import zlib
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import redis.asyncio

from domain.cache import cache_key
from domain.errors import Broken, Conflict, Unavailable, Unknown
from domain.faults import Faults, parse_fault_points
from domain.flows import backfill
from domain.flows.adopt import adopt
from domain.flows.backfill.mapping import read_mapping
from domain.flows.changes import read_changes
from domain.flows.checkout import Item, Wish, open_checkout
from domain.flows.erase_bodies import LateBodies
from domain.flows.erase_user import ErasedUser, EraseWish, erase_user
from domain.flows.grant import GrantWish, grant
from domain.flows.idempotency import Attempt, KeyedCall, run_once
from domain.flows.lookup import Lookup
from domain.flows.reconcile import Wish as ReconcileWish
from domain.flows.reconcile import begin, carry_out, show_run
from domain.flows.record_action import Operator
from domain.flows.sync_user import sync_user
from domain.settings import Settings
from domain.store.erased import DELETED, KEPT, NAMELESS
from domain.store.tables import metadata
from tests.flows.event_path import EventPath, running_path

ANNA = Operator(actor="cli:anna")
USER, OTHER = "user.canary.71@example.org", "u_2"
EMAIL, NAME = "kanarie@example.org", "Kanarienvogel Sieben"
WORDS = "promised to the canary by phone"
CANARIES = (USER, EMAIL, NAME, WORDS, "canary.71")
WHY = "request 12"
GRANTED = b'"export":{"granted":true'


def test_every_table_that_names_a_user_is_dealt_with() -> None:
    holding = {table.name for table in metadata.tables.values() if "user_key" in table.columns}
    assert holding - {*DELETED, *KEPT, *NAMELESS} == set(), "say in domain/store/erased.py what becomes of it"


async def test_nothing_of_an_erased_user_is_found_anywhere_and_nothing_late_brings_it_back(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_path(settings, reconcile_settle_s=0.001) as path:
        await live(path)
        await post(path, types=["customer.subscription.created", "customer.updated"])
        before = await version_of(path, USER)
        money = await sums(path)
        assert {word for word in CANARIES if word in await everything(path)} == set(CANARIES)
        capsys.readouterr()

        with pytest.raises(Conflict) as refused:
            await erase_user(path.context, "acme", USER, EraseWish(reason=WHY), ANNA)
        assert refused.value.code == "user_subscribed"
        foreseen = await erase_user(path.context, "acme", USER, EraseWish(reason=WHY, dry_run=True), ANNA)
        assert (foreseen.state, len(foreseen.running)) == ("would_erase", 1)
        assert USER in await everything(path), "a dry run writes nothing"
        assert EMAIL in await everything(path)

        done = await erase(path)
        sources = [name for name in foreseen.deleted if not name.startswith("entitlement_")]
        assert [done.deleted[name] for name in sources] == [foreseen.deleted[name] for name in sources]
        assert done.bodies is not None
        assert done.bodies >= 3
        await refute_everywhere(path, capsys)
        assert await sums(path) == money
        (left,) = done.left_at_stripe
        assert left.command == f"stripe customers delete {left.customer_id}"

        await come_late(path, left.customer_id)
        await refute_everywhere(path, capsys)
        assert await path.rows("SELECT 1 FROM users WHERE user_id = $1", USER) == []
        assert await path.rows("SELECT 1 FROM subscriptions WHERE project = 'acme'") == []
        assert await version_of(path, USER) > before
        assert await sums(path) == money

        with pytest.raises(Unknown):
            await sync_user(path.context, path.syncer, "acme", USER, ANNA)
        await refuse_to_make_again(path, left.customer_id)
        again = await erase(path)
        assert (again.state, again.user_key) == ("already", done.user_key)
        assert await path.rows("SELECT count(*) AS n FROM audit_log WHERE action = 'user.erase'") == [
            {"n": 2}
        ]
        await refute_everywhere(path, capsys)
        for change in ("reason = 'other words'", "reason = '(erased)', actor = 'me'", "actor = 'me'"):
            with pytest.raises(Broken):
                await path.execute(f"UPDATE audit_log SET {change} WHERE user_key = $1", done.user_key)


async def test_two_at_once_and_one_killed_in_the_middle_erase_once(settings: Settings) -> None:
    async with running_path(settings) as path:
        await live(path)
        await post(path)
        await killed_at(path, "erase.bodies")
        assert await path.rows("SELECT 1 FROM users WHERE user_id = $1", USER), "it is as it was"
        lookalike = f"erased:1:{USER}"
        await grant(path.context, "acme", lookalike, wish(), ANNA)
        assert (await erase(path, lookalike)).state == "erased", "whoever is called so is not"
        assert await path.rows("SELECT 1 FROM users WHERE user_id = $1", lookalike) == []
        states = await asyncio.gather(erase(path), erase(path))
        assert sorted(one.state for one in states) == ["already", "erased"]
        assert len({one.user_key for one in states}) == 1
        # One that died before it told readers: the next one tells them.
        assert path.context.cache is not None
        await grant(path.context, "acme", OTHER, wish(), ANNA)
        await killed_at(path, "erase.committed", OTHER)
        held = await path.context.cache.find("acme", cache_key("acme", OTHER, "editor"))
        assert held is not None
        assert GRANTED in msgspec.json.encode(held.stored.segments[0])
        await erase(path, OTHER)
        held = await path.context.cache.find("acme", cache_key("acme", OTHER, "editor"))
        assert held is not None
        assert GRANTED not in msgspec.json.encode(held.stored.segments[0])


async def live(path: EventPath) -> None:
    """Somebody whose id is an e-mail buys; operators write about them; Stripe tells everything."""
    opened = await open_checkout(path.context, "acme", "editor", order(), attempt=None)
    await path.stripe.pay(opened.id)
    (customer,) = await path.rows("SELECT stripe_customer_id AS id FROM stripe_customers")
    await path.create(f"/v1/customers/{customer['id']}", {"email": EMAIL, "name": NAME})
    await grant(path.context, "acme", USER, wish(), ANNA, idempotency_key=f"for {USER}")
    call = KeyedCall(project="acme", caller="operator:acme/", route="POST /x", key="k", asked=[1])

    async def work(attempt: Attempt) -> object:
        return {"user_id": USER, "reason": WORDS}

    await run_once(path.context, call, work)
    await path.execute(
        """
        INSERT INTO reconciliation_runs (run_id, is_check, is_full, stage, actor, state, ended_at)
        VALUES ('run_1', true, false, 'users', 'x', 'done', now());
        INSERT INTO drifts (run_id, type, severity, project, user_key, object_kind, object_id, found, next)
        SELECT 'run_1', 'two_subscriptions', 'critical', project, user_key, 'app', 'editor', 'two',
               'tollhouse explain ' || user_id FROM users
        """
    )
    # Of a type that nobody uses: stored, ignored, and full of names.
    await path.deliver(
        {
            "id": "evt_unused",
            "object": "event",
            "type": "payment_method.attached",
            "created": 1,
            "livemode": False,
            "data": {
                "object": {"id": "pm_1", "customer": customer["id"], "billing_details": {"email": EMAIL}}
            },
        }
    )


async def come_late(path: EventPath, customer: str) -> None:
    """Everything that was not delivered, what was, once more, a replay, and a pass of the reconciler."""
    subscription = (await path.retrieve(f"/v1/subscriptions?customer={customer}"))["data"][0]
    await path.create(f"/v1/subscriptions/{subscription['id']}", {"metadata": {"word": WORDS}})
    await post(path)
    await post(path)
    states = await path.rows(
        "SELECT DISTINCT state, reason FROM webhook_events WHERE target_ref = $1 ORDER BY 1", customer
    )
    assert ("foreign", "user_erased") in {(row["state"], row["reason"]) for row in states}
    await path.execute(
        "UPDATE webhook_events SET state = 'pending', done_at = NULL WHERE target_ref = $1", customer
    )
    await path.mark("customer_all", customer)
    await path.drain()
    # What is of no customer, because nobody uses its type, is the scheduler's.
    assert await LateBodies(path.context, lag_s=0.0).work() > 0
    run_id = (await begin(path.context, ReconcileWish(is_full=True), ANNA)).id
    await carry_out(path.context, run_id)
    seen = await show_run(path.context, None, run_id)
    assert [one for one in seen.drifts if customer in str(one)] == []
    await path.drain()
    assert await path.count_owed() == 0


async def refuse_to_make_again(path: EventPath, customer: str) -> None:
    calls = (
        open_checkout(path.context, "acme", "editor", order(), attempt=None),
        grant(path.context, "acme", USER, wish(), ANNA),
        adopt(path.context, await path.make_stripe_customer(), "acme", USER, ANNA, reason=WHY),
    )
    for call in calls:
        with pytest.raises(Conflict) as refused:
            await call
        assert refused.value.code == "user_erased"
        assert USER not in refused.value.detail
    stranger = await path.make_stripe_customer()
    mapped = read_mapping(["stripe_customer_id,user_id", f"{stranger},{USER}"])
    begun = await backfill.begin(path.context, "acme", mapped, ANNA)
    await backfill.carry_out(path.context, "acme", begun.import_id, ANNA)
    left = await path.rows("SELECT * FROM import_customers WHERE stripe_customer_id = $1", stranger)
    assert [(one["user_id"], one["reason"][:19]) for one in left] == [(None, "its user was erased")]
    with pytest.raises(Conflict) as taken:
        await adopt(path.context, customer, "acme", "u_new", ANNA, reason=WHY)
    assert taken.value.code == "customer_taken"
    without = msgspec.structs.replace(path.context.settings, key_peppers=())
    blind = msgspec.structs.replace(path.context, settings=without)
    with pytest.raises(Unavailable, match="TOLLHOUSE_KEY_PEPPERS"):
        await grant(blind, "acme", USER, wish(), ANNA)


async def refute_everywhere(path: EventPath, capsys: pytest.CaptureFixture[str]) -> None:
    places = {
        "database and bodies": await everything(path),
        "redis": await in_redis(path.context.settings),
        "logs": "".join(capsys.readouterr()),
        "feed": str(await read_changes(path.context, "acme", "editor", "start", 100)),
    }
    found = {(place, word) for place, text in places.items() for word in CANARIES if word in text}
    assert found == set()


async def everything(path: EventPath) -> str:
    """Every row of every table as text, what is bytes as text too, and bodies unpacked."""
    tables = await path.rows("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    found: list[str] = []
    for table in tables:
        for row in await path.rows(f'SELECT * FROM "{table["name"]}"'):
            found += [readable(value) for value in row.values()]
    return "\n".join(found)


def readable(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    with suppress(zlib.error):
        value = zlib.decompress(value)
    return bytes(value).decode(errors="replace")


async def in_redis(settings: Settings) -> str:
    found: list[str] = []
    for url in (settings.redis_url, settings.cache_url):
        assert url is not None
        client = redis.asyncio.Redis.from_url(url.reveal())
        async for key in client.scan_iter():
            found += [str(key), str(await client.dump(key)), str(await client.get(key))]
        await client.aclose()
    return "\n".join(found)


async def sums(path: EventPath) -> list[dict[str, Any]]:
    return await path.rows(
        """
        SELECT (SELECT sum(amount_minor) FROM revenue_entries) AS revenue,
               (SELECT sum(monthly) FROM recurring_sums) AS monthly
        """
    )


async def version_of(path: EventPath, user_id: str) -> int:
    """What a reader that remembers nothing is told."""
    lookup = Lookup(path.context)
    answer = await lookup.find("acme", "editor", user_id)
    await lookup.close()
    return answer.version


async def post(path: EventPath, *, types: tuple[str, ...] | list[str] = ()) -> None:
    for event in await path.events(types=types):
        await path.deliver(event)
    await path.drain()


async def erase(path: EventPath, user_id: str = USER) -> ErasedUser:
    wish = EraseWish(reason=WHY, even_if_subscribed=True)
    return await erase_user(path.context, "acme", user_id, wish, ANNA)


async def killed_at(path: EventPath, point: str, user_id: str = USER) -> None:
    """Ends there without a word more, as a process that is killed does."""
    faults = Faults(parse_fault_points(f"{point}=raise:1"))
    dying = msgspec.structs.replace(path.context, faults=faults)
    with pytest.raises(Unavailable):
        await erase_user(dying, "acme", user_id, EraseWish(reason=WHY, even_if_subscribed=True), ANNA)


def order() -> Wish:
    return Wish(
        user_id=USER,
        items=(Item(plan="pro", price="month", quantity=1),),
        success_url="http://localhost:3000/ok",
        cancel_url="http://localhost:3000/no",
    )


def wish() -> GrantWish:
    return GrantWish(effect="allow", target_kind="feature", target="export", reason=WORDS)
