"""Doctor: each part really broken, and what it then says of that part and of the others."""

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import redis

from deploy.local.valkey import running_valkey
from domain.context import Context, open_context
from domain.flows.apply_catalog import apply_catalog
from domain.flows.diagnose import Diagnosis, diagnose
from domain.flows.diagnose.here import examine_catalog_at_stripe
from domain.flows.publish_catalog import read_catalog
from domain.settings import Secret, Settings, WebhookSecret
from domain.stripe_gateway import API_VERSION
from tests.conftest import with_settings
from tests.flows.event_path import CATALOG, EventPath, path_settings
from workers.bell import look_at_queue

PEPPER = "000102030405060708090a0b0c0d0e0f" * 2
OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
SECRET = "whsec_0123456789abcdef0123456789abcdef"


@pytest.fixture
def own(settings: Settings, path: EventPath) -> Settings:
    """Everything set as it should be."""
    return path_settings(
        settings,
        path.stripe,
        key_peppers=((1, Secret(PEPPER)),),
        stripe_webhook_secrets=(WebhookSecret(Secret(SECRET)),),
    )


@pytest.fixture
async def endpoint(path: EventPath) -> str:
    made = await path.create(
        "/v1/webhook_endpoints",
        {
            "url": "https://billing.acme.example/api/v1/webhooks/stripe",
            "enabled_events": ["*"],
            "api_version": API_VERSION,
        },
    )
    return str(made["id"])


async def look(settings: Settings, *, limit_s: float = 5.0) -> Diagnosis:
    queue = look_at_queue(settings) if settings.redis_url else None
    process = "stripe-cli" if settings.stripe_secret_key else "cli"
    async with open_context(process, settings) as context:  # type: ignore[arg-type] # one of two literals
        return await diagnose(context, queue=queue, limit_s=limit_s)


def outcomes(seen: Diagnosis) -> dict[str, str]:
    """Of what is not ok."""
    return {check.name: check.outcome for check in seen.checks if check.outcome != "ok"}


def line(seen: Diagnosis, name: str) -> tuple[str, str, str]:
    check = next(check for check in seen.checks if check.name == name)
    return check.outcome, check.finding, check.next or ""


#: This test machine's own: a superuser, no append-only file, no scheduler.
USUAL = dict.fromkeys(("postgres_role", "queue_persistence", "scheduler", "jobs"), "warning")


async def test_a_deployment_that_is_whole_has_no_failed_check(
    path: EventPath, own: Settings, endpoint: str
) -> None:
    given = read_catalog(CATALOG.read_text(), file="catalog.toml")
    await apply_catalog(path.context, given, confirmed=None, on_progress=lambda _done, _total: None)
    seen = await look(own)
    assert outcomes(seen) == USUAL, seen
    assert seen.outcome == "warning"
    assert seen.first.startswith("Nothing has failed; first (postgres_role): let processes log in")
    names = [check.name for check in seen.checks]
    assert len(set(names)) == len(names)
    explained = OPERATIONS.read_text()
    assert [name for name in names if f"`{name}`" not in explained] == []
    assert "endpoint leads here" in line(seen, "stripe_endpoint")[1]
    assert "may read all" in line(seen, "stripe_key_rights")[1]
    assert line(seen, "catalog")[1].startswith("acme version ")
    # A long catalog takes longer than a check may: nothing has failed.
    (late,) = await examine_catalog_at_stripe(path.context, seen.checks, 0)
    assert (late.outcome, late.next) == ("warning", "tollhouse catalog verify, which waits")


