"""`/api/v1/admin/scheduler` and `tollhouse scheduler`: who may tell the jobs what, and what is answered."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from domain.flows.manage_keys import SCOPES, create_key
from domain.flows.note_jobs import JobNotes, Turn
from domain.settings import Settings
from domain.store import jobs
from ingress import api
from ingress.lifespan import Running, open_running
from tests.ingress.doors import client_of
from tests.ingress.terminal import answer_in, type_in
from tests.seeds import led, seed_catalog

PATH = "/api/v1/admin/scheduler"


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with open_running("api", settings) as opened:
        await seed_catalog(opened.context)
        yield opened


async def test_only_an_operator_of_every_project_sees_and_tells_the_jobs_of_the_deployment(
    running: Running,
) -> None:
    operator = await create_key(running.context, kind="operator", name="support")
    others = [
        await create_key(running.context, kind="operator", name="acme", project="acme"),
        await create_key(running.context, kind="project", name="whole", project="acme", scopes=SCOPES),
    ]
    for other in others:
        async with client_of(api.app, running, other.key) as client:
            for answer in (await client.get(PATH), await client.post(f"{PATH}/reconcile/run", json={})):
                assert (answer.status_code, answer.json()["code"]) == (403, "wrong_kind")
    async with led(running.context), client_of(api.app, running, operator.key) as client:
        seen = (await client.get(PATH)).json()
        assert seen["leader"]["name"] == "here:1"
        assert {one["state"] for one in seen["data"]} == {"ok"}
        said = {"idempotency-key": "k1"}
        for replayed in (None, "true"):
            paused = await client.post(f"{PATH}/reconcile/pause", json={"reason": "noise"}, headers=said)
            assert (paused.status_code, paused.json()["is_paused"]) == (200, True)
            assert paused.headers.get("idempotent-replayed") == replayed
        assert (await client.get(PATH)).json()["data"][0]["job"] == "reconcile", (
            "what is not well comes first"
        )
        refused = await client.post(f"{PATH}/sweep/pause", json={"reason": "noise"})
        assert (refused.status_code, refused.json()["code"]) == (409, "job_not_timed")
        unknown = await client.get(f"{PATH}/reconcil/runs")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_job")


async def test_a_terminal_says_the_same_and_waits_for_the_turn_that_it_asked_for(
    running: Running, settings: Settings
) -> None:
    said = await type_in(settings, "scheduler", "list")
    assert said.stdout.startswith("No scheduler leads: start one (`python -m workers.scheduler`).")
    async with led(running.context):
        paused = await type_in(settings, "scheduler", "pause", "prune_changes", "--reason", "a dispute")
        assert "tollhouse scheduler resume prune_changes" in paused.stdout
        listed = await type_in(settings, "scheduler", "list")
        assert listed.stdout.startswith("here:1 leads since ")
        assert "a dispute" in listed.stdout
        status = await type_in(settings, "status")
        assert "tollhouse scheduler resume prune_changes" in status.stdout

        ran, _ = await asyncio.gather(type_in(settings, "scheduler", "run", "prune_changes"), serve(running))
        assert ran.exit_code == 0, ran.output
        assert "prune_changes on here:1: went well, 7 done in 500 ms." in ran.stdout
        failed, _ = await asyncio.gather(
            type_in(settings, "scheduler", "run", "fill_gaps"), serve(running, error="Stripe is away")
        )
        assert (failed.exit_code, "failed: Stripe is away" in failed.stdout) == (1, True), failed.output
        (run,) = (await answer_in(settings, "scheduler", "runs", "prune_changes"))["data"]
        assert (run["done"], run["ran_by"]) == (7, "here:1")
        assert "went" not in (await type_in(settings, "scheduler", "runs", "reconcile")).stdout
        await say_under_way(running)
        under_way = await type_in(settings, "scheduler", "runs", "expire_payloads")
        assert re.search(r"running for \d+ s", under_way.stdout)
        assert "its scheduler has said nothing for " in under_way.stdout
        assert "broken off: gone (ended by b:2)" in under_way.stdout
        listed = await type_in(settings, "scheduler", "list")
        assert re.search(r"running for \d+ s on here:1", listed.stdout)
        status = await type_in(settings, "status")
        assert re.search(r"under way: expire_payloads for \d+ s", status.stdout)
        resumed = await answer_in(settings, "scheduler", "resume", "prune_changes")
        assert resumed["is_paused"] is False
    refused = await type_in(settings, "scheduler", "run", "sweep")
    assert refused.exit_code == 2
    assert "These can be: number_changes" in refused.output


async def say_under_way(running: Running) -> None:
    """One run that is, one of which nobody has told for a day, one that the next leader has ended."""
    async with running.context.database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO job_runs
                (run_id, job, ran_by, started_at, ended_at, turns, duration_s, done, error, ended_by)
            SELECT gen_random_uuid(), 'expire_payloads', 'here:1', at, ended_at, 0, took_s, 0, error, ended_by
            FROM (VALUES (clock_timestamp() - interval '40 s', NULL, 40, NULL, NULL),
                         (clock_timestamp() - interval '1 day', NULL, 60, NULL, NULL),
                         (clock_timestamp() - interval '2 days', clock_timestamp() - interval '1 day', 70,
                          'broken off: gone', 'b:2')) v(at, ended_at, took_s, error, ended_by)
            """
        )


async def serve(running: Running, *, error: str | None = None) -> None:
    """What a leader does with the wish, once it is there."""
    async with asyncio.timeout(20):
        orders: list[jobs.Order] = []
        while not any(order.asked_at for order in orders):
            async with running.context.database.connection() as connection:
                orders = await jobs.list_orders(connection)
            await asyncio.sleep(0.01)
    (order,) = [one for one in orders if one.asked_at]
    notes = JobNotes(running.context, "here:1", now=lambda: 0.5)
    turn = Turn(
        began_at=0.0, ended_at=0.5, done=7, error=error, asked_at=order.asked_at, asked_by=order.asked_by
    )
    if error is None:
        # Two turns are one run, which is kept from the first on.
        notes.add(order.job, replace(turn, ended_at=0.2, done=3, has_more=True))
        await notes.write()
        turn = replace(turn, began_at=0.2, done=4)
    notes.add(order.job, turn)
    await notes.write()
