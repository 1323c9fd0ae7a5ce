"""The chain from Stripe to a reader, each link really broken once, and the repair that mends it."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain.cache import cache_key
from domain.context import Context
from domain.errors import Unknown
from domain.flows.grant import GrantWish, Operator, grant
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.flows.repair import repair_user
from domain.flows.replay import requeue
from domain.flows.trace import Link, Trace, trace_user
from domain.model import CachedSet
from domain.settings import Secret
from domain.store.session import Connection
from tests.flows.event_path import CATALOG, EventPath, running_path

LINKS = [
    "customer", "checkout", "events", "sync", "mirror", "prices", "catalog", "set", "boundary", "cache",
]  # fmt: skip
REPAIR = "tollhouse explain u_1 --project acme --repair"


async def trace(path: EventPath, user_id: str = "u_1", **fields: Any) -> Trace:
    return await trace_user(path.context, "acme", user_id, **fields)


async def link(path: EventPath, name: str, **fields: Any) -> Link:
    found = await trace(path, **fields)
    return next(one for one in found.links if one.name == name)


async def broken(path: EventPath) -> Link:
    """The first broken link."""
    found = (await trace(path)).first_broken
    assert found is not None
    return found


async def buy(path: EventPath, plan: str = "pro", price: str = "month") -> str:
    """A purchase that has arrived; answers the customer."""
    customer = await path.make_customer()
    await path.buy(customer, plan, price)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    return customer


async def note_checkout(path: EventPath, session_id: str | None, **fields: object) -> None:
    """The row that opening a checkout through the API leaves."""
    values = {"mode": "subscription", "status": "open", "payment_status": None, **fields}
    await path.execute(
        """
        INSERT INTO checkout_sessions
            (ref, project, app, user_key, stripe_session_id, mode, status, payment_status, items)
        SELECT gen_random_uuid(), 'acme', 'editor', user_key, $1, $2, $3, $4, '[]' FROM users
        """,
        session_id,
        values["mode"],
        values["status"],
        values["payment_status"],
    )


async def repair(path: EventPath) -> None:
    await repair_user(path.context, "acme", "u_1", Operator(actor="cli:test"))


# ── nothing broken ──────────────────────────────────────────────────────────────────────────────────


async def test_a_purchase_that_arrived_has_no_broken_link(path: EventPath) -> None:
    customer = await buy(path)
    found = await trace(path)
    assert [one.name for one in found.links] == LINKS
    assert {one.state for one in found.links} == {"ok", "none"}
    assert found.first_broken is None
    assert customer in found.links[0].finding
    assert "active, read 20" in found.links[4].finding


async def test_who_only_has_a_grant_has_no_broken_link(path: EventPath) -> None:
    wish = GrantWish(effect="allow", target_kind="feature", target="export", reason="test")
    await grant(path.context, "acme", "u_1", wish, Operator(actor="test"))
    found = await trace(path)
    assert found.first_broken is None
    assert [one.name for one in found.links if one.state == "ok"] == ["catalog", "set", "boundary", "cache"]
    assert found.links[0].repair is not None
    assert "tollhouse events list --state foreign" in found.links[0].repair


async def test_one_app_alone_can_be_looked_at(path: EventPath) -> None:
    await buy(path)
    found = await trace(path, app="viewer")
    assert "viewer" in found.links[7].finding
    assert "editor" not in found.links[7].finding


async def test_tracing_changes_nothing(path: EventPath) -> None:
    await buy(path)
    before = [await path.targets(), await path.stored(), await path.cached(), await path.states()]
    await trace(path)
    assert [await path.targets(), await path.stored(), await path.cached(), await path.states()] == before


# ── user and customer ───────────────────────────────────────────────────────────────────────────────


async def test_a_user_whom_nobody_knows_is_the_broken_link(path: EventPath) -> None:
    await buy(path)
    found = await trace(path, "u_2")
    assert [one.name for one in found.links] == ["user"]
    assert found.first_broken is not None
    assert "'u_2'" in found.first_broken.finding


@pytest.mark.parametrize(
    ("project", "app", "code"), [("none", None, "unknown_project"), ("acme", "none", "unknown_app")]
)
async def test_an_unknown_project_or_app_is_refused(
    path: EventPath, project: str, app: str | None, code: str
) -> None:
    with pytest.raises(Unknown) as refused:
        await trace_user(path.context, project, "u_1", app=app)
    assert refused.value.code == code


async def test_a_customer_that_was_never_linked_is_found_by_its_event(path: EventPath) -> None:
    await path.make_customer(linked=False)
    (event,) = await path.events(types=["customer.created"])
    await path.deliver(event)
    await path.execute("UPDATE webhook_events SET state = 'foreign', reason = 'x', done_at = now()")
    await path.execute("UPDATE sync_targets SET synced_seq = dirty_seq")
    assert (await link(path, "customer")).state == "waiting"
    await path.execute("UPDATE stripe_customers SET created_at = created_at - interval '2 minutes'")
    found = await broken(path)
    assert (found.name, found.repair) == ("customer", f"tollhouse events requeue {event['id']}")
    await requeue(path.context, [event["id"]])
    await path.drain()
    assert (await trace(path)).first_broken is None


async def test_a_customer_without_any_event_waits_for_the_next_checkout(path: EventPath) -> None:
    await path.make_customer(linked=False)
    await path.execute("UPDATE stripe_customers SET created_at = created_at - interval '2 minutes'")
    found = await broken(path)
    assert (found.name, found.repair) == ("customer", "the user's next checkout finds or creates it")


async def test_a_checkout_that_is_open_waits_for_its_payment_or_for_its_events(path: EventPath) -> None:
    await path.make_customer()
    await note_checkout(path, "cs_1")
    found = await link(path, "checkout")
    assert (found.state, found.finding) == ("waiting", "newest: cs_1 (subscription, open)")
    assert found.repair is not None
    assert "check the webhook endpoint" in found.repair
    assert found.repair.endswith(REPAIR)


async def test_events_that_never_arrived_are_made_up_for_by_the_repair(path: EventPath) -> None:
    customer = await path.make_customer()
    session = await path.buy(customer)
    await note_checkout(path, session)
    assert (await link(path, "checkout")).state == "waiting"
    await repair(path)
    await path.drain()
    assert await path.is_granted()
    assert (await link(path, "checkout")).state == "ok"
    assert (await trace(path)).first_broken is None


# ── events and sync ─────────────────────────────────────────────────────────────────────────────────


async def test_an_event_that_was_given_up_is_named_and_requeued(path: EventPath) -> None:
    await buy(path)
    (event, *_) = await path.events(types=["checkout.session.completed"])
    await path.execute(
        "UPDATE webhook_events SET state = 'failed', reason = 'a shape' WHERE event_id = $1", event["id"]
    )
    found = await broken(path)
    assert (found.name, found.repair) == ("events", f"tollhouse events requeue {event['id']}")
    assert "failed: a shape" in found.finding
    await requeue(path.context, [event["id"]])
    assert (await link(path, "events")).state == "waiting"
    await path.drain()
    assert (await trace(path)).first_broken is None


async def test_an_event_taken_for_foreign_is_named(path: EventPath) -> None:
    await buy(path)
    await path.execute(
        """
        UPDATE webhook_events SET state = 'foreign', reason = 'unlinked_customer'
        WHERE type = 'checkout.session.completed'
        """
    )
    found = await broken(path)
    assert found.name == "events"
    assert "unlinked_customer" in found.finding


async def test_an_object_that_stripe_does_not_show_breaks_nothing(path: EventPath) -> None:
    await buy(path)
    await path.execute(
        """
        UPDATE webhook_events SET state = 'foreign', reason = 'object_missing'
        WHERE type = 'checkout.session.completed'
        """
    )
    found = await link(path, "events")
    assert found.state == "ok"
    assert "object_missing" in found.finding


async def test_a_dead_target_says_why_and_which_event_revives_it(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    await path.deliver(event)
    await path.execute("UPDATE sync_targets SET state = 'dead', last_error = 'no such shape'")
    found = await broken(path)
    assert found.name == "sync"
    assert found.finding == f"customer {customer} is dead: no such shape"
    assert found.repair == f"tollhouse events requeue {event['id']}"
    await requeue(path.context, [event["id"]])
    await path.drain()
    assert (await trace(path)).first_broken is None


async def test_a_dead_target_without_an_event_is_revived_by_the_repair(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE sync_targets SET state = 'dead', last_error = 'no such shape'")
    assert (await broken(path)).repair == REPAIR
    await repair(path)
    await path.drain()
    assert (await trace(path)).first_broken is None


async def test_a_target_that_backs_off_says_what_it_waits_for(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    await path.deliver(event)
    await path.execute(
        """
        UPDATE sync_targets SET attempts = 3, last_error = 'Stripe answered 503',
            due_at = clock_timestamp() + interval '2 minutes'
        """
    )
    found = await broken(path)
    assert (found.name, found.finding) == ("sync", f"customer {customer} failed 3 times: Stripe answered 503")
    assert found.repair is not None
    assert "tried again by itself at 20" in found.repair


async def test_what_is_owed_waits_at_first_and_is_broken_when_nobody_works(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["checkout.session.completed"])
    await path.deliver(event)
    found = await trace(path)
    assert found.first_broken is None
    assert [one.name for one in found.links if one.state == "waiting"] == ["events", "sync"]
    await path.execute("UPDATE webhook_events SET received_at = received_at - interval '2 minutes'")
    stuck = await broken(path)
    assert (stuck.name, stuck.repair) == ("sync", "start a worker and a scheduler (docs/operations.md)")
    await path.execute(
        "UPDATE sync_targets SET lease_token = 'x', lease_until = clock_timestamp() + interval '15 s'"
    )
    assert (await link(path, "sync")).finding == f"customer {customer} is being worked on"


async def test_a_linked_customer_whose_target_is_foreign_is_read_again(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE sync_targets SET owner = 'foreign'")
    found = await broken(path)
    assert (found.name, found.repair) == ("sync", REPAIR)
    await repair(path)
    await path.drain()
    assert (await trace(path)).first_broken is None


# ── mirror and prices ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("plan", "price", "mode"), [("pro", "month", "subscription"), ("pass", "once", "payment")]
)
async def test_a_paid_checkout_that_the_mirror_does_not_hold_is_read_again(
    path: EventPath, plan: str, price: str, mode: str
) -> None:
    await buy(path, plan, price)
    (event,) = await path.events(types=["checkout.session.completed"])
    session_id = event["data"]["object"]["id"]
    await note_checkout(path, session_id, mode=mode, status="complete", payment_status="paid")
    assert (await trace(path)).first_broken is None
    await path.execute("DELETE FROM subscriptions")
    await path.execute("DELETE FROM purchases")
    found = await broken(path)
    assert (found.name, found.repair) == ("mirror", REPAIR)
    await repair(path)
    await path.drain()
    assert (await trace(path)).first_broken is None
    assert await path.is_granted()


async def test_a_price_that_the_catalog_does_not_know_is_named(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE subscription_items SET price_id = 'price_x', product_id = 'prod_x'")
    found = await broken(path)
    assert found.name == "prices"
    assert "price_unmapped" in found.finding
    assert "price_x of prod_x" in found.finding
    assert found.repair is not None
    assert "tollhouse catalog apply" in found.repair


async def test_a_price_of_another_project_is_said_to_be_its(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE subscription_items SET price_id = 'price_x', product_id = 'globex_plus'")
    found = await broken(path)
    assert found.name == "prices"
    assert found.finding == "price_x is of plan plus of another project, globex"


async def test_a_price_of_what_has_ended_breaks_nothing(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE subscription_items SET price_id = 'price_x', product_id = 'prod_x'")
    await path.execute("UPDATE subscriptions SET status = 'canceled', ended_at = now()")
    assert (await link(path, "prices")).state == "none"


# ── catalog, set, boundary ──────────────────────────────────────────────────────────────────────────


async def test_a_user_who_is_behind_the_catalog_waits_and_is_then_broken(path: EventPath) -> None:
    await buy(path)
    text = CATALOG.read_text().replace('name = "Acme Pro"', 'name = "Acme Professional"')
    await publish_locally(path.context, read_catalog(text, file="catalog.toml"))
    await path.execute("UPDATE users SET catalog_version = 1")
    assert (await link(path, "catalog")).state == "waiting"
    await path.execute("UPDATE catalogs SET applied_at = applied_at - interval '2 minutes'")
    found = await broken(path)
    assert (found.name, found.finding) == ("catalog", "computed under version 1, and version 2 is in force")
    assert found.repair is not None
    assert found.repair.startswith(REPAIR)
    await repair(path)
    await path.drain()
    assert (await trace(path)).first_broken is None


async def test_stored_answers_that_are_not_what_the_facts_give_are_stale(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE subscriptions SET status = 'incomplete'")
    found = await broken(path)
    assert (found.name, found.repair) == ("set", REPAIR)
    assert "editor, viewer" in found.finding
    await repair(path)
    assert (await path.answer())["export"]["reason"] == "subscription_incomplete"
    assert (await link(path, "set")).state == "ok"


async def test_an_app_without_stored_answers_is_named(path: EventPath) -> None:
    await buy(path)
    await path.execute("DELETE FROM entitlements WHERE app = 'viewer'")
    found = await broken(path)
    assert found.name == "set"
    assert found.finding.startswith("no answers are stored for viewer")


async def test_a_boundary_that_passed_waits_and_is_broken_after_a_minute(path: EventPath) -> None:
    await buy(path, "pass", "once")
    (row,) = await path.rows("SELECT next_boundary_at AS at FROM users")
    for late_s, state in ((-1, "ok"), (5, "waiting"), (120, "broken")):
        late = clocked(path.context, row["at"] + timedelta(seconds=late_s))
        found = await trace_user(late, "acme", "u_1")
        assert (late_s, found.links[8].state) == (late_s, state)
    assert found.first_broken is not None
    assert "start a scheduler" in (found.first_broken.repair or "")
    await repair_user(late, "acme", "u_1", Operator(actor="cli:test"))
    assert (await trace_user(late, "acme", "u_1")).links[8].state == "ok"


def clocked(context: Context, now: datetime) -> Context:
    async def answer(_connection: Connection) -> datetime:
        return now

    return msgspec.structs.replace(context, now=answer)


# ── cache ───────────────────────────────────────────────────────────────────────────────────────────


async def put_into_cache(
    path: EventPath, *, version: int | None, read_at: float, is_other: bool = False
) -> None:
    """An entry under the key of u_1 for the editor, whatever is there."""
    stored = await path.stored()
    assert stored is not None
    assert path.context.cache is not None
    changes: dict[str, Any] = {} if version is None else {"first_version": version}
    if is_other:
        changes["computed_at"] = datetime(2020, 1, 1, tzinfo=UTC)
    key = cache_key("acme", "u_1", "editor")
    await path.context.cache._client.delete(key)
    entry = CachedSet(stored=msgspec.structs.replace(stored, **changes), read_at=read_at)
    await path.context.cache.store([(key, entry)])


@pytest.mark.parametrize(
    ("version", "age_s", "state", "said"),
    [
        (None, 0, "ok", "version 2, as stored"),
        (1, 0, "broken", "version 1 is older than the stored 2, for at most 10 s"),
        (1, 60, "ok", "60 s old, readers ask Postgres"),
        (9, 0, "broken", "version 9 is newer than the stored 2: was the database restored?"),
        (0, 0, "broken", "version 0 is older than the stored 2"),
    ],
)
async def test_an_entry_of_another_version_is_broken_while_readers_take_it(
    path: EventPath, version: int | None, age_s: float, state: str, said: str
) -> None:
    await buy(path)
    await path.execute("UPDATE entitlements SET first_version = 2, last_version = 2")
    await put_into_cache(path, version=version, read_at=time.time() - age_s)
    found = await link(path, "cache", app="editor")
    assert found.state == state
    assert said in found.finding


async def test_a_stale_entry_is_replaced_by_the_repair(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE entitlements SET first_version = 2, last_version = 2")
    await put_into_cache(path, version=1, read_at=time.time())
    assert (await broken(path)).repair == REPAIR
    await repair(path)
    assert (await link(path, "cache")).state == "ok"


async def test_other_bytes_under_the_same_version_are_broken(path: EventPath) -> None:
    await buy(path)
    await put_into_cache(path, version=None, read_at=time.time(), is_other=True)
    found = await broken(path)
    assert found.name == "cache"
    assert "other bytes" in found.finding
    await repair(path)
    assert (await link(path, "cache")).state == "ok"


async def test_no_entry_is_no_trouble(path: EventPath) -> None:
    await buy(path)
    assert path.context.cache is not None
    await path.context.cache._client.flushdb()
    assert (await link(path, "cache")).state == "ok"


async def test_a_cache_that_is_away_cannot_be_seen(path: EventPath) -> None:
    await buy(path)
    away = msgspec.structs.replace(path.context, cache=None)
    found = (await trace_user(away, "acme", "u_1")).links[-1]
    assert (found.name, found.state) == ("cache", "unknown")


async def test_a_redis_that_does_not_answer_cannot_be_seen(path: EventPath) -> None:
    await buy(path)
    settings = msgspec.structs.replace(path.context.settings, cache_url=Secret("redis://127.0.0.1:1/0"))
    async with running_path(settings) as other:
        found = (await trace_user(other.context, "acme", "u_1")).links[-1]
    assert (found.name, found.state) == ("cache", "unknown")
    assert "readers ask Postgres" in found.finding


# ── repair ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repair_of_what_is_whole_changes_no_version(path: EventPath) -> None:
    customer = await buy(path)
    before = await path.stored()
    repaired = await repair_user(path.context, "acme", "u_1", Operator(actor="cli:test"))
    assert (repaired.customers, repaired.changed) == ((customer,), ())
    await path.drain()
    assert await path.stored() == before
    assert (await trace(path)).first_broken is None


async def test_a_repair_leaves_one_audit_row_without_the_users_id(path: EventPath) -> None:
    customer = await buy(path)
    await repair(path)
    (row,) = await path.rows(
        "SELECT actor, action, user_key, details::text AS details FROM audit_log WHERE subject_kind = 'user'"
    )
    assert (row["actor"], row["action"]) == ("cli:test", "user.repair")
    assert customer in row["details"]
    assert "u_1" not in row["details"]


async def test_a_repair_of_nobody_is_refused(path: EventPath) -> None:
    with pytest.raises(Unknown, match="u_9"):
        await repair_user(path.context, "acme", "u_9", Operator(actor="cli:test"))


async def test_repairs_at_once_end_as_one(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE subscriptions SET status = 'incomplete'")
    await asyncio.gather(*(repair(path) for _ in range(8)))
    stored = await path.stored()
    assert stored is not None
    assert stored.first_version == 2
    await path.drain()
    assert (await trace(path)).first_broken is None