async def test_what_is_wrong_at_stripe_is_named_with_its_remedy(
    path: EventPath, own: Settings, endpoint: str
) -> None:
    stripe = path.stripe
    await stripe.fail("/v1/subscription_schedules", status=403, times=None)
    await stripe.fail("/v1/events", status=403, times=None)
    await stripe.post("clock", offset_s=400)
    await path.create(f"/v1/webhook_endpoints/{endpoint}", {"enabled_events": ["invoice.paid"]})
    await path.execute("UPDATE prices SET is_head = false WHERE plan = 'pro' AND price = 'year'")
    seen = await look(own)
    outcome, finding, remedy = line(seen, "stripe_key_rights")
    assert (outcome, "Subscription schedules (GET /v1/subscription_schedules)" in finding) == ("failed", True)
    assert remedy.endswith("Read for Subscription schedules, Events")
    assert line(seen, "clock_stripe")[0] == "failed"
    assert "400" in line(seen, "clock_stripe")[1] or "399" in line(seen, "clock_stripe")[1]
    assert line(seen, "stripe_endpoint")[0] == "warning"
    assert "types are not sent" in line(seen, "stripe_endpoint")[1]
    assert "not for sale yet: acme.pro.year" in line(seen, "catalog")[1]
    assert line(seen, "catalog_at_stripe")[0] == "skipped", "a key that may not read is another's problem"
    assert seen.first.startswith("First (stripe_key_rights)")

    await stripe.clear_faults()
    await stripe.post("clock", offset_s=0)
    await path.create(f"/v1/webhook_endpoints/{endpoint}", {"disabled": True})
    await stripe.fail("/v1/promotion_codes", status=403, times=None)
    seen = await look(own)
    assert line(seen, "stripe_endpoint")[0] == "failed"
    assert line(seen, "stripe_key_rights")[0] == "warning"
    assert "not for api" in line(seen, "stripe_key_rights")[1]
    assert line(seen, "catalog_at_stripe")[0] == "warning"
    assert "catalog verify" in line(seen, "catalog_at_stripe")[2]


async def test_a_key_that_is_another_accounts_or_nobodys_fails_before_it_is_used(
    path: EventPath, own: Settings
) -> None:
    await path.stripe.add_account("sk_test_other", "acct_other")
    seen = await look(with_settings(own, stripe_secret_key=Secret("sk_test_other")))
    outcome, finding, _ = line(seen, "stripe_account")
    assert outcome == "failed"
    assert "account acct_other, test mode" in finding
    assert f"belongs to account {path.stripe.account_id}" in finding
    assert outcomes(seen)["catalog_at_stripe"] == "skipped"

    seen = await look(with_settings(own, stripe_secret_key=Secret("sk_test_nobody")))
    assert line(seen, "stripe_account")[0] == "failed"
    assert "copy the key anew" in line(seen, "stripe_account")[2]
    assert outcomes(seen)["stripe_key_rights"] == "skipped"

    await path.stripe.fail("/v1/account", status=403, times=1)
    assert "read its own account" in line(await look(own), "stripe_account")[2]


async def test_every_part_away_fails_its_own_line_and_the_rest_is_answered(own: Settings) -> None:
    gone = "redis://127.0.0.1:1"
    seen = await look(with_settings(own, redis_url=Secret(f"{gone}/0"), cache_url=Secret(f"{gone}/1")))
    found = outcomes(seen)
    assert {name for name in found if found[name] == "failed"} == {"queue", "cache", "stripe_endpoint"}
    skipped = {name for name in found if found[name] == "skipped"}
    assert skipped == {"queue_policy", "queue_persistence", "redis_apart"}
    seen = await look(with_settings(own, database_url=Secret("postgresql://nobody@127.0.0.1:1/x")))
    assert line(seen, "postgres")[0] == "failed"
    assert line(seen, "stripe_account")[0] == "ok"
    assert line(seen, "queue")[0] == "ok"
    assert seen.first == (
        "First (postgres): start Postgres, or correct host and port in TOLLHOUSE_DATABASE_URL."
    )
    seen = await look(with_settings(own, stripe_api_base="http://127.0.0.1:1"))
    assert line(seen, "stripe_account")[0] == "failed"
    assert line(seen, "catalog")[0] == "ok"


