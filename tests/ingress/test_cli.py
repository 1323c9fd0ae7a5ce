"""`tollhouse` as an operator types it: a process of its own, its output, its exit code."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path
from tests.ingress.forked import run_forked

CATALOG = str(Path(__file__).resolve().parents[2] / "deploy" / "local" / "catalog.toml")


LOADED_BY_HELP = """
import sys
from ingress.cli import main
try:
    main(["--help"])
except SystemExit:
    print([name for name in ("asyncpg", "sqlalchemy", "stripe", "redis", "rich") if name in sys.modules])
"""


def call(settings: Settings | None, *words: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    """Run `tollhouse WORDS` with the environment of a test deployment."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TOLLHOUSE_")}
    if settings is not None:
        environ["TOLLHOUSE_DATABASE_URL"] = settings.database_url.reveal()
        environ["TOLLHOUSE_REDIS_URL"] = settings.redis_url.reveal()
        environ["TOLLHOUSE_KEY_PEPPERS"] = f"1:{settings.key_peppers[0][1].reveal()}"
        environ["TOLLHOUSE_ENV"] = settings.env
    return run_forked(words, {**environ, **extra})


def answer(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout)


def test_help_names_every_command_and_imports_no_server_library() -> None:
    done = call(None, "--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("migrate", "catalog", "keys", "events", "local"))
    program = [sys.executable, "-c", LOADED_BY_HELP]
    loaded = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert loaded.splitlines()[-1] == "[]"


def test_an_unknown_command_is_a_wrong_call() -> None:
    assert call(None, "migrat").returncode == 2


def test_a_missing_setting_is_named() -> None:
    done = call(None, "migrate")
    assert done.returncode == 2
    assert "TOLLHOUSE_DATABASE_URL" in done.stderr


def test_a_database_that_is_away_ends_with_the_code_for_trying_again() -> None:
    away = "postgresql://nobody@127.0.0.1:1/x"
    done = call(None, "migrate", "--json", TOLLHOUSE_DATABASE_URL=away)
    assert done.returncode == 3
    assert msgspec.json.decode(done.stdout)["error"]["code"] == "unavailable"
    assert "`tollhouse doctor`" in call(None, "migrate", TOLLHOUSE_DATABASE_URL=away).stderr


def test_migrate_on_a_migrated_database_has_nothing_to_do(settings: Settings) -> None:
    migrated = answer(call(settings, "migrate", "--json"))
    assert migrated["before"] == migrated["after"] == migrated["required"]
    assert "nothing to do" in call(settings, "migrate").stdout


def test_a_valid_catalog_is_said_to_be_valid_without_any_server() -> None:
    done = call(None, "catalog", "check", CATALOG)
    assert done.returncode == 0
    assert "is valid" in done.stdout
    assert {
        row["project"] for row in answer(call(None, "catalog", "check", CATALOG, "--json"))["projects"]
    } == {
        "acme",
        "globex",
    }


def test_every_mistake_of_a_catalog_is_named_with_file_table_and_key(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[projects.acme]\nnam = "Acme"\n[projects.acme.features.export]\ntype = "bool"\n')
    done = call(None, "catalog", "check", str(wrong))
    assert done.returncode == 2
    assert "projects.acme" in done.stderr
    assert "nam" in done.stderr
    assert "projects.acme.features.export" in done.stderr
    errors = msgspec.json.decode(call(None, "catalog", "check", str(wrong), "--json").stdout)["error"][
        "errors"
    ]
    assert {error["table"] for error in errors} >= {"projects.acme", "projects.acme.features.export"}


def test_a_catalog_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_bytes(b"\xff\xfe")
    done = call(None, "catalog", "check", str(wrong))
    assert done.returncode == 2
    assert "UTF-8" in done.stderr


def test_apply_twice_changes_nothing_the_second_time(settings: Settings) -> None:
    first = answer(call(settings, "catalog", "apply", "--local", CATALOG, "--json"))
    second = answer(call(settings, "catalog", "apply", "--local", CATALOG, "--json"))
    assert [project["is_new"] for project in first["projects"].values()] == [True, True]
    assert [project["is_new"] for project in second["projects"].values()] == [False, False]
    assert first["projects"]["acme"]["apps"] == ["editor", "viewer"]
    assert {price["lookup_key"] for price in first["stripe"]["prices"]} >= {
        "acme:pro:month",
        "acme:pass:once",
    }
    assert "Nobody has to be recomputed" in call(settings, "catalog", "apply", "--local", CATALOG).stdout


def test_stripe_is_not_written_to_without_a_key(settings: Settings) -> None:
    for words in (("apply", CATALOG), ("verify",)):
        done = call(settings, "catalog", *words)
        assert done.returncode == 2
        assert "TOLLHOUSE_STRIPE_SECRET_KEY" in done.stderr


def test_a_key_is_shown_once_and_stored_without_its_secret(settings: Settings) -> None:
    call(settings, "catalog", "apply", "--local", CATALOG)
    created = answer(call(settings, "keys", "create", "--project", "acme", "--app", "editor", "--json"))
    assert created["key"].startswith(f"th_test_{created['key_id']}_")
    plain = call(settings, "keys", "create", "--operator")
    assert plain.stdout.startswith("th_test_")
    assert "only this once" in plain.stderr


def test_a_key_for_an_unknown_app_names_the_nearest_one(settings: Settings) -> None:
    call(settings, "catalog", "apply", "--local", CATALOG)
    done = call(settings, "keys", "create", "--project", "acme", "--app", "edtor")
    assert done.returncode == 2
    assert "did you mean 'editor'" in done.stderr


@pytest.fixture
async def bought(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings) as path:
        customer = await path.make_customer()
        await path.buy(customer)
        for event in await path.events():
            await path.deliver(event)
        yield path


async def test_events_are_listed_page_by_page_shown_and_requeued(bought: EventPath) -> None:
    settings = bought.context.settings
    everything = answer(call(settings, "events", "list", "--json", "--limit", "100"))["data"]
    first = answer(call(settings, "events", "list", "--json", "--limit", "2"))
    second = answer(
        call(settings, "events", "list", "--json", "--limit", "2", "--cursor", first["next_cursor"])
    )
    assert [event["event_id"] for event in first["data"] + second["data"]] == [
        event["event_id"] for event in everything[:4]
    ]
    pending = answer(call(settings, "events", "list", "--state", "pending", "--json"))["data"]
    assert pending
    shown = answer(call(settings, "events", "show", pending[0]["event_id"], "--json"))
    assert shown["payload"]["id"] == pending[0]["event_id"]
    assert pending[0]["event_id"] in call(settings, "events", "show", pending[0]["event_id"]).stdout
    assert pending[0]["event_id"] in call(settings, "events", "list").stdout
    requeued = answer(call(settings, "events", "requeue", "--json"))
    assert set(requeued["event_ids"]) == {event["event_id"] for event in pending}
    await bought.drain()
    assert await bought.is_granted()
    assert "left as it is" in call(settings, "events", "requeue", pending[0]["event_id"]).stdout


def test_an_event_that_is_not_there_is_said_so(settings: Settings) -> None:
    for words in (("show",), ("requeue",)):
        done = call(settings, "events", *words, "evt_none")
        assert done.returncode == 2
        assert "evt_none" in done.stderr


def test_a_cursor_of_ones_own_is_refused(settings: Settings) -> None:
    assert call(settings, "events", "list", "--cursor", "yesterday").returncode == 2


def test_local_and_seed_hand_over_to_the_local_deployment() -> None:
    done = call(None, "local", "--help")
    assert done.returncode == 0
    assert "demo" in done.stdout
    refused = call(None, "seed", "--users", "0")
    assert refused.returncode == 2
    assert "'--users': 0 is not in the range" in refused.stderr


def test_the_types_an_endpoint_is_configured_with_are_printed_without_any_server() -> None:
    enabled = answer(call(None, "events", "types", "--json"))["enabled_events"]
    assert len(enabled) == 41
    assert {"invoice.paid", "refund.failed", "test_helpers.test_clock.ready"} < set(enabled)
    assert "charge.refund.updated" not in enabled
    shown = call(None, "events", "types")
    assert "the money stayed" in shown.stdout


async def test_an_operator_adopts_a_customer_from_the_terminal(settings: Settings) -> None:
    async with running_path(settings) as path:
        customer = await path.make_stripe_customer()
        stripe = {
            "TOLLHOUSE_STRIPE_SECRET_KEY": path.stripe.secret_key,
            "TOLLHOUSE_STRIPE_API_BASE": path.stripe.url,
        }
        words = ("customers", "adopt", customer, "--project", "acme", "--user", "u 9", "--reason", "import")
        done = await asyncio.to_thread(call, settings, *words, **stripe)
        assert done.returncode == 0, done.stderr
        assert f"{customer} is u 9's now" in done.stdout
        assert "tollhouse explain 'u 9' --project acme" in done.stdout
        again = await asyncio.to_thread(call, settings, *words, "--json", **stripe)
        assert answer(again)["state"] == "already"
        unknown = await asyncio.to_thread(
            call, settings, "customers", "adopt", "cus_no", *words[3:], **stripe
        )
        assert unknown.returncode == 2
        assert "Stripe has no customer cus_no" in unknown.stderr


async def test_events_are_counted_by_how_they_ended(settings: Settings) -> None:
    async with running_path(settings) as path:
        stranger = await path.make_stripe_customer()
        await path.buy(stranger, "pass", "once")
        for event in await path.events():
            await path.deliver(event)
        await path.drain()
        counted = answer(await asyncio.to_thread(call, settings, "events", "count", "--json"))["data"]
        ended = {(one["state"], one["reason"], one["type"]): one["events"] for one in counted}
        assert ended["foreign", "unlinked_customer", "payment_intent.succeeded"] == 1
        assert ended["ignored", "unused_type", "charge.succeeded"] == 1
        shown = await asyncio.to_thread(call, settings, "events", "count")
        assert "unlinked_customer" in shown.stdout
