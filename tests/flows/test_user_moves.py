"""Users are merged and renamed: what they have is found under the other id, and no reader's version falls."""

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from domain.errors import Conflict, Invalid, Unknown
from domain.flows.checkout import Item, Wish, open_checkout
from domain.flows.claim_checkout import claim_checkout
from domain.flows.commit import VerdictChanged, Work, commit
from domain.flows.erase_user import ErasedUser, EraseWish, erase_user
from domain.flows.export_user import export_user
from domain.flows.fetch import fetch
from domain.flows.grant import GrantWish, grant
from domain.flows.judge import judge
from domain.flows.lookup import Lookup
from domain.flows.merge_users import MergedUsers, MergeWish, merge_users
from domain.flows.record_action import Operator
from domain.flows.rename_user import RenamedUser, RenameWish, rename_user
from domain.flows.show_user import show_user
from domain.flows.vanishing import Vanishing
from domain.model import Subscription
from domain.store import inbox, targets
from domain.store.moves import MOVED, STAYING
from domain.store.tables import metadata
from tests.flows.event_path import EventPath

ANNA = Operator(actor="cli:anna")
APPS = ("editor", "viewer")


def test_every_table_that_names_a_user_moves_or_says_why_it_stays() -> None:
    holding = {table.name for table in metadata.tables.values() if "user_key" in table.columns}
    assert holding - {*MOVED, *STAYING} == set(), "say in domain/store/moves.py what becomes of it"


async def test_what_one_user_has_counts_for_the_other_and_later_events_too(path: EventPath) -> None:
    of_a, of_b = await path.make_customer("u_a"), await path.make_customer("u_b")
    await path.buy(of_a)
    await path.buy(of_b, "pass", "once")
    await promise(path, "u_a", "seats", 7)
    await post(path)
    before = {user: await versions(path, user) for user in ("u_a", "u_b")}
    highest = {app: max(before["u_a"][app], before["u_b"][app]) for app in APPS}
    money = await sums(path)

    foreseen = await merge(path, "u_a", "u_b", dry_run=True)
    assert (foreseen.state, foreseen.customers, foreseen.moved) == ("would_merge", [of_a], {})
    assert {user: await versions(path, user) for user in ("u_a", "u_b")} == before

    merged = await merge(path, "u_a", "u_b")
    assert (merged.customers, merged.moved["subscriptions"], merged.moved["grants"]) == ([of_a], 1, 1)
    assert [await path.is_granted(user_id=user) for user in ("u_a", "u_b")] == [False, True]
    assert await rows_of(path, "u_a") == set()
    for user, said in (("u_a", merged.left_versions), ("u_b", merged.versions)):
        seen = await versions(path, user)
        assert seen == said
        assert all(seen[app] > highest[app] for app in APPS), (user, seen, highest)
    assert await sums(path) == money
    primary = await path.rows("SELECT stripe_customer_id AS id FROM stripe_customers WHERE is_primary")
    assert [row["id"] for row in primary] == [of_b], "new checkouts go on with the customer it had"

    (subscription,) = (await path.retrieve(f"/v1/subscriptions?customer={of_a}"))["data"]
    await path.delete(f"/v1/subscriptions/{subscription['id']}")
    await post(path)
    (known,) = (await path.facts("u_b")).subscriptions
    assert known.status == "canceled", "events of the moved customer are the other's"
    audited = await path.rows(
        "SELECT action, details::text AS details FROM audit_log ORDER BY id DESC LIMIT 1"
    )
    assert audited[0]["action"] == "user.merge"
    assert "u_a" not in audited[0]["details"]


