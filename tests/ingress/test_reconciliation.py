"""`/api/v1/admin/reconciliation` and `tollhouse reconcile`: begun by one, carried out by another."""

from collections.abc import AsyncIterator

import pytest

from domain.flows.manage_keys import create_key
from domain.flows.reconcile import run_once
from domain.settings import Settings
from ingress import api
from ingress.lifespan import open_running
from tests.flows.event_path import EventPath, path_settings, running_path
from tests.ingress.doors import client_of
from tests.ingress.terminal import type_in

RUNS = "/api/v1/admin/reconciliation"


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings, reconcile_settle_s=0.001) as running:
        yield running


async def test_a_pass_is_begun_at_the_door_and_carried_out_by_a_scheduler(
    path: EventPath, settings: Settings
) -> None:
    await path.make_customer("u_1")
    own = path_settings(settings, path.stripe, reconcile_settle_s=0.001)
    async with open_running("api", own) as running:
        key = await create_key(running.context, kind="operator", name="support")
        reader = await create_key(running.context, kind="operator", name="reader", scopes=["admin:read"])
        of_globex = await create_key(running.context, kind="operator", name="other", project="globex")
        async with client_of(api.app, running, key.key) as client:
            asked = {"check": True, "full": True, "reason": "after the incident"}
            headers = {"Idempotency-Key": "night-1", "Tollhouse-Actor": "anna"}
            begun = await client.post(RUNS, json=asked, headers=headers)
            assert (begun.status_code, begun.json()["state"]) == (202, "running"), begun.text
            again = await client.post(RUNS, json=asked, headers=headers)
            assert again.content == begun.content
            second = await client.post(RUNS, json={})
            assert (second.status_code, second.json()["code"]) == (409, "reconciliation_running")
            assert "tollhouse reconcile --runs" in second.json()["detail"], "a terminal says it, too"
            for body, status, code in (
                ({"user_id": "u_1"}, 422, "invalid"),
                ({"reason": "x" * 501}, 422, "reason_invalid"),
                ({"chekc": True}, 422, "invalid"),
            ):
                refused = await client.post(RUNS, json=body)
                assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
            unknown = await client.post(f"{RUNS}?project=acme", json={"user_id": "u_nobody"})
            assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_user")
            run_id = begun.json()["id"]
            await run_once(path.context)
            shown = (await client.get(f"{RUNS}/runs/{run_id}")).json()
            assert (shown["run"]["state"], shown["run"]["stages_done"]) == ("done", shown["run"]["stages"])
            assert [one["type"] for one in shown["drifts"]].count("endpoint_missing") == 1
            other = (await client.post(f"{RUNS}?project=globex", json={})).json()
            await run_once(path.context)
            first = (await client.get(f"{RUNS}/runs?limit=1")).json()
            assert [one["id"] for one in first["data"]] == [other["id"]]
            rest = (await client.get(f"{RUNS}/runs?cursor={first['next_cursor']}")).json()
            assert [one["id"] for one in rest["data"]] == [run_id]
            ended = await client.post(f"{RUNS}/runs/{run_id}/abandon", json={})
            assert (ended.status_code, ended.json()["code"]) == (409, "reconciliation_ended")
            stuck = (await client.post(RUNS, json={})).json()["id"]
        async with client_of(api.app, running, of_globex.key) as client:
            assert [one["id"] for one in (await client.get(f"{RUNS}/runs")).json()["data"]] == [other["id"]]
            assert (await client.get(f"{RUNS}/runs/{run_id}")).status_code == 404
            assert (await client.post(f"{RUNS}/runs/{stuck}/abandon", json={})).status_code == 404
        async with client_of(api.app, running, key.key) as client:
            given_up = await client.post(f"{RUNS}/runs/{stuck}/abandon", json={"reason": "no rights"})
            assert (given_up.status_code, given_up.json()["state"]) == (200, "abandoned")
            assert given_up.json()["error"] == "given up by support: no rights"
        async with client_of(api.app, running, reader.key) as client:
            assert (await client.post(RUNS, json={})).status_code == 403
    audited, *_, last = await path.rows(
        "SELECT actor, action, subject_id, reason FROM audit_log WHERE action LIKE 'reconc%' ORDER BY id"
    )
    assert audited == {
        "actor": "support:anna",
        "action": "reconciliation.start",
        "subject_id": run_id,
        "reason": "after the incident",
    }
    assert (last["action"], last["subject_id"]) == ("reconciliation.abandon", stuck)


async def test_the_terminal_ends_with_4_where_a_check_finds_a_drift(
    path: EventPath, settings: Settings
) -> None:
    customer = await path.make_customer("u 1")
    await path.drain()
    await path.buy(customer, "pro", "month")
    stripe = {
        "TOLLHOUSE_STRIPE_API_BASE": path.stripe.url,
        "TOLLHOUSE_STRIPE_SECRET_KEY": path.stripe.secret_key,
        "TOLLHOUSE_STRIPE_RATE": "0",
        "TOLLHOUSE_RECONCILE_SETTLE_S": "0.001",
    }
    of_user = ("reconcile", "--project", "acme", "--user", "u 1")
    checked = await type_in(settings, *of_user, "--check", **stripe)
    assert checked.exit_code == 4, checked.output
    assert "missing_subscription" in checked.stdout
    assert "without --check has it read again" in checked.stdout
    healed = await type_in(settings, *of_user, **stripe)
    assert healed.exit_code == 0, healed.output
    assert "1 drifts, 1 are being healed" in healed.stdout
    await path.drain()
    assert await path.is_granted("export", "u 1")
    again = await type_in(settings, *of_user, "--check", **stripe)
    assert (again.exit_code, "0 drifts" in again.stdout) == (0, True), again.output
    assert (await type_in(settings, "reconcile", "--user", "u 1", **stripe)).exit_code == 2

    nothing = await type_in(settings, "reconcile", "--abandon")
    assert (nothing.exit_code, "nothing to give up" in nothing.output) == (2, True), nothing.output
    await path.stripe.fail("/v1/disputes", status=503, times=None)
    assert (await type_in(settings, "reconcile", **stripe)).exit_code == 3
    stuck = await type_in(settings, "reconcile", **stripe)
    assert (stuck.exit_code, "`tollhouse reconcile --abandon` gives it up" in stuck.stderr) == (3, True)
    assert (await type_in(settings, "reconcile", "--abandon", "--check")).exit_code == 2
    given_up = await type_in(settings, "reconcile", "--abandon", "--reason", "no rights")
    assert "is over at disputes, given up by" in given_up.stdout, given_up.output
    shown = await type_in(settings, "reconcile", "--runs")
    assert "abandoned" in shown.stdout
