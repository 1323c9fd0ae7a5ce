"""A-25: whatever an operator does is one row of the audit log, in the transaction that does it, for ever."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from domain.errors import Broken
from domain.flows.manage_keys import create_key
from domain.flows.publish_catalog import publish_locally, publish_sold
from domain.flows.record_action import Operator
from domain.flows.replay import requeue
from domain.settings import Settings
from ingress.api import OPERATIONS, app
from ingress.cli.main import tollhouse
from ingress.lifespan import Running, open_running
from tests.attacks.asking import Said, ask
from tests.seeds import make_catalog, seed_catalog, seed_dead, seed_user

FLOWS = Path(__file__).resolve().parents[2] / "domain" / "flows"

#: Each operator's verb: path parameters, body, and the action it leaves. `{…}` is of an earlier answer.
VERBS: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "create_grant": (
        {},
        {"user_id": "u_9", "effect": "allow", "target": {"feature": "export"}, "reason": "promised"},
        "grant.create",
    ),
    "revoke_grants": ({}, {"grant_id": "{id}", "reason": "it was for a week"}, "grant.revoke"),
    "retry_one_dead": ({"id": "cus_1"}, {"reason": "repaired"}, "dead.retry"),
    "replay_events": ({}, {"event_ids": ["evt_1"]}, "events.replay"),
    "sync_one_user": ({"user": "u_8"}, {}, "user.sync"),
    "discard_one_dead": ({"id": "re_1"}, {"reason": "nobody's"}, "dead.discard"),
    "create_app_key": ({"app": "editor"}, {"name": "backend"}, "key.create"),
    "rotate_app_key": ({"app": "editor", "key_id": "{key_id}"}, {"overlap_s": 60}, "key.rotate"),
    "revoke_app_key": ({"app": "editor", "key_id": "{key_id}"}, {"reason": "replaced"}, "key.revoke"),
    "pause_one_job": ({"job": "reconcile"}, {"reason": "Stripe asked us to"}, "job.pause"),
    "run_one_job": ({"job": "reconcile"}, {}, "job.run"),
    "resume_one_job": ({"job": "reconcile"}, {"reason": "it is over"}, "job.resume"),
    "start_reconciliation": ({}, {"check": True}, "reconciliation.start"),
    "abandon_reconciliation": ({"id": "{id}"}, {"reason": "it cannot end"}, "reconciliation.abandon"),
    "rename_one_user": ({"user": "u_8"}, {"new_user_id": "u_80", "reason": "new login"}, "user.rename"),
    "merge_two_users": (
        {},
        {"user_id": "u_80", "into_user_id": "u_9", "reason": "one person"},
        "user.merge",
    ),
    "erase_one_user": ({}, {"user_id": "u_9", "reason": "asked to"}, "user.erase"),
}
#: Each command of a terminal → the actions that it may leave; none: it reads, or is of this machine alone.
COMMANDS: dict[str, set[str]] = {
    "grant": {"grant.create"},
    "grants import": {"grant.create"},
    "revoke": {"grant.revoke"},
    "catalog apply": {"catalog.apply", "catalog.stripe"},
    "catalog retire-endpoint": {"endpoint.retire"},
    "keys create": {"key.create"},
    "keys rotate": {"key.rotate"},
    "keys revoke": {"key.revoke"},
    "explain": {"user.repair"},
    "users sync": {"user.sync"},
    "users export": {"user.export"},
    "users rename": {"user.rename"},
    "users merge": {"user.merge"},
    "users erase": {"user.erase"},
    "customers adopt": {"customer.adopt"},
    "backfill": {"import.start", "customer.import", "import.end"},
    "backfill run": {"import.start", "customer.import", "import.end"},
    "backfill await": {"import.start"},
    "backfill complete": {"import.end"},
    "events replay": {"events.replay"},
    "events requeue": {"events.requeue"},
    "dead retry": {"dead.retry"},
    "dead discard": {"dead.discard"},
    "scheduler pause": {"job.pause"},
    "scheduler resume": {"job.resume"},
    "scheduler run": {"job.run"},
    "reconcile": {"reconciliation.start", "reconciliation.abandon"},
    "recover": {"deployment.recover", "deployment.recovered", "reconciliation.start"},
    **{
        name: set()
        for name in (
            *("audit", "find", "grants list", "users show", "keys list", "revenue", "status", "doctor"),
            *("catalog check", "catalog export", "catalog parity", "catalog plan", "catalog schema"),
            *(
                "catalog status",
                "catalog verify",
                "dead list",
                "dead show",
                "scheduler list",
                "scheduler runs",
            ),
            *("events count", "events list", "events show", "events tail", "events types"),
            *("backfill compare", "backfill list", "backfill show", "backfill status"),
            # The schema comes before the log; what is local has no operators.
            *("migrate", "local", "seed"),
        )
    },
}
DOORS = {door.name: door for door in OPERATIONS if door.method == "POST" and "/admin/" in door.path}
#: Rows about a call, which a call that failed may leave.
NO_EFFECT = frozenset({"idempotency_keys", "audit_log", "alembic_version"})


def test_every_verb_of_an_operator_is_tried() -> None:
    assert set(VERBS) == set(DOORS), "a new admin POST: say in VERBS how it is called and what it leaves"


def test_every_command_says_which_rows_it_leaves() -> None:
    known = set(commands_of(tollhouse, ()))
    assert known <= set(COMMANDS), "a new command: say in COMMANDS which action it leaves, or that it reads"
    sources = "".join(path.read_text("utf-8") for path in FLOWS.rglob("*.py"))
    named = {action for command in known for action in COMMANDS[command]}
    assert [action for action in sorted(named) if f'"{action}"' not in sources] == []


async def test_what_only_a_terminal_does_leaves_a_row_too_or_is_not_done(settings: Settings) -> None:
    operator = Operator(actor="cli:anna")
    async with open_running("api", settings) as running:
        context = running.context
        await seed_catalog(context, make_catalog())
        await seed_dead(context)
        changed = {one: make_catalog(one, default_seats=3) for one in ("acme", "globex")}
        verbs: list[tuple[Callable[[], Awaitable[object]], list[str]]] = [
            (lambda: publish_locally(context, changed, operator), ["catalog.apply"] * 2),
            (
                lambda: publish_sold(context, {"acme": make_catalog(default_seats=2)}, [], operator),
                ["catalog.apply"],
            ),
            (lambda: requeue(context, ["evt_1"], operator), ["events.requeue"]),
        ]
        for act, actions in verbs:
            before, last = await everything(running), await last_action(running)
            async with no_audit(running):
                with pytest.raises(Broken):
                    await act()
            assert await everything(running) == before, f"{actions} without a row"
            await act()
            assert await actions_after(running, last) == [(action, "cli:anna", None) for action in actions]
            assert await everything(running) != before
        last = await last_action(running)
        await publish_locally(context, {"globex": changed["globex"]}, operator)
        assert await actions_after(running, last) == [], "what changes nothing leaves no row"


def commands_of(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    """`users show`, … ; a group that does something by itself too."""
    if not isinstance(command, click.Group):
        yield " ".join(path)
        return
    if command.invoke_without_command:
        yield " ".join(path)
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands_of(found, (*path, name))


async def test_each_verb_leaves_one_row_and_without_the_row_does_nothing(settings: Settings) -> None:
    async with open_running("api", settings) as running:
        await seed_catalog(running.context, make_catalog())
        await seed_dead(running.context)
        # Without a customer: a sync needs no Stripe, and makes its first answers.
        await seed_user(running.context, "u_8")
        created = await create_key(running.context, kind="operator", name="support")
        said: dict[str, Any] = {}
        for name, (_, _, action) in VERBS.items():
            before, last = await everything(running), await last_action(running)
            async with no_audit(running):
                failed = await call(running, name, created.key, said)
            assert failed.status >= 500, (name, failed)
            assert await everything(running) == before, f"{name} did something that no row tells of"
            assert await actions_after(running, last) == [], name

            answer = await call(running, name, created.key, said)
            assert answer.status in {200, 201, 202}, (name, answer)
            said |= answer.json
            (row,) = await actions_after(running, last)
            assert row == (action, "support:anna", answer.headers[b"x-request-id"].decode()), name
            assert await everything(running) != before, f"{name} did nothing"


async def test_no_row_of_the_log_is_changed_or_removed_not_even_by_the_tables_owner(
    settings: Settings,
) -> None:
    async with open_running("api", settings) as running:
        await create_key(running.context, kind="operator", name="support")
        last = await last_action(running)
        for statement in ("UPDATE audit_log SET actor = 'me'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            with pytest.raises(Broken):
                await execute(running, statement)
        assert len(await actions_after(running, 0)) == 1
        assert last > 0


async def call(running: Running, name: str, key: str, said: dict[str, Any]) -> Said:
    door = DOORS[name]
    parameters, body, _ = VERBS[name]
    path = door.path
    for parameter, value in parameters.items():
        path = path.replace("{" + parameter + "}", fill(value, said))
    headers = [
        (b"authorization", f"Bearer {key}".encode()),
        (b"content-type", b"application/json"),
        (b"tollhouse-actor", b"anna"),
    ]
    filled = {field: fill(value, said) if isinstance(value, str) else value for field, value in body.items()}
    query = b"project=acme" if door.of not in {"all", "deployment"} else b""
    body_bytes = msgspec.json.encode(filled)
    return await ask(app, {"running": running}, "POST", path, headers, body_bytes, query=query)


def fill(text: str, said: dict[str, Any]) -> str:
    return said[text.strip("{}")] if text.startswith("{") else text


@asynccontextmanager
async def no_audit(running: Running) -> AsyncIterator[None]:
    """Any transaction that wrote a row of the log fails, at the last moment: at its COMMIT."""
    await execute(
        running,
        """
        CREATE FUNCTION refuse_audit() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'no room for the row'; END $$;
        CREATE CONSTRAINT TRIGGER no_audit AFTER INSERT ON audit_log
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_audit()
        """,
    )
    yield
    await execute(running, "DROP TRIGGER no_audit ON audit_log; DROP FUNCTION refuse_audit()")


async def everything(running: Running) -> dict[str, str]:
    """A fingerprint of every table in which a verb could have done something."""
    async with running.context.database.connection() as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {
            name: await connection.fetchval(
                f"""
                SELECT md5(coalesce(string_agg(said, '|' ORDER BY said), '')) FROM
                    (SELECT (to_jsonb(t) - 'last_used_at')::text AS said FROM "{name}" t) rows
                """
            )
            for (name,) in tables
            if name not in NO_EFFECT
        }


async def last_action(running: Running) -> int:
    async with running.context.database.connection() as connection:
        last: int = await connection.fetchval("SELECT coalesce(max(id), 0) FROM audit_log")
    return last


async def actions_after(running: Running, last: int) -> list[tuple[str, str, str | None]]:
    async with running.context.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT action, actor, request_id FROM audit_log WHERE id > $1 ORDER BY id", last
        )
    return [tuple(row) for row in rows]


async def execute(running: Running, statement: str) -> None:
    async with running.context.database.connection() as connection:
        await connection.execute(statement)