async def test_what_stands_in_the_way_of_a_merge_is_named(path: EventPath) -> None:
    for user in ("u_a", "u_b"):
        await path.buy(await path.make_customer(user))
    await promise(path, "u_gone", "seats", 1)
    await post(path)
    (doubled,) = (await merge(path, "u_a", "u_b", dry_run=True)).doubled
    assert len(doubled.subscriptions) == 2
    await erase(path, "u_gone")
    refusals: tuple[tuple[str, str, type[Exception], str], ...] = (
        ("u_a", "u_b", Conflict, "subscriptions_doubled"),
        ("u_a", "u_a", Invalid, "invalid"),
        ("u_a", "u_none", Unknown, "unknown_user"),
        ("u_none", "u_a", Unknown, "unknown_user"),
        ("u_a", "u_gone", Conflict, "user_erased"),
        ("u_gone", "u_a", Conflict, "user_erased"),
    )
    for source, target, error, code in refusals:
        with pytest.raises(error) as refused:
            await merge(path, source, target)
        assert getattr(refused.value, "code", None) == code
    await path.execute(
        """
        INSERT INTO checkout_turns (user_key, group_key, project, token, lease_until)
        SELECT user_key, 'main', project, gen_random_uuid(), now() + interval '1 minute'
        FROM users WHERE user_id = 'u_b'
        """
    )
    for call in (
        merge(path, "u_a", "u_b", even_if_doubled=True),
        rename(path, "u_b", "u_c"),
        erase(path, "u_b"),
    ):
        with pytest.raises(Conflict) as busy:
            await call
        assert (busy.value.code, busy.value.retry_after_s) == ("change_in_progress", 2)
    await path.execute("DELETE FROM checkout_turns")
    assert (await merge(path, "u_a", "u_b", even_if_doubled=True)).state == "merged"
    assert len((await path.facts("u_b")).subscriptions) == 2

    # A page that is open makes a second subscription as soon as it is paid.
    items = (Item(plan="pro", price="month", quantity=1),)
    url = "http://localhost:3000/"
    page = await open_checkout(
        path.context, "acme", "editor", Wish(user_id="u_p", items=items, success_url=url, cancel_url=url)
    )
    with pytest.raises(Conflict, match=page.id) as refused:
        await merge(path, "u_p", "u_b")
    assert refused.value.code == "subscriptions_doubled"
    with pytest.raises(Conflict, match=page.id) as payable:
        await erase_user(path.context, "acme", "u_p", EraseWish(reason="asked to"), ANNA)
    assert payable.value.code == "user_subscribed"
    await promise(path, "u_q", "seats", 1)
    assert (await merge(path, "u_p", "u_q")).state == "merged"
    await path.stripe.pay(page.id)
    claimed = await claim_checkout(path.context, path.syncer, "acme", "editor", page.id)
    assert claimed.claimed.user_id == "u_q"
    assert [await path.is_granted(user_id=user) for user in ("u_p", "u_q")] == [False, True]


async def test_merges_both_ways_at_once_and_a_sync_between_neither_deadlock_nor_lose_anything(
    path: EventPath,
) -> None:
    customers = {user: await path.make_customer(user) for user in ("u_a", "u_b")}
    await path.buy(customers["u_a"])
    await path.buy(customers["u_b"], "pass", "once")
    await post(path)
    target_id = await path.mark("customer_all", customers["u_a"])
    work = await read_but_not_commit(path, target_id)
    for _ in range(3):
        done = await asyncio.gather(merge(path, "u_a", "u_b"), merge(path, "u_b", "u_a"))
        assert [one.state for one in done] == ["merged", "merged"]
    owners = await path.rows("SELECT DISTINCT user_key FROM stripe_customers")
    holders = await path.rows(
        "SELECT user_key FROM subscriptions UNION SELECT user_key FROM purchases UNION SELECT user_key FROM"
        " revenue_entries UNION SELECT user_key FROM recurring_sums"
    )
    assert len(owners) == 1
    assert holders == owners

    # What was read for the one user is not written when the customer is the other's by then.
    holder = "u_a" if await path.is_granted(user_id="u_a") else "u_b"
    other = ({"u_a", "u_b"} - {holder}).pop()
    if await owner_of(path, customers["u_a"]) == work.verdict.owner.user_key:  # type: ignore[union-attr] # it has one
        await merge(path, holder, other)
    with pytest.raises(VerdictChanged):
        await commit(path.context, work)


