"""The schema: migrations make what tables.py says, any number of them at once, and it refuses nonsense."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from domain.context import open_context
from domain.errors import Unavailable
from domain.flows.check_ready import ReadyCheck
from domain.flows.lookup import Lookup
from domain.flows.migrate import migrate
from domain.settings import Process, Secret, Settings
from domain.store import schema
from domain.store.tables import metadata

_numbers = itertools.count()

#: Everything about a schema that a statement could notice, as sorted lines of text.
SHAPE = """
    SELECT format('column %s.%s %s null=%s default=%s identity=%s comment=%s', c.relname, a.attname,
                  format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
                  a.attidentity, col_description(c.oid, a.attnum))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
    UNION ALL
    SELECT format('table %s comment=%s', c.relname, obj_description(c.oid))
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
    UNION ALL
    SELECT format('constraint %s %s %s', r.conrelid::regclass, r.conname, pg_get_constraintdef(r.oid))
    FROM pg_constraint r
    WHERE r.connamespace = 'public'::regnamespace AND r.conrelid <> 'alembic_version'::regclass
    UNION ALL
    SELECT format('index %s', indexdef) FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    UNION ALL
    SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
    ORDER BY 1
"""

#: An event that is processed, whole and right; each wrong one below differs in one thing.
EVENT = {
    "event_id": "evt_1",
    "source": "stripe",
    "type": "customer.updated",
    "object_kind": "customer",
    "object_id": "cus_1",
    "target_kind": "customer",
    "target_ref": "cus_1",
    "state": "pending",
}
TARGET = {"kind": "customer", "stripe_id": "cus_1"}
KEY = {
    "key_id": "k1",
    "kind": "operator",
    "name": "operator",
    "scopes": ["admin:read"],
    "secret_hmac": b"x" * 32,
    "pepper_version": 1,
}


@pytest.fixture
async def empty_url(postgres_url: str) -> AsyncIterator[str]:
    """A database nobody has migrated."""
    name = f"empty_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f'CREATE DATABASE "{name}" STRATEGY FILE_COPY')
    yield f"{postgres_url.rpartition('/')[0]}/{name}"
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


async def test_migrations_make_exactly_what_the_tables_say(database_url: str, empty_url: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(empty_url), poolclass=NullPool
    )
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        # The comparison leaves alembic's own table out by name, so it must be there to be named.
        await connection.exec_driver_sql("CREATE TABLE alembic_version (version_num text)")
    await engine.dispose()
    migrated, described = await _shape(database_url), await _shape(empty_url)
    assert len(migrated) > 200
    assert sorted(set(migrated) ^ set(described)) == []


async def test_the_comparison_of_schemas_sees_a_changed_check(database_url: str) -> None:
    before = await _shape(database_url)
    await _execute(database_url, "ALTER TABLE deployment DROP CONSTRAINT deployment_mode_known_check")
    await _execute(database_url, "ALTER TABLE users ALTER catalog_version SET DEFAULT 1")
    assert len(set(before) ^ set(await _shape(database_url))) == 3


async def test_ten_migrations_at_once_are_harmless(empty_url: str) -> None:
    done = await asyncio.gather(*(schema.upgrade(empty_url) for _ in range(10)))
    assert {after for _, after in done} == {schema.required_revision()}
    assert sorted(before is None for before, _ in done) == [False] * 9 + [True]


async def test_migrating_again_changes_nothing(database_url: str, settings: Settings) -> None:
    before = await _shape(database_url)
    migrated = await migrate(settings)
    assert migrated.before == migrated.after == schema.required_revision()
    assert await _shape(database_url) == before


@pytest.mark.parametrize("process", ["webhook", "read", "api"])
async def test_below_the_needed_revision_no_door_is_ready_and_the_command_is_named(
    process: Process, settings: Settings, empty_url: str
) -> None:
    status, database = await _readiness(
        process, msgspec.structs.replace(settings, database_url=Secret(empty_url))
    )
    assert status == "not_ready"
    assert "tollhouse migrate" in database


@pytest.mark.parametrize("process", ["webhook", "read", "api"])
async def test_a_schema_of_a_newer_release_is_enough(
    process: Process, settings: Settings, database_url: str
) -> None:
    await _execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    assert await _readiness(process, settings) == ("ready", "ok")


async def test_a_statement_without_a_schema_names_the_command(settings: Settings, empty_url: str) -> None:
    below = msgspec.structs.replace(settings, database_url=Secret(empty_url))
    async with open_context("cli", below) as context:
        with pytest.raises(Unavailable, match="tollhouse migrate") as raised:
            async with context.database.connection() as connection:
                await connection.fetchval("SELECT count(*) FROM webhook_events")
    assert raised.value.code == "schema_behind"


async def test_an_older_release_does_not_migrate_a_newer_schema_back(
    settings: Settings, database_url: str
) -> None:
    await _execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    migrated = await migrate(settings)
    assert migrated.before == migrated.after == "9999"


@pytest.mark.parametrize(
    ("table", "right", "wrong", "constraint"),
    [
        (
            "webhook_events",
            EVENT,
            {"state": "lost", "reason": "?", "done_at": "now"},
            "webhook_events_state_known_check",
        ),
        ("webhook_events", EVENT, {"source": "rumour"}, "webhook_events_source_known_check"),
        (
            "webhook_events",
            EVENT,
            {"target_kind": None, "target_ref": None},
            "webhook_events_work_has_target_check",
        ),
        ("webhook_events", EVENT, {"target_kind": None}, "webhook_events_target_whole_check"),
        ("webhook_events", EVENT, {"object_id": None}, "webhook_events_object_whole_check"),
        ("webhook_events", EVENT, {"state": "processed"}, "webhook_events_done_or_pending_check"),
        ("webhook_events", EVENT, {"done_at": "now"}, "webhook_events_done_or_pending_check"),
        (
            "webhook_events",
            EVENT,
            {"state": "foreign", "done_at": "now"},
            "webhook_events_reason_said_check",
        ),
        (
            "webhook_events",
            EVENT,
            {"state": "ignored", "reason": "unused_type", "done_at": "now"},
            "webhook_events_ignored_has_no_target_check",
        ),
        ("sync_targets", TARGET, {"synced_seq": 1}, "sync_targets_settled_at_most_dirty_check"),
        ("sync_targets", TARGET, {"lease_token": "t"}, "sync_targets_lease_whole_check"),
        ("sync_targets", TARGET, {"owner": "yours"}, "sync_targets_owner_known_check"),
        ("sync_targets", TARGET, {"state": "asleep"}, "sync_targets_state_known_check"),
        ("api_keys", KEY, {"kind": "app"}, "api_keys_kind_names_check"),
        ("api_keys", KEY, {"secret_hmac": b"short"}, "api_keys_secret_hmac_length_check"),
        ("stripe_budget", {"id": True}, {"id": False}, "stripe_budget_one_row_check"),
    ],
)
async def test_a_wrong_state_is_refused_by_its_constraint(
    database_url: str, table: str, right: dict[str, object], wrong: dict[str, object], constraint: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"DELETE FROM {table}")
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await _insert(connection, table, {**right, **wrong})
    assert raised.value.constraint_name == constraint
    # The same row without the mistake is taken: it is this mistake that was refused.
    await _insert(connection, table, right)
    await connection.close()


async def test_a_user_has_at_most_one_primary_customer(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO projects (project, name, catalog_version) VALUES ('acme', 'Acme', 1)"
    )
    await connection.execute("INSERT INTO users (project, user_id) VALUES ('acme', 'u_1')")
    add = """
        INSERT INTO stripe_customers (ref, project, user_key, is_primary)
        SELECT gen_random_uuid(), project, user_key, $1 FROM users
    """
    await connection.execute(add, True)
    await connection.execute(add, False)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(add, True)
    await connection.close()


async def _readiness(process: Process, settings: Settings) -> tuple[str, str]:
    async with open_context(process, settings) as context:
        lookup = Lookup(context)
        readiness = await ReadyCheck(context, process, lookup).check()
        await lookup.close()
    return readiness.status, readiness.checks["database"]


async def _insert(connection: asyncpg.Connection, table: str, row: dict[str, object]) -> None:
    values = {name: value for name, value in row.items() if value != "now"}
    columns = [*values, *(name for name, value in row.items() if value == "now")]
    places = [*(f"${number}" for number in range(1, len(values) + 1)), *("now()",) * (len(row) - len(values))]
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(places)})", *values.values()
    )


async def _shape(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    lines = [record[0] for record in await connection.fetch(SHAPE)]
    await connection.close()
    return lines


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
