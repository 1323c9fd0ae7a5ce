"""Grants against real Postgres, Redis and Stripe's simulator: what an operator gives, takes and ends."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from domain.context import Context, database_now
from domain.errors import Broken, Invalid, TollhouseError, Unavailable, Unknown
from domain.flows.grant import Given, GrantWish, Operator, grant
from domain.flows.list_grants import list_grants
from domain.flows.lookup import Lookup
from domain.flows.recompute_due import recompute_due
from domain.flows.revoke import ByGrant, ByTarget, Revoked, revoke
from domain.store import grants
from domain.store.session import Connection
from tests.flows.event_path import EventPath
from tests.waiting import until

ANNA = Operator(actor="console:anna", request_id="req_1")
DAY = timedelta(days=1)


async def give(
    path: EventPath,
    effect: Any = "allow",
    kind: Any = "feature",
    target: str = "sso",
    *,
    user_id: str = "u_1",
    key: str | None = None,
    context: Context | None = None,
    **changes: Any,
) -> Given:
    wish = GrantWish(effect=effect, target_kind=kind, target=target, **{"reason": "case 12", **changes})
    done = await grant(context or path.context, "acme", user_id, wish, ANNA, idempotency_key=key)
    return done.given


async def end(path: EventPath, named: ByGrant | ByTarget) -> Revoked:
    return (await revoke(path.context, "acme", named, "case closed", ANNA)).revoked


async def subscribe(path: EventPath, plan: str = "pro", price: str = "month", quantity: int = 1) -> str:
    """A user `u_1` whose purchase has arrived."""
    customer = await path.make_customer()
    await path.buy(customer, plan, price, quantity)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    return customer


async def served(path: EventPath, app: str = "editor", user_id: str = "u_1") -> dict[str, Any]:
    """What a fresh reader answers."""
    lookup = Lookup(path.context)
    answer: dict[str, Any] = msgspec.json.decode((await lookup.find("acme", app, user_id)).body)
    await lookup.close()
    return answer


async def audit(path: EventPath) -> list[dict[str, Any]]:
    return await path.rows("SELECT * FROM audit_log WHERE user_key IS NOT NULL ORDER BY id")


# ── effects and targets ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("effect", "kind", "target", "value", "feature", "app", "expected"),
    [
        ("allow", "feature", "sso", None, "sso", "editor", True),
        ("allow", "plan", "team", None, "support", "viewer", "priority"),
        ("allow", "app", "viewer", None, "formats", "viewer", ["pdf", "png", "svg"]),
        ("allow", "project", "acme", None, "sso", "viewer", True),
        ("add", "feature", "seats", 4, "seats", "editor", 6),
        ("add", "plan", "pro", 4, "projects", "editor", 54),
        ("add", "app", "editor", 4, "projects", "editor", 54),
        ("add", "project", "acme", 4, "seats", "editor", 6),
        ("override", "feature", "seats", 1, "seats", "editor", 1),
        ("override", "feature", "export", False, "export", "editor", False),
        ("deny", "feature", "export", None, "export", "viewer", False),
        ("deny", "plan", "pro", None, "seats", "editor", 0),
        ("deny", "app", "viewer", None, "export", "viewer", False),
        ("deny", "project", "acme", None, "formats", "viewer", []),
    ],
)
async def test_each_effect_on_each_target_is_stored_and_cached_before_the_call_ends(
    path: EventPath,
    effect: str,
    kind: str,
    target: str,
    value: Any,
    feature: str,
    app: str,
    expected: Any,
) -> None:
    await subscribe(path, quantity=2)
    before = await path.stored(app=app)
    given = await give(path, effect, kind, target, **({} if value is None else {"value": value}))
    assert (await path.answer(app=app))[feature]["value"] == expected
    stored, cached = await path.stored(app=app), await path.cached(app=app)
    assert before is not None
    assert stored is not None
    assert stored == cached
    assert given.versions[app] == stored.first_version == before.last_version + 1
    assert (await served(path, app))["entitlements"][feature]["value"] == expected


async def test_a_grant_of_one_app_leaves_the_version_of_the_other(path: EventPath) -> None:
    await subscribe(path)
    before = await path.stored(app="viewer")
    given = await give(path, "deny", "app", "editor")
    assert await path.stored(app="viewer") == before
    assert before is not None
    assert given.versions["viewer"] == before.last_version


async def test_an_unknown_user_is_created_and_told_apart_by_its_project(path: EventPath) -> None:
    await give(path, user_id="u_new")
    assert (await path.answer("u_new"))["sso"]["reason"] == "grant"
    rows = await path.rows("SELECT project, user_id FROM users")
    assert rows == [{"project": "acme", "user_id": "u_new"}]


async def test_an_unknown_project_is_refused_with_the_nearest_one(path: EventPath) -> None:
    wish = GrantWish(effect="deny", target_kind="project", target="acne", reason="x")
    with pytest.raises(Unknown, match="did you mean 'acme'"):
        await grant(path.context, "acne", "u_1", wish, ANNA)


async def test_what_is_refused_leaves_nothing_behind(path: EventPath) -> None:
    with pytest.raises(Invalid):
        await give(path, target="ssso", user_id="u_new")
    assert await path.rows("SELECT 1 FROM users UNION ALL SELECT 1 FROM grants") == []
    assert await audit(path) == []


@pytest.mark.parametrize("user_id", ["", "a\0b", "x" * 256])
async def test_what_cannot_be_a_user_is_refused(path: EventPath, user_id: str) -> None:
    with pytest.raises(Invalid) as refused:
        await give(path, user_id=user_id)
    assert [error["field"] for error in refused.value.errors] == ["user_id"]


# ── time ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_grant_that_starts_later_and_ends_is_a_timeline_with_both_boundaries(path: EventPath) -> None:
    now = datetime.now(UTC)
    starts, expires = now + DAY, now + 2 * DAY
    await give(path, starts_at=starts, expires_at=expires)
    stored = await path.stored()
    assert stored is not None
    assert [segment.ends_at for segment in stored.segments] == [starts, expires, None]
    answers = [msgspec.json.decode(bytes(segment.entitlements))["sso"] for segment in stored.segments]
    assert [answer["granted"] for answer in answers] == [False, True, False]
    assert [answer["reason"] for answer in answers] == ["not_started", "grant", "grant_expired"]
    [user] = await path.rows("SELECT next_boundary_at FROM users")
    assert user["next_boundary_at"] == starts


async def test_a_grant_ends_at_its_second_with_nobody_at_work(path: EventPath) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=1.2)
    given = await give(path, expires_at=expires)
    lookup = Lookup(path.context)
    answer = await lookup.find("acme", "editor", "u_1")
    while answer.version == given.versions["editor"]:
        assert msgspec.json.decode(answer.one("sso"))["granted"] is True
        asked_at = datetime.now(UTC)
        answer = await lookup.find("acme", "editor", "u_1")
        await asyncio.sleep(0.01)
    await lookup.close()
    assert asked_at >= expires - timedelta(milliseconds=50)
    assert answer.version == given.versions["editor"] + 1
    assert msgspec.json.decode(answer.one("sso"))["reason"] == "grant_expired"


async def test_of_a_user_on_a_test_clock_the_time_is_the_clocks(path: EventPath) -> None:
    await give(path)
    frozen = datetime(2027, 5, 1, tzinfo=UTC)
    await path.execute("UPDATE users SET clock_at = $1", frozen)
    given = await give(path, target="export", expires_at=frozen + DAY)
    assert (given.created_at, given.starts_at) == (frozen, frozen)
    with pytest.raises(Invalid, match="cannot be"):
        await give(path, target="export", expires_at=frozen - DAY)
    assert [row.state for row in (await list_grants(path.context, "acme")).data] == ["active", "active"]
    await path.execute("UPDATE users SET clock_at = $1", frozen + 2 * DAY)
    assert [row.state for row in (await list_grants(path.context, "acme")).data] == ["expired", "active"]


# ── idempotency ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_call_under_the_same_key_makes_one_grant_and_is_answered_alike(
    path: EventPath,
) -> None:
    first = await give(path, key="k-1")
    await give(path, "deny", target="export")
    assert await give(path, key="k-1") == first
    assert len(await path.rows("SELECT 1 FROM grants WHERE idempotency_key = 'k-1'")) == 1
    assert [row["action"] for row in await audit(path)] == ["grant.create", "grant.create"]


async def test_a_repeat_is_answered_also_when_it_could_no_longer_be_made(path: EventPath) -> None:
    """A retry after the expiry, or after the catalog moved on, is still the retry of what was done."""
    expires = datetime.now(UTC) + timedelta(milliseconds=300)
    first = await give(path, key="k-1", expires_at=expires)
    await until(lambda: datetime.now(UTC) > expires)
    assert await give(path, key="k-1", expires_at=expires) == first


@pytest.mark.parametrize(
    "change",
    [{"reason": "another"}, {"target": "export"}, {"user_id": "u_2"}, {"value": True}, {"effect": "deny"}],
)
async def test_another_call_under_the_same_key_is_refused(path: EventPath, change: dict[str, Any]) -> None:
    await give(path, key="k-1")
    with pytest.raises(Invalid) as refused:
        await give(path, key="k-1", **change)
    assert refused.value.code == "idempotency_key_reused"
    assert len(await path.rows("SELECT 1 FROM grants")) == 1
    assert len(await path.rows("SELECT 1 FROM users")) == 1


async def test_a_key_belongs_to_its_project(path: EventPath) -> None:
    await give(path, key="k-1")
    wish = GrantWish(effect="deny", target_kind="project", target="globex", reason="x")
    assert not (await grant(path.context, "globex", "u_1", wish, ANNA, idempotency_key="k-1")).is_replayed


async def test_twenty_equal_calls_at_once_make_one_grant(path: EventPath) -> None:
    answers = await asyncio.gather(*(give(path, key="k-1") for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await path.rows("SELECT 1 FROM grants")) == 1
    assert len(await audit(path)) == 1


async def test_one_key_for_two_users_at_once_makes_one_grant_and_one_refusal(path: EventPath) -> None:
    """The user locks differ, so only the unique key stands between them."""
    first_may_go_on = asyncio.Event()
    wish = GrantWish(effect="deny", target_kind="feature", target="sso", reason="x")
    holding = msgspec.structs.replace(path.context, now=wait_at(2, first_may_go_on))
    first = asyncio.create_task(grant(holding, "acme", "u_1", wish, ANNA, idempotency_key="k-1"))
    await until_grants_are_locked(path)
    second = asyncio.create_task(grant(path.context, "acme", "u_2", wish, ANNA, idempotency_key="k-1"))
    await until_somebody_waits(path)
    first_may_go_on.set()
    assert (await first).is_replayed is False
    with pytest.raises(Invalid, match="stands for another call"):
        await second
    assert [row["user_id"] for row in await path.rows("SELECT user_id FROM users")] == ["u_1"]


async def test_a_grant_that_an_older_one_keeps_from_counting_names_it_also_when_asked_again(
    path: EventPath,
) -> None:
    older = await give(path, "override", target="seats", value=9)
    assert (older.outranked_by, older.hint) == ((), None)
    first = await give(path, "override", target="seats", value=3, key="k-1")
    assert [(one.id, one.effect, one.features) for one in first.outranked_by] == [
        (older.id, "override", ("seats",))
    ]
    assert older.id in str(first.hint)
    assert first.versions == older.versions
    assert (await path.answer())["seats"]["value"] == 9
    await end(path, ByGrant(older.id))
    assert (await path.answer())["seats"]["value"] == 3
    assert await give(path, "override", target="seats", value=3, key="k-1") == first


# ── at the same time ────────────────────────────────────────────────────────────────────────────────


async def test_grants_of_one_user_at_once_all_count(path: EventPath) -> None:
    await asyncio.gather(*(give(path, "add", target="seats", value=1, reason=f"{n}") for n in range(12)))
    assert (await path.answer())["seats"]["value"] == 1 + 12
    stored, cached = await path.stored(), await path.cached()
    assert stored == cached
    assert stored is not None
    assert stored.last_version == 12
    assert len(await audit(path)) == 12


async def test_a_grant_beside_a_sync_of_the_same_user_loses_neither(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, quantity=5)
    for event in await path.events():
        await path.deliver(event)
    await asyncio.gather(
        path.drain(),
        give(path, "add", target="seats", value=2),
        give(path, "allow", target="sso"),
        give(path, "deny", target="export"),
    )
    await path.drain()
    answer = await path.answer()
    assert answer["seats"]["value"] == 7
    assert (answer["sso"]["granted"], answer["export"]["reason"]) == (True, "denied")
    assert await path.stored() == await path.cached()


async def test_a_grant_waits_for_the_user_lock_and_then_sees_what_was_committed(path: EventPath) -> None:
    """Deterministic: a recompute holds the lock with its facts read; the grant must come after it."""
    await give(path)
    may_go_on = asyncio.Event()
    holding = msgspec.structs.replace(path.context, now=wait_at(2, may_go_on))
    first = asyncio.create_task(give(path, "add", target="seats", value=1, context=holding))
    await until_grants_are_locked(path)
    second = asyncio.create_task(give(path, "add", target="seats", value=2))
    await until_somebody_waits(path)
    may_go_on.set()
    one, two = await asyncio.gather(first, second)
    assert two.versions["editor"] == one.versions["editor"] + 1
    assert (await path.answer())["seats"]["value"] == 1 + 3


async def test_a_grant_waits_for_a_revocation_of_the_same_user(path: EventPath) -> None:
    """Without the lock the revocation would write answers that know nothing of the grant."""
    given = await give(path)
    may_go_on = asyncio.Event()
    holding = msgspec.structs.replace(path.context, now=wait_at(2, may_go_on))
    ending = asyncio.create_task(revoke(holding, "acme", ByGrant(given.id), "x", ANNA))
    await until_grants_are_locked(path)
    granting = asyncio.create_task(give(path, target="export"))
    await until_somebody_waits(path)
    may_go_on.set()
    ended, made = await asyncio.gather(ending, granting)
    assert made.versions["editor"] == ended.revoked.versions["editor"] + 1
    answer = await path.answer()
    assert (answer["sso"]["reason"], answer["export"]["reason"]) == ("revoked", "grant")


# ── revoke ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_revoked_grant_is_gone_from_stored_and_cached_answers_before_the_call_ends(
    path: EventPath,
) -> None:
    given = await give(path)
    revoked = await end(path, ByGrant(given.id))
    assert (revoked.revoked, revoked.already_ended) == ((given.id,), ())
    assert (revoked.still_granted_by, revoked.hint) == ((), None)
    assert (await served(path))["entitlements"]["sso"]["reason"] == "revoked"
    assert revoked.versions["editor"] == given.versions["editor"] + 1
    assert await path.stored() == await path.cached()


async def test_revoking_twice_is_a_result_and_one_audit_row(path: EventPath) -> None:
    given = await give(path)
    first = await end(path, ByGrant(given.id))
    second = await end(path, ByGrant(given.id))
    assert [(ended.id, ended.state) for ended in second.already_ended] == [(given.id, "revoked")]
    assert (second.revoked, second.versions) == ((), first.versions)
    [row] = await path.rows("SELECT revoked_by, revoke_reason FROM grants")
    assert row == {"revoked_by": "console:anna", "revoke_reason": "case closed"}
    assert [entry["action"] for entry in await audit(path)] == ["grant.create", "grant.revoke"]


async def test_revoking_what_has_expired_leaves_it_expired(path: EventPath) -> None:
    expires = datetime.now(UTC) + timedelta(milliseconds=300)
    given = await give(path, expires_at=expires)
    await until(lambda: datetime.now(UTC) > expires)
    revoked = await end(path, ByGrant(given.id))
    assert [(ended.id, ended.state) for ended in revoked.already_ended] == [(given.id, "expired")]
    assert (await path.answer())["sso"]["reason"] == "grant_expired"


async def test_revoking_leaves_what_a_subscription_gives_and_names_it(path: EventPath) -> None:
    await subscribe(path)
    given = await give(path, target="export")
    revoked = await end(path, ByGrant(given.id))
    assert (await path.answer())["export"]["granted"] is True
    found = {(still.app, still.feature): still for still in revoked.still_granted_by}
    assert set(found) == {("editor", "export"), ("viewer", "export")}
    still = found["editor", "export"]
    assert (still.reason, still.value) == ("subscription_active", True)
    assert [(source.kind, source.plan) for source in still.sources] == [("subscription", "pro")]
    assert "effect deny" in str(revoked.hint)


async def test_revoking_names_what_another_grant_and_the_default_still_give(path: EventPath) -> None:
    kept = await give(path, "allow", target="seats", value=4)
    given = await give(path, "add", "app", "editor", value=2)
    still = {entry.feature: entry for entry in (await end(path, ByGrant(given.id))).still_granted_by}
    assert [source.id for source in still["seats"].sources] == [kept.id]
    assert (still["projects"].reason, still["projects"].sources) == ("catalog_default", ())
    assert set(still) == {"seats", "projects"}


async def test_revoking_a_deny_gives_back_and_has_nothing_to_warn_of(path: EventPath) -> None:
    await subscribe(path)
    given = await give(path, "deny", target="export")
    revoked = await end(path, ByGrant(given.id))
    assert (await path.answer())["export"]["granted"] is True
    assert (revoked.still_granted_by, revoked.hint) == ((), None)


async def test_a_target_ends_all_its_grants_or_those_of_one_effect(path: EventPath) -> None:
    first = await give(path)
    second = await give(path, "override", target="sso", value=True)
    later = await give(path, starts_at=datetime.now(UTC) + DAY)
    other = await give(path, target="export")
    named = ByTarget(user_id="u_1", target_kind="feature", target="sso", effect="override")
    assert (await end(path, named)).revoked == (second.id,)
    everything = await end(path, msgspec.structs.replace(named, effect=None))
    assert set(everything.revoked) == {first.id, later.id}
    assert [ended.id for ended in everything.already_ended] == [second.id]
    states = {row.id: row.state for row in (await list_grants(path.context, "acme")).data}
    assert states == {first.id: "revoked", second.id: "revoked", later.id: "revoked", other.id: "active"}
    entry = (await audit(path))[-1]
    assert (entry["subject_kind"], entry["subject_id"]) == ("user", str(entry["user_key"]))


@pytest.mark.parametrize(
    ("named", "code"),
    [
        (ByGrant("gr_none"), "unknown_grant"),
        (ByTarget(user_id="u_1", target_kind="feature", target="export"), "unknown_grant"),
        (ByTarget(user_id="u_1", target_kind="feature", target="sso", effect="deny"), "unknown_grant"),
        (ByTarget(user_id="u_9", target_kind="feature", target="sso"), "unknown_user"),
    ],
)
async def test_what_is_not_there_cannot_be_revoked(
    path: EventPath, named: ByGrant | ByTarget, code: str
) -> None:
    await give(path)
    with pytest.raises(Unknown) as refused:
        await end(path, named)
    assert refused.value.code == code


async def test_a_grant_of_another_project_is_not_there(path: EventPath) -> None:
    given = await give(path)
    with pytest.raises(Unknown):
        await revoke(path.context, "globex", ByGrant(given.id), "x", ANNA)
    assert (await list_grants(path.context, "globex")).data == []
    assert (await path.answer())["sso"]["granted"] is True


async def test_a_revocation_says_why(path: EventPath) -> None:
    given = await give(path)
    with pytest.raises(Invalid) as refused:
        await revoke(path.context, "acme", ByGrant(given.id), " ", ANNA)
    assert [error["field"] for error in refused.value.errors] == ["reason"]


async def test_two_who_revoke_at_once_end_it_once(path: EventPath) -> None:
    given = await give(path)
    answers = await asyncio.gather(*(end(path, ByGrant(given.id)) for _ in range(8)))
    assert sorted(len(answer.revoked) for answer in answers) == [0] * 7 + [1]
    assert len({str(answer.versions) for answer in answers}) == 1
    assert len(await audit(path)) == 2


# ── one transaction, and what it leaves ─────────────────────────────────────────────────────────────


async def test_the_audit_row_says_who_did_what_to_whom_and_names_no_user(path: EventPath) -> None:
    given = await give(path, user_id="anna@customer.example", value=True)
    [entry] = await audit(path)
    [user] = await path.rows("SELECT user_key FROM users")
    assert (entry["actor"], entry["action"], entry["project"]) == ("console:anna", "grant.create", "acme")
    assert (entry["subject_kind"], entry["subject_id"]) == ("grant", given.id)
    assert (entry["user_key"], entry["reason"], entry["request_id"]) == (user["user_key"], "case 12", "req_1")
    details = msgspec.json.decode(entry["details"])
    assert (details["effect"], details["target"], details["value"]) == ("allow", {"feature": "sso"}, True)
    assert details["versions"] == given.versions
    assert "anna@customer.example" not in str(entry)


async def test_a_call_that_dies_in_between_leaves_neither_grant_nor_audit_row(path: EventPath) -> None:
    for death in (dying(Broken("killed here")), killing(path)):
        context = msgspec.structs.replace(path.context, now=death)
        with pytest.raises(TollhouseError):
            await give(path, user_id="u_new", context=context)
        assert await path.rows("SELECT 1 FROM grants UNION ALL SELECT 1 FROM users") == []
        assert await audit(path) == []
        assert await path.cached("u_new") is None


async def test_a_revocation_that_dies_in_between_leaves_the_grant_alive(path: EventPath) -> None:
    given = await give(path)
    context = msgspec.structs.replace(path.context, now=killing(path))
    with pytest.raises(Unavailable):
        await revoke(context, "acme", ByGrant(given.id), "x", ANNA)
    [row] = await path.rows("SELECT revoked_at FROM grants")
    assert row["revoked_at"] is None
    assert len(await audit(path)) == 1
    assert await path.stored() == await path.cached()


async def test_a_repeat_publishes_what_a_dead_call_left_unpublished(path: EventPath) -> None:
    unpublished = msgspec.structs.replace(path.context, cache=None)
    await give(path, key="k-1")
    await give(path, "deny", target="sso", key="k-2", context=unpublished)
    assert await path.cached() != await path.stored()
    await give(path, "deny", target="sso", key="k-2")
    assert await path.cached() == await path.stored()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DELETE FROM grants",
        "TRUNCATE grants",
    ],
)
async def test_postgres_itself_keeps_every_grant_and_audit_row(path: EventPath, statement: str) -> None:
    await give(path)
    with pytest.raises(Broken):
        await path.execute(statement)
    connection = await asyncpg.connect(path.context.settings.database_url.reveal())
    with pytest.raises(asyncpg.RestrictViolationError, match="only added"):
        await connection.execute(statement)
    await connection.close()
    assert (len(await audit(path)), len(await path.rows("SELECT 1 FROM grants"))) == (1, 1)


async def test_history_keeps_the_grants_that_an_answer_came_from(path: EventPath) -> None:
    given = await give(path, "override", target="seats", value=9)
    [row] = await path.rows("SELECT cause, facts FROM entitlement_history WHERE app = 'editor'")
    assert row["cause"] == "grant"
    [fact] = msgspec.json.decode(row["facts"])["grants"]
    assert (fact["grant_id"], fact["value"]) == (given.id, 9)
    assert "reason" not in fact


async def test_every_value_comes_back_from_postgres_as_it_went(path: EventPath) -> None:
    for target, value in [("seats", 7), ("seats", None), ("support", "email"), ("formats", ["a", "b"])]:
        await give(path, target=target, value=value)
    await give(path, "override", target="sso", value=False)
    [user] = await path.rows("SELECT user_key FROM users")
    async with path.context.database.connection() as connection:
        loaded = await grants.load_grants(connection, "acme", user["user_key"])
    assert [made.value for made in loaded] == [7, None, "email", ["a", "b"], False]


async def test_a_recompute_for_the_boundary_of_a_grant_changes_nothing_that_was_answered(
    path: EventPath,
) -> None:
    starts = datetime.now(UTC) + timedelta(milliseconds=200)
    given = await give(path, starts_at=starts)
    await until(lambda: datetime.now(UTC) > starts)
    assert (await served(path))["version"] == given.versions["editor"] + 1
    assert await recompute_due(path.context) == 1
    assert (await served(path))["version"] == given.versions["editor"] + 1


# ── the list ────────────────────────────────────────────────────────────────────────────────────────


async def test_grants_are_listed_newest_first_page_by_page_and_by_state_and_user(path: EventPath) -> None:
    made = [await give(path, reason=f"{number}", user_id=f"u_{number % 2}") for number in range(5)]
    later = await give(path, starts_at=datetime.now(UTC) + DAY)
    await end(path, ByGrant(made[0].id))
    newest_first = [later.id, *(given.id for given in reversed(made))]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await list_grants(path.context, "acme", cursor=cursor, limit=2)
        seen += [listed.id for listed in page.data]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == newest_first
    for state, ids in (("scheduled", [later.id]), ("revoked", [made[0].id]), ("expired", [])):
        page = await list_grants(path.context, "acme", state=state)  # type: ignore[arg-type]
        assert [listed.id for listed in page.data] == ids
    of_one = await list_grants(path.context, "acme", user_id="u_0", state="active")
    assert [listed.id for listed in of_one.data] == [made[4].id, made[2].id]
    assert (await list_grants(path.context, "acme", user_id="nobody")).data == []


@pytest.mark.parametrize(
    "cursor", ["", "x", "1", "1.", ".gr_1", "-1.gr_1", "9" * 40 + ".gr_1", "\u0661.gr_1"]
)
async def test_a_cursor_of_ones_own_is_refused(path: EventPath, cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        await list_grants(path.context, "acme", cursor=cursor)
    assert [error["field"] for error in refused.value.errors] == ["cursor"]


# ── a transaction held at a moment ──────────────────────────────────────────────────────────────────


Now = Callable[[Connection], Awaitable[datetime]]


def wait_at(number: int, may_go_on: asyncio.Event) -> Now:
    """A clock that holds its `number`th reading: the second is the recompute's, with the grant written."""
    asked = 0

    async def now(connection: Connection) -> datetime:
        nonlocal asked
        asked += 1
        if asked == number:
            await may_go_on.wait()
        return await database_now(connection)

    return now


