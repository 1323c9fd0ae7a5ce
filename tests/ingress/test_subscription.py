"""The doors of a subscription's changes: what they take, answer and repeat. What they do: tests/flows."""

from typing import Any

import httpx2

from deploy.local.stripe_simulator.testing import SimulatorHandle
from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress import api
from ingress.lifespan import Running
from tests.conftest import with_settings
from tests.flows.event_path import EventPath, running_path
from tests.ingress.doors import client_of
from tests.ingress.test_checkout import BODY, PATH
from tests.waiting import until
from tests.workers.test_bell import make_stub, rung
from workers.bell import Bell

BASE = "/api/v1/subscription"
TEAM = {"user_id": "u_1", "group": "main", "items": [{"plan": "team", "price": "month"}]}


async def buy(path: EventPath) -> str:
    """A subscription of u_1; answers its id."""
    session = await path.buy(await path.make_customer("u_1"))
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
    found = await path.retrieve(f"/v1/checkout/sessions/{session}")
    return str(found["subscription"])


def charged(stripe: SimulatorHandle) -> int:
    return len(stripe.account.rows["invoice"])


def planned_prices(stripe: SimulatorHandle, subscription: str) -> list[str]:
    """Of the phase that is to come; none: nothing is planned."""
    schedule = stripe.account.rows["subscription"][subscription]["schedule"]
    phases = stripe.account.rows["subscription_schedule"][schedule]["phases"] if schedule else []
    return [item["price"] for phase in phases[1:] for item in phase["items"]]


async def asked(client: httpx2.AsyncClient, verb: str, body: dict[str, Any], key: str | None = None) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post(f"{BASE}/{verb}", json=body, headers=headers)


async def test_what_a_caller_cannot_wait_for_is_rung_to_a_worker(settings: Settings) -> None:
    async with running_path(with_settings(settings, read_back_s=0.2)) as path:
        await buy(path)
        running, broker = Running(path.context, "api"), make_stub()
        running.bell = Bell(broker)
        app = await create_key(path.context, kind="app", project="acme", app="editor", name="backend")
        async with client_of(api.app, running, app.key) as client:
            opened = (await client.post(PATH, json={**BODY, "user_id": "u_2"})).json()
            # Another process is at work on both customers, and stays so.
            await path.execute(
                "UPDATE sync_targets SET lease_token = $1, lease_until = clock_timestamp() + interval '1 h'",
                "other",
            )
            changed = await asked(client, "change", TEAM)
            assert (changed.status_code, changed.json()["settled"]) == (200, False)
            assert "owed" not in changed.json()
            claimed = await client.post(f"{PATH}/{opened['id']}/claim")
            assert (claimed.status_code, claimed.json()["state"]) == (202, "open")
            assert "owed" not in claimed.json()
        await running.bell.stop()
        owed = await path.rows("SELECT id FROM sync_targets WHERE dirty_seq > synced_seq ORDER BY id")
        assert rung(broker) == [row["id"] for row in owed]
        assert len(owed) == 2