async def test_a_renamed_user_is_found_under_the_new_id_and_back_again(path: EventPath) -> None:
    customer = await path.make_customer("u_old")
    await path.buy(customer)
    await post(path)
    before = await versions(path, "u_old")
    assert (await rename(path, "u_old", "u_new", dry_run=True)).state == "would_rename"
    assert await path.rows("SELECT 1 FROM users WHERE user_id = 'u_new'") == []

    renamed = await rename(path, "u_old", "u_new")
    assert [await path.is_granted(user_id=user) for user in ("u_old", "u_new")] == [False, True]
    for user, said in (("u_old", renamed.left_versions), ("u_new", renamed.versions)):
        seen = await versions(path, user)
        assert seen == said
        assert all(seen[app] > before[app] for app in APPS)
    (subscription,) = (await path.retrieve(f"/v1/subscriptions?customer={customer}"))["data"]
    await path.create(f"/v1/subscriptions/{subscription['id']}", {"cancel_at_period_end": True})
    await post(path)
    assert {len((await path.facts(user)).subscriptions) for user in ("u_old", "u_new")} == {0, 1}

    again = await rename(path, "u_new", "u_old")
    assert again.user_key == renamed.user_key
    assert [await path.is_granted(user_id=user) for user in ("u_old", "u_new")] == [True, False]
    assert all(again.versions[app] > renamed.left_versions[app] for app in APPS), "the old id's readers go on"

    await promise(path, "u_taken", "seats", 1)
    refusals: tuple[tuple[str, str, type[Exception], str], ...] = (
        ("u_old", "u_taken", Conflict, "user_exists"),
        ("u_old", "u_old", Invalid, "invalid"),
        ("u_old", "x" * 256, Invalid, "invalid"),
        ("u_none", "u_x", Unknown, "unknown_user"),
    )
    for user, new, error, code in refusals:
        with pytest.raises(error) as refused:
            await rename(path, user, new)
        assert getattr(refused.value, "code", None) == code
    done = await erase(path, "u_old")
    assert len(done.former) == 1
    left = await path.rows("SELECT user_id FROM users WHERE user_id LIKE 'u\\_%' ORDER BY 1")
    assert [row["user_id"] for row in left] == ["u_taken"], "the id that it had before goes too"


async def test_a_chain_of_merges_and_back_keeps_past_figures_and_leaves_no_id_behind_an_erasure(
    path: EventPath,
) -> None:
    for user, price in (("u_a", "month"), ("u_b", "year"), ("u_c", "month")):
        await path.buy(await path.make_customer(user), "pro", price)
    await post(path)
    await path.execute("UPDATE recurring_sums SET begins_at = begins_at - interval '1 day'")
    figures = await figures_an_hour_ago(path)
    told = {user: await versions(path, user) for user in ("u_a", "u_b", "u_c")}
    for source, into in (("u_a", "u_b"), ("u_b", "u_c"), ("u_c", "u_a")):
        await merge(path, source, into, even_if_doubled=True)
        assert await figures_an_hour_ago(path) == figures
        for user, before in told.items():
            told[user] = await versions(path, user)
            assert all(told[user][app] >= before[app] for app in APPS), (source, into, user)
    assert len((await path.facts("u_a")).subscriptions) == 3
    await rename(path, "u_a", "u_b")
    await erase(path, "u_b")
    assert await path.rows("SELECT 1 FROM users WHERE user_id LIKE 'u\\_%'") == []
    assert await figures_an_hour_ago(path) == figures


