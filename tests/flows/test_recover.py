"""F-21: an older database, an empty Redis: nobody is told a lower version, and what is lost is named."""

from datetime import UTC, datetime

import asyncpg
import pytest
import redis

from domain.context import open_context
from domain.flows.grant import GrantWish, grant
from domain.flows.manage_keys import create_key
from domain.flows.record_action import Operator
from domain.flows.recover import RAISE_BY, Lost, recover
from domain.settings import Secret, Settings
from tests.conftest import with_settings
from tests.flows.event_path import EventPath, path_settings, running_path

OPERATOR = Operator(actor="cli:tester")


class _Killed(Exception):
    pass


def _kill(_done: int, _total: int) -> None:
    raise _Killed


async def _copy(path: EventPath, postgres_url: str, name: str) -> str:
    """A copy of the path's database as it is now, as a backup would be; answers its URL."""
    url = path.context.settings.database_url.reveal()
    await path.context.database.close()
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{url.rpartition("/")[2]}"')
    await admin.close()
    return f"{url.rpartition('/')[0]}/{name}"


async def _deliver_all(path: EventPath) -> None:
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def _subscribe(path: EventPath, user_id: str) -> str:
    customer = await path.make_customer(user_id)
    await path.drain()
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, 'pro', 'month')}")
    await _deliver_all(path)
    return str(session["subscription"])


async def _key_of(path: EventPath, user_id: str) -> int:
    (row,) = await path.rows("SELECT user_key FROM users WHERE user_id = $1", user_id)
    return int(row["user_key"])


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _confirm_lost(lost: list[Lost], grant_id: str, key_id: str, of_kept: int, of_ended: int) -> None:
    assert [(one.kind, one.id) for one in lost[:2]] == [("grant", grant_id), ("key", key_id)]
    moves = {one.kind: (one.id, one.next.partition(": ")[2]) for one in lost[2:]}
    end = "--project acme --reason …"
    assert moves["erasure"] == (str(of_kept), f"tollhouse users erase u_kept {end}")
    assert moves["merge"] == (str(of_ended), f"tollhouse users merge u_ended u_kept {end}")
    assert moves["rename"][0] == "999"


@pytest.mark.usefixtures("redis_url")
async def test_after_a_restore_users_have_what_stripe_says_under_versions_nobody_was_told(
    settings: Settings, postgres_url: str
) -> None:
    async with running_path(settings, reconcile_settle_s=0.001) as path:
        kept = await _subscribe(path, "u_kept")
        ended = await _subscribe(path, "u_ended")
        backup = await _copy(path, postgres_url, "restored_" + settings.database_url.reveal()[-8:].strip("/"))
        # What follows is lost with the database, and known to Stripe, or to nobody.
        await path.create(f"/v1/subscriptions/{kept}", {"cancel_at_period_end": True})
        await path.context.stripe_or_raise.delete(f"/v1/subscriptions/{ended}")
        lost_customer = await path.make_customer("u_new")
        await path.create(
            f"/v1/customers/{lost_customer}",
            {"metadata": {"tollhouse_project": "acme", "tollhouse_user": "u_new"}},
        )
        await path.buy(lost_customer, "pro", "month", quantity=2)
        await _deliver_all(path)
        wish = GrantWish(effect="allow", target_kind="feature", target="sso", reason="promised")
        given = (await grant(path.context, "acme", "u_kept", wish, OPERATOR)).given
        key = await create_key(path.context, kind="operator", name="lost")
        told = {user: await path.stored(user) for user in ("u_kept", "u_ended", "u_new")}
        expected = {user: await path.answer(user) for user in told}
        with redis.Redis.from_url(settings.cache_url.reveal()) as cache:
            cache.flushdb()
        own = with_settings(
            path_settings(settings, path.stripe, reconcile_settle_s=0.001), database_url=Secret(backup)
        )
        async with open_context("stripe-cli", own) as context:
            of_kept, of_ended = await _key_of(path, "u_kept"), await _key_of(path, "u_ended")
            logs: list[dict[str, object]] = [
                {"event": "user_erased", "user_key": of_kept, "timestamp": _now()},
                {"event": "users_merged", "user_key": of_ended, "into": of_kept, "timestamp": _now()},
                {"event": "user_renamed", "user_key": 999, "timestamp": _now()},
                {"event": "grant_created", "grant_id": given.id, "timestamp": "2026-11-22T13:00:00Z"},
                {"event": "key_created", "key_id": key.key_id, "timestamp": "2026-11-22T13:01:00Z"},
                {"event": "request", "key_id": key.key_id},
            ]
            restored = EventPath(context, path.stripe)
            # One that is killed has left rows of its own, which are no rows of the backup.
            with pytest.raises(_Killed):
                await recover(context, OPERATOR, show=_kill)
            done = await recover(context, OPERATOR, logs=logs)
            (began,) = await restored.rows(
                "SELECT min(at) AS at FROM audit_log WHERE action = 'deployment.recover'"
            )
            assert done.lost_since is not None
            assert done.lost_since < began["at"]
            assert done.owed == 0
            assert done.adopted == [lost_customer]
            assert {one.type for one in done.reconciliation.drifts} >= {"event_missing", "orphan_customer"}
            _confirm_lost(done.lost, given.id, key.key_id, of_kept, of_ended)
            for user, before in told.items():
                after = await restored.stored(user)
                assert before is not None
                assert after is not None
                assert user == "u_new" or after.first_version > before.last_version + RAISE_BY // 2
                answer = await restored.answer(user)
                # The grant is lost, and was named; everything that Stripe knows is as it was.
                assert {**answer, "sso": None} == {**expected[user], "sso": None}, user
                cached = await restored.cached(user)
                assert cached is not None
                assert cached.first_version == after.first_version
            changes = await restored.rows("SELECT cause FROM entitlement_changes WHERE cause = 'restore'")
            assert len(changes) == 2 * 4, "of each that began"
            # Once more is harmless, and lower versions come never.
            again = await recover(context, OPERATOR)
            assert (again.owed, again.adopted, again.lost) == (0, [], [])
            assert again.lost_since is not None
            assert again.lost_since > began["at"], "the one before has come to its end"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f'DROP DATABASE "{backup.rpartition("/")[2]}" WITH (FORCE)')
    await admin.close()