def dying(error: Exception) -> Now:
    """A clock whose second reading, the recompute's, fails."""
    asked = 0

    async def now(connection: Connection) -> datetime:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise error
        return await database_now(connection)

    return now


def killing(path: EventPath) -> Now:
    """A clock at whose second reading the transaction's own connection is cut, as a killed process's is."""
    asked = 0

    async def now(connection: Connection) -> datetime:
        nonlocal asked
        asked += 1
        if asked == 2:
            own = await connection.fetchval("SELECT pg_backend_pid()")
            await path.rows("SELECT pg_terminate_backend($1)", own)
        return await database_now(connection)

    return now


async def until_grants_are_locked(path: EventPath) -> None:
    """A transaction has written a grant and not ended."""
    await until_count(
        path,
        """
        SELECT count(*) AS n FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE c.relname = 'grants' AND l.mode = 'RowExclusiveLock' AND l.granted
        """,
    )


async def until_somebody_waits(path: EventPath) -> None:
    """A statement waits for another transaction."""
    await until_count(path, "SELECT count(*) AS n FROM pg_locks WHERE NOT granted")


async def until_count(path: EventPath, sql: str) -> None:
    async with asyncio.timeout(10):
        while not (await path.rows(sql))[0]["n"]:  # noqa: ASYNC110 - only Postgres knows
            await asyncio.sleep(0.01)