async def test_an_earlier_id_that_somebody_uses_again_is_theirs_and_what_moved_is_not_said_to_be_gone(
    path: EventPath,
) -> None:
    await path.buy(await path.make_customer("u_a"))
    await promise(path, "u_b", "seats", 1)
    await post(path)
    await merge(path, "u_a", "u_b")
    for call in (erase(path, "u_a"), rename(path, "u_a", "u_z"), merge(path, "u_a", "u_b_other")):
        await promise(path, "u_b_other", "seats", 1)
        with pytest.raises(Conflict, match="'u_b'") as refused:
            await call
        assert refused.value.code == "user_moved"
    assert (await merge(path, "u_a", "u_b")).state == "merged", "the same call once more is harmless"
    (known,) = (await path.facts("u_b")).subscriptions

    # A stranger comes to have the id that was left, and pays.
    await path.buy(await path.make_customer("u_a"))
    await post(path)
    before = await versions(path, "u_a")
    assert known.subscription_id in await told_of(path, "u_a")
    done = await erase(path, "u_b")
    assert (done.former, done.running) == ([], [known.subscription_id])
    assert [await path.is_granted(user_id=user) for user in ("u_a", "u_b")] == [True, False]
    assert await versions(path, "u_a") == before
    left = await told_of(path, "u_a")
    assert known.subscription_id not in left, "what the erased user was answered under the id goes"
    (own,) = (await path.facts("u_a")).subscriptions
    assert own.subscription_id in left
    assert (await erase(path, "u_a")).state == "erased"


async def test_what_was_told_under_an_id_is_shown_and_exported_as_whose_it_was_then(path: EventPath) -> None:
    await path.buy(await path.make_customer("u_a"))
    for user in ("u_b", "u_c", "u_x"):
        await promise(path, user, "seats", 1)
    await post(path)
    (first,) = (await path.facts("u_a")).subscriptions
    keys = {row["user_id"]: row["user_key"] for row in await path.rows("SELECT user_id, user_key FROM users")}
    told = len(await path.rows("SELECT 1 FROM entitlement_history WHERE user_key = $1", keys["u_a"]))
    await merge(path, "u_a", "u_b")
    shown = await show_user(path.context, "acme", "u_a")
    assert (shown.moved_to, shown.timeline[-1].id) == ("u_b", "user.merge")
    assert shown.timeline[-1].said == 'what it had became "u_b"\'s, by cli:anna: one person'
    with pytest.raises(Conflict, match="'u_b'") as refused:
        await export_user(path.context, "acme", "u_a", ANNA)
    assert refused.value.code == "user_moved"
    exported = await export_user(path.context, "acme", "u_b", ANNA)
    (earlier,) = exported.earlier
    assert (earlier.user_key, earlier.after) == (keys["u_a"], None)
    assert len(earlier.entitlement_history) == told + len(APPS), "and the answers of the merge itself"
    assert [one["action"] for one in exported.actions] == ["grant.create", "user.merge", "user.export"]

    # A stranger comes to have the id, buys, and takes in another user.
    await path.buy(await path.make_customer("u_a"))
    await post(path)
    (second,) = (await path.facts("u_a")).subscriptions
    await merge(path, "u_x", "u_a")
    assert (await show_user(path.context, "acme", "u_a")).moved_to is None
    assert await exported_of(path, "u_a", first, second) == ([keys["u_x"]], [second])
    assert await exported_of(path, "u_b", first, second) == ([keys["u_a"]], [first])

    # What the first one had goes on, and the stranger's merge takes nothing of it along.
    await merge(path, "u_b", "u_c")
    await rename(path, "u_c", "u_d")
    assert (await show_user(path.context, "acme", "u_c")).moved_to == "u_d"
    assert await exported_of(path, "u_d", first, second) == ([keys["u_b"], keys["u_a"]], [first])
    own = (await export_user(path.context, "acme", "u_a", ANNA)).entitlement_history
    await erase(path, "u_d")
    assert (await export_user(path.context, "acme", "u_a", ANNA)).entitlement_history == own
    assert first.subscription_id not in await told_of(path, "u_a")