async def test_a_server_that_never_answers_costs_its_checks_their_limit_and_no_more(own: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        stuck = with_settings(
            own,
            database_url=Secret(f"postgresql://nobody@127.0.0.1:{port}/x"),
            stripe_api_base=f"http://127.0.0.1:{port}",
        )
        seen = await look(stuck, limit_s=0.3)
    assert line(seen, "postgres")[:2] == ("failed", "no answer within 0.3 s")
    assert line(seen, "stripe_account")[:2] == ("failed", "no answer within 0.3 s")
    assert line(seen, "queue")[0] == "ok"


async def test_a_database_without_a_schema_and_a_role_without_rights_say_which_command_helps(
    own: Settings, context: Context
) -> None:
    url = own.database_url.reveal()
    admin = await asyncpg.connect(url)
    name = f"{url.rpartition('/')[2]}_runtime"
    try:
        await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'runtime' CONNECTION LIMIT 9")
        runtime = url.partition("://")[0] + f"://{name}:runtime@" + url.rpartition("@")[2]
        less = with_settings(own, database_url=Secret(runtime))
        seen = await look(less)
        assert line(seen, "postgres_role")[0] == "failed"
        assert "SELECT on alembic_version" in line(seen, "postgres_role")[1]
        assert f"TO {name}" in line(seen, "postgres_role")[2]
        assert line(seen, "postgres_connections")[0] == "warning"
        assert line(seen, "postgres_connections")[1].startswith("9 to be had")

        await admin.execute(
            f"""
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name};
            REVOKE UPDATE, DELETE ON audit_log FROM {name}; REVOKE DELETE ON grants FROM {name};
            REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {name}
            """
        )
        assert line(await look(less), "postgres_role")[0] == "ok"
        await admin.execute(f"REVOKE INSERT ON webhook_events FROM {name}")
        assert line(await look(less), "postgres_role")[1] == f"{name} lacks INSERT on webhook_events"
        await admin.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        assert "GRANT USAGE ON SCHEMA public" in line(await look(less), "postgres_role")[2]

        await admin.execute("UPDATE alembic_version SET version_num = '0001'")
        seen = await look(own)
        assert (line(seen, "schema")[0], line(seen, "schema")[2]) == ("failed", "run tollhouse migrate")
        assert outcomes(seen)["catalog"] == "skipped"
        empty = with_settings(own, database_url=Secret(url.rpartition("/")[0] + "/postgres"))
        assert line(await look(empty), "schema")[1].startswith("at nothing, this build needs")
    finally:
        await admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
        await admin.close()


@pytest.fixture
async def second_valkey(tmp_path: Path) -> AsyncIterator[str]:
    """One that evicts, in whose one database both would be."""
    with running_valkey(tmp_path / "second", persist=True) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        yield server.url


async def test_a_queue_that_evicts_and_shares_its_database_with_the_cache_is_refused(
    own: Settings, second_valkey: str
) -> None:
    wrong = with_settings(own, redis_url=Secret(second_valkey), cache_url=Secret(second_valkey))
    seen = await look(wrong)
    assert line(seen, "queue_policy")[0] == "failed"
    assert "allkeys-lru" in line(seen, "queue_policy")[1]
    assert line(seen, "redis_apart")[0] == "warning"
    assert line(seen, "queue_persistence")[0] == "ok"
    apart = await look(with_settings(own, redis_url=Secret(second_valkey)))
    assert line(apart, "redis_apart")[1] == "queue and cache are two servers"


async def test_secrets_peppers_and_clocks_of_this_process_are_judged(own: Settings, context: Context) -> None:
    await context_execute(
        context,
        """
        INSERT INTO api_keys (key_id, kind, name, scopes, secret_hmac, pepper_version, created_by)
        VALUES ('k1', 'operator', 'a', '{admin:read}', decode(repeat('00', 32), 'hex'), 7, 'cli:anna')
        """,
    )
    ended = WebhookSecret(Secret(SECRET), datetime.now(UTC) - timedelta(days=1))
    seen = await look(with_settings(own, stripe_webhook_secrets=(ended,)))
    assert line(seen, "webhook_secret")[0] == "failed"
    assert line(seen, "key_pepper")[:2] == (
        "failed",
        "1 keys of version 7 cannot be verified: their pepper is not set here",
    )
    typed = with_settings(own, key_peppers=((1, Secret("ab" * 32)),), stripe_webhook_secrets=())
    seen = await look(typed)
    assert "is a pattern" in line(seen, "key_pepper")[1]
    assert line(seen, "webhook_secret")[0] == "skipped"

    async def late(_: object) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=90)

    skewed = Context(settings=own, database=context.database, cache=context.cache, stripe=None, now=late)
    seen = await diagnose(skewed, queue=None)
    assert line(seen, "clock_database")[0] == "failed"
    assert line(seen, "clock_database")[1].startswith("the database's clock is 90.0 s behind")
    assert {check.name for check in seen.checks if check.outcome == "skipped"} >= {"queue", "stripe_account"}


async def context_execute(context: Context, sql: str) -> None:
    async with context.database.connection() as connection:
        await connection.execute(sql)


async def test_a_doctor_changes_nothing(path: EventPath, own: Settings) -> None:
    await path.execute("DELETE FROM deployment")
    before = await path.stripe.stats()
    seen = await look(own)
    after = await path.stripe.stats()
    assert await path.rows("SELECT * FROM deployment") == []
    assert outcomes(seen)["catalog_at_stripe"] == "skipped"
    new = {call for call in after["calls"] if after["calls"][call] != before["calls"].get(call)}
    assert new
    assert {call.partition(" ")[0] for call in new} == {"GET"}
