"""`tollhouse catalog` as a product owner and an operator type it."""

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from deploy.local.stripe_simulator.testing import running_simulator
from domain.context import Context
from domain.settings import Settings
from ingress.cli.catalog.group import ask_confirmation
from tests.flows.catalog_seeds import CATALOG_TOML, seed_subscribers
from tests.ingress.test_cli import CATALOG, answer, call

SCENARIO = """
[[projects.acme.scenarios]]
name = "Pro has seven seats"
given = [{ subscription = "pro" }]
expect = { seats = { value = 7, ends_at = "+1d" } }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG_TOML)
    return path


def set_seats(file: Path, seats: int) -> None:
    file.write_text(CATALOG_TOML.replace("value = 5", f"value = {seats}"))


def test_a_scenario_that_is_not_met_is_shown_with_its_answer_and_ends_with_2(file: Path) -> None:
    file.write_text(CATALOG_TOML + SCENARIO)
    done = call(None, "catalog", "check", str(file))
    assert done.returncode == 2
    for said in (
        "Pro has seven seats",
        "expected 7, got 5",
        "expected 2026-01-02T00:00:00Z, got never",
        "sub_1 (pro)",
    ):
        assert said in done.stdout
    told = call(None, "catalog", "check", str(file), "--json")
    assert told.returncode == 2
    failed = msgspec.json.decode(told.stdout)
    assert failed["ok"] is False
    assert failed["failed"][0]["wrong"][0]["differences"][0] == {"part": "value", "expected": 7, "got": 5}


def test_scenarios_that_are_met_are_counted(file: Path) -> None:
    file.write_text(CATALOG_TOML + SCENARIO.replace('{ value = 7, ends_at = "+1d" }', "5"))
    checked = answer(call(None, "catalog", "check", str(file), "--json"))
    assert checked["ok"] is True
    assert [row["scenarios"] for row in checked["projects"]] == [1]


def test_each_mistake_of_a_file_is_said_once(file: Path) -> None:
    file.write_text(CATALOG_TOML.replace('type = "boolean"', 'type = "bool"'))
    said = call(None, "catalog", "check", str(file)).stderr
    assert said.count("[projects.acme.features.export] type") == 1
    assert "has 1 error" in said


def test_the_schema_is_printed_as_it_is_documented() -> None:
    written = Path(CATALOG).parents[2] / "docs" / "catalog.schema.json"
    assert call(None, "catalog", "schema").stdout == written.read_text()


async def test_plan_apply_and_status_go_together(settings: Settings, context: Context, file: Path) -> None:
    assert "was applied yet" in call(settings, "catalog", "status").stdout
    call(settings, "catalog", "apply", "--local", str(file))
    await seed_subscribers(context, 3)
    waited = answer(call(settings, "catalog", "apply", "--local", "--wait", str(file), "--json"))
    assert (waited["behind"], waited["waited"]) == (3, {"recomputed": 3, "failed": 0})

    assert call(settings, "catalog", "plan", "--exit-code", str(file)).returncode == 0
    set_seats(file, 6)
    planned = call(settings, "catalog", "plan", str(file))
    assert planned.returncode == 0
    assert "grants.seats" in planned.stdout
    assert "3 users would notice" in planned.stdout
    assert call(settings, "catalog", "plan", "--exit-code", str(file)).returncode == 4

    set_seats(file, 2)
    taking = call(settings, "catalog", "plan", "--list", "--limit", "2", "--exit-code", str(file))
    assert taking.returncode == 5
    assert "… and 1 more users" in taking.stdout
    told = msgspec.json.decode(call(settings, "catalog", "plan", "--list", str(file), "--json").stdout)
    assert told["takes_away"] is True
    assert told["projects"][0]["features"]["seats"]["less"] == 3
    assert [user["user_id"] for user in told["users"]] == ["u_1", "u_2", "u_3"]
    assert told["users"][0]["effects"][0]["before"]["value"] == 5

    applied = call(settings, "catalog", "apply", "--local", str(file))
    assert "The scheduler recomputes 3 users" in applied.stdout
    status = answer(call(settings, "catalog", "status", "--json"))["projects"]
    assert [(row["project"], row["version"], row["behind"]) for row in status] == [("acme", 2, 3)]
    assert "scheduler recomputes who is behind" in call(settings, "catalog", "status").stdout
    assert "Recomputed 3 users" in call(settings, "catalog", "apply", "--local", "--wait", str(file)).stdout


async def test_a_user_that_cannot_be_recomputed_is_counted_and_explained(
    settings: Settings, context: Context, file: Path
) -> None:
    call(settings, "catalog", "apply", "--local", str(file))
    await seed_subscribers(context, 2)
    call(settings, "catalog", "apply", "--local", "--wait", str(file))
    async with context.database.transaction() as connection:
        await connection.execute(
            "UPDATE entitlements SET timeline = '[5]' WHERE user_key = (SELECT min(user_key) FROM users)"
        )
    set_seats(file, 6)
    done = call(settings, "catalog", "apply", "--local", "--wait", str(file))
    assert "Recomputed 1 users" in done.stdout
    assert "1 users could not be recomputed" in done.stdout
    assert "recompute_failed" in done.stderr


def test_the_environments_name_is_asked_of_a_person_and_never_of_a_pipeline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wanted, given in ((None, None), ("shop", "shop"), ("shop", "store")):
        assert ask_confirmation(wanted, given) == given
    monkeypatch.setattr(sys, "stdin", io.StringIO("shop\n"))
    assert ask_confirmation("shop", None) is None
    keyboard, terminal = os.openpty()
    try:
        os.write(keyboard, b"shop\n")
        with os.fdopen(terminal, encoding="utf-8") as typed:
            monkeypatch.setattr(sys, "stdin", typed)
            assert ask_confirmation("shop", None) == "shop"
    finally:
        os.close(keyboard)
    assert "This changes Stripe in LIVE mode. Type shop to go on" in capsys.readouterr().err


async def test_stripe_is_planned_applied_and_verified_from_the_terminal(
    settings: Settings, context: Context, file: Path
) -> None:
    async with running_simulator() as stripe:
        environ = {
            "TOLLHOUSE_STRIPE_SECRET_KEY": stripe.secret_key,
            "TOLLHOUSE_STRIPE_API_BASE": stripe.url,
            "TOLLHOUSE_WEBHOOK_URL": "https://billing.example.com/api/v1/webhooks/stripe",
        }

        async def type_in(*words: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(call, settings, "catalog", *words, **environ)

        planned = await type_in("plan", "--exit-code", str(file), "--json")
        told = msgspec.json.decode(planned.stdout)
        assert planned.returncode == 4
        assert [one["key"] for one in told["stripe"]["changes"]] == [
            *("acme.pro", "acme.pro.month", "acme.team", "acme.team.month")
        ]
        assert stripe.account.rows.get("product", {}) == {}
        applied = await type_in("apply", str(file))
        assert applied.returncode == 0, applied.stderr
        assert "acme.team.month" in applied.stdout
        assert "Recomputed 0 users" in applied.stdout
        (secret,) = stripe.account.rows["endpoint_secret"].values()
        assert applied.stdout.count(secret["secret"]) == 1
        assert "Add it to TOLLHOUSE_STRIPE_WEBHOOK_SECRETS" in applied.stdout
        again = answer(await type_in("apply", str(file), "--json"))
        assert (again["changes"], again["endpoint"]) == ([], None)
        assert "Stripe is as the file says" in (await type_in("plan", str(file))).stdout
        assert answer(await type_in("verify", "--json"))["versions"] == {"acme": 1}

        written = file.with_name("exported.toml")
        exported = await type_in("export", "--output", str(written))
        assert "2 plans; 0 comments" in exported.stderr
        assert (await type_in("plan", "--exit-code", str(written))).returncode == 0
        assert (await type_in("export", "--output", str(written))).returncode == 2

        state = file.with_name("state.json")
        state.write_text((await type_in("export", "--state")).stdout)
        assert "sell and give the same" in (await type_in("parity", "--other", str(state))).stdout
        state.write_text(state.read_text().replace("4900", "5900"))
        differing = await type_in("parity", "--other", str(state))
        assert differing.returncode == 2
        assert [row.split() for row in differing.stdout.splitlines() if "team.month" in row] == [
            ["in", "force", "acme", "price", "team.month", "amounts.usd", "4900", "5900"],
            ["at", "Stripe", "acme", "price", "team.month", "amounts.usd", "4900", "5900"],
        ]
        assert (await type_in("parity", "--other", str(file))).returncode == 2

        account = stripe.account
        # Two that lead here: the younger one is the one too many.
        (first,) = account.rows["webhook_endpoint"].values()
        account.put("webhook_endpoint", {**first, "id": "we_second", "created": first["created"] + 1})
        assert "retire-endpoint we_second" in (await type_in("verify")).stdout
        assert answer(await type_in("retire-endpoint", "we_second", "--json"))["status"] == "disabled"
        account.put("product", {**account.load("product", "acme_pro"), "name": "Gold"})
        drifted = await type_in("verify")
        assert drifted.returncode == 2
        assert "Gold" in drifted.stdout
        assert "acme_pro" in drifted.stdout
    live = {**environ, "TOLLHOUSE_STRIPE_SECRET_KEY": "sk_live_1", "TOLLHOUSE_ENV": "shop"}
    refused = await asyncio.to_thread(call, settings, "catalog", "apply", str(file), **live)
    assert refused.returncode == 2
    assert "--confirm shop" in refused.stderr