async def exported_of(
    path: EventPath, user_id: str, *among: Subscription
) -> tuple[list[int], list[Subscription]]:
    """The earlier keys of a user's export, and which of these subscriptions it names anywhere."""
    exported = await export_user(path.context, "acme", user_id, ANNA)
    text = msgspec.json.encode(exported).decode()
    return [one.user_key for one in exported.earlier], [one for one in among if one.subscription_id in text]


async def read_but_not_commit(path: EventPath, target_id: int) -> Work:
    """What a worker holds that has read Stripe and has not written yet."""
    async with path.context.database.connection() as connection:
        claim = await targets.claim(connection, target_id, uuid.uuid4().hex, 30.0)
        assert claim is not None
        events = tuple(await inbox.list_pending(connection, claim.target, 100))
        verdict = await judge(connection, claim.target, events)
    objects = {(event.object_kind, event.object_id) for event in events}
    return Work(
        claim=claim,
        verdict=verdict,
        events=events,
        has_more=False,
        elsewhere={},
        fetched=await fetch(path.context, objects, max_wait_s=1.0),
        vanishing=Vanishing(),
    )


async def owner_of(path: EventPath, customer: str) -> int:
    rows = await path.rows("SELECT user_key FROM stripe_customers WHERE stripe_customer_id = $1", customer)
    key: int = rows[0]["user_key"]
    return key


async def rows_of(path: EventPath, user_id: str) -> set[str]:
    """Tables in which the user has a row of what moves."""
    return {
        table
        for table in (*MOVED, "stripe_customers")
        if await path.rows(
            f"SELECT 1 FROM {table} WHERE user_key = (SELECT user_key FROM users WHERE user_id = $1)", user_id
        )
    }


async def sums(path: EventPath) -> list[dict[str, Any]]:
    return await path.rows(
        """
        SELECT (SELECT sum(amount_minor) FROM revenue_entries) AS revenue,
               (SELECT sum(monthly / divisor) FROM recurring_sums WHERE ends_at IS NULL) AS monthly
        """
    )


async def figures_an_hour_ago(path: EventPath) -> list[dict[str, Any]]:
    return await path.rows(
        """
        SELECT sum(monthly / divisor) AS monthly, sum(subscriptions) FILTER (WHERE is_counted) AS counted,
               (SELECT sum(amount_minor) FROM revenue_entries) AS revenue
        FROM recurring_sums
        WHERE tstzrange(begins_at, ends_at) @> (now() - interval '1 hour')
        """
    )


async def versions(path: EventPath, user_id: str) -> dict[str, int]:
    """What a reader is told that remembers nothing itself, but asks Redis first."""
    lookup = Lookup(path.context)
    found = {app: (await lookup.find("acme", app, user_id)).version for app in APPS}
    await lookup.close()
    return found


async def post(path: EventPath) -> None:
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def promise(path: EventPath, user_id: str, feature: str, value: int) -> None:
    wish = GrantWish(effect="allow", target_kind="feature", target=feature, value=value, reason="promised")
    await grant(path.context, "acme", user_id, wish, ANNA)


async def told_of(path: EventPath, user_id: str) -> str:
    """What the history says of it, as text."""
    told = "SELECT facts::text FROM entitlement_history JOIN users USING (user_key) WHERE user_id = $1"
    return str(await path.rows(told, user_id))


async def erase(path: EventPath, user_id: str) -> ErasedUser:
    wish = EraseWish(reason="asked to", even_if_subscribed=True)
    return await erase_user(path.context, "acme", user_id, wish, ANNA)


async def merge(path: EventPath, user_id: str, into: str, **options: bool) -> MergedUsers:
    wish = MergeWish(user_id=user_id, into_user_id=into, reason="one person", **options)
    return (await merge_users(path.context, "acme", wish, ANNA)).users


async def rename(path: EventPath, user_id: str, new: str, *, dry_run: bool = False) -> RenamedUser:
    wish = RenameWish(user_id=user_id, new_user_id=new, reason="new login", dry_run=dry_run)
    return await rename_user(path.context, "acme", wish, ANNA)