async def test_a_change_is_previewed_made_repeated_ended_and_taken_back(settings: Settings) -> None:
    async with running_path(settings) as path:
        subscription = await buy(path)
        running = Running(path.context, "api")
        app = await create_key(path.context, kind="app", project="acme", app="editor", name="backend")
        async with client_of(api.app, running, app.key) as client:
            before = charged(path.stripe)
            preview = (await asked(client, "change", {**TEAM, "preview": True})).json()
            assert preview["currency"] == "usd"
            assert abs(preview["due_now_minor"] - 3000) <= 1
            assert {line["is_proration"] for line in preview["lines"]} == {True}
            assert preview["next_invoice"]["total_minor"] == 4900
            gained = {one["feature"]: one["effect"] for one in preview["entitlements"]}
            assert gained == {"projects": "more", "seats": "more", "sso": "gain", "support": "more"}
            assert charged(path.stripe) == before

            done = await asked(client, "change", TEAM, "k1")
            assert (done.status_code, done.json()["status"]) == (200, "changed")
            shown = done.json()["subscription"]
            assert (shown["id"], shown["items"][0]["plan"]) == (subscription, "team")
            assert done.json()["entitlements"]["app"] == "editor"
            again = await asked(client, "change", TEAM, "k1")
            assert (again.content, again.headers["idempotent-replayed"]) == (done.content, "true")
            other = await asked(client, "change", {**TEAM, "when": "period_end"}, "k1")
            assert other.json()["code"] == "idempotency_key_reused"
            assert charged(path.stripe) == before + 1

            whose = {"user_id": "u_1", "group": "main"}
            ending = (await asked(client, "cancel", whose)).json()
            assert (ending["status"], ending["subscription"]["ends_at"]) == (
                "scheduled",
                shown["renews_at"],
            )
            going_on = (await asked(client, "resume", whose)).json()
            assert (going_on["status"], going_on["subscription"]["ends_at"]) == ("changed", None)

            for verb, body, field in (
                ("change", {**whose}, "items"),
                ("change", {**TEAM, "when": "later"}, "when"),
                (
                    "change",
                    {**TEAM, "items": [{"plan": "team", "price": "month", "quantity": 0}]},
                    "quantity",
                ),
                ("cancel", {**whose, "items": []}, "items"),
                ("resume", {**whose, "when": "period_end"}, "when"),
                ("resume", {"user_id": "u_1"}, "group"),
            ):
                refused = await asked(client, verb, body)
                assert refused.status_code == 422
                assert field in refused.json()["errors"][0]["field"]
            unknown = await asked(client, "cancel", {**whose, "user_id": "u_none"})
            assert (unknown.status_code, unknown.json()["code"]) == (404, "no_subscription")

        scopes = ["checkout:write", "portal:write"]
        weak = await create_key(
            path.context, kind="app", project="acme", app="editor", name="weak", scopes=scopes
        )
        other_project = await create_key(
            path.context, kind="app", project="globex", app="board", name="elsewhere"
        )
        for key, group, status in ((weak.key, "main", 403), (other_project.key, "main", 404)):
            async with client_of(api.app, running, key) as client:
                refused = await asked(client, "cancel", {"user_id": "u_1", "group": group, "when": "now"})
                assert refused.status_code == status
                assert subscription not in refused.text
        state = await path.retrieve(f"/v1/subscriptions/{subscription}")
        assert (state["status"], state["cancel_at_period_end"]) == ("active", False)


async def test_while_stripe_is_away_nothing_is_changed_and_a_decline_is_no_failure_of_ours(
    settings: Settings,
) -> None:
    async with running_path(settings) as path:
        subscription = await buy(path)
        running = Running(path.context, "api")
        app = await create_key(path.context, kind="app", project="acme", app="editor", name="backend")
        async with client_of(api.app, running, app.key) as client:
            for status, answered, code in (
                (402, 409, "payment_failed"),
                (400, 422, "stripe_refused"),
                (429, 503, "stripe_rate_limited"),
            ):
                await asked(client, "change", {**TEAM, "when": "period_end"})
                planned = await path.retrieve(f"/v1/subscriptions/{subscription}")
                await path.stripe.fail(f"/v1/subscriptions/{subscription}", status=status, times=2)
                refused = await asked(client, "change", TEAM)
                assert (refused.status_code, refused.json()["code"]) == (answered, code)
                await path.stripe.clear_faults()
                assert planned["schedule"] is not None
                if answered == 503:
                    # What Stripe has done of it is looked at a little later.
                    await until(
                        lambda: planned_prices(path.stripe, subscription) == ["price_acme.team.month"]
                    )
                else:
                    # An unpaid update may be gone, so nobody is told that nothing was changed.
                    assert "may be taken back" in refused.json()["detail"]
                    assert planned_prices(path.stripe, subscription) == ["price_acme.team.month"]
                    assert await path.count_owed() == 1, "what became of it is read"
                    await path.drain()
            # Whether Stripe is still at work on the last call is not known: its lease is waited for.
            busy = await asked(client, "change", TEAM)
            assert (busy.status_code, busy.json()["code"]) == (409, "change_in_progress")
            assert busy.headers["retry-after"] == "2"
            assert (await asked(client, "change", {**TEAM, "preview": True})).status_code == 200
