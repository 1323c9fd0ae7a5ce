"""`users export`, `rename`, `merge` and `erase` through the door and in a terminal."""

from typing import Any

from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress import api
from ingress.lifespan import open_running
from tests.conftest import PEPPER
from tests.flows.event_path import EventPath, running_path
from tests.ingress.doors import client_of
from tests.ingress.terminal import type_in

ADMIN = "/api/v1/admin/users"
PROJECT = {"project": "acme"}
BY_WHOM = "SELECT actor FROM audit_log WHERE action LIKE 'user.%'"


async def test_a_user_is_renamed_merged_and_erased_through_the_door(settings: Settings) -> None:
    async with running_path(settings) as path, open_running("api", path.context.settings) as running:
        await bought(path, "u_1", "u_2")
        created = await create_key(running.context, kind="operator", name="support")
        async with client_of(api.app, running, created.key) as client:

            async def post(where: str, key: str, **body: Any) -> Any:
                headers = {"idempotency-key": key, "tollhouse-actor": "anna"}
                return await client.post(
                    f"{ADMIN}/{where}", params=PROJECT, json={"reason": "asked to", **body}, headers=headers
                )

            renamed = await post("u_1/rename", "k1", new_user_id="u_10")
            assert (renamed.status_code, renamed.json()["state"]) == (200, "renamed")
            again = await post("u_1/rename", "k1", new_user_id="u_10")
            assert (again.content, again.headers["idempotent-replayed"]) == (renamed.content, "true")
            foreseen = await post("merge", "k2", user_id="u_10", into_user_id="u_2", dry_run=True)
            assert [one["group"] for one in foreseen.json()["doubled"]] == ["main"]
            refused = await post("merge", "k3", user_id="u_10", into_user_id="u_2")
            assert (refused.status_code, refused.json()["code"]) == (409, "subscriptions_doubled")
            merged = await post("merge", "k3", user_id="u_10", into_user_id="u_2", even_if_doubled=True)
            assert merged.json()["moved"]["subscriptions"] == 1
            synced = await post("u_2/sync", "k5")
            assert (synced.status_code, len(synced.json()["customers"])) == (200, 2)
            assert [one.url for one in (merged, synced) if "owed" in one.json()] == [], (
                "ids that mean nothing"
            )
            exported = await client.get(f"{ADMIN}/u_2/export", params=PROJECT)
            assert len(exported.json()["subscriptions"]) == 2

            refused = await post("erase", "k4", user_id="u_2")
            assert (refused.status_code, refused.json()["code"]) == (409, "user_subscribed")
            erased = await post("erase", "k4", user_id="u_2", even_if_subscribed=True)
            said = erased.json()
            assert (said["state"], len(said["left_at_stripe"]), len(said["former"])) == ("erased", 2, 2)
            assert [word for word in ("u_1", "u_10", "u_2") if f'"{word}"' in erased.text] == []
            # What these calls were answered held ids that are gone; the calls are refused now.
            assert (await post("u_1/rename", "k1", new_user_id="u_10")).json()["code"] == "user_erased"
            actors = {row["actor"] for row in await path.rows(BY_WHOM)}
            assert actors == {"support", "support:anna"}


async def test_a_user_is_renamed_merged_exported_and_erased_in_a_terminal(settings: Settings) -> None:
    async with running_path(settings) as path:
        await bought(path, "u_1")
        (customer,) = await path.rows("SELECT stripe_customer_id AS id FROM stripe_customers")

        async def typed(*words: str, code: int = 0) -> str:
            done = await type_in(
                settings, "users", *words, "--project", "acme", TOLLHOUSE_KEY_PEPPERS=f"1:{PEPPER}"
            )
            assert done.exit_code == code, done.output
            return done.output

        why = ("--reason", "asked to")
        assert "nothing is in the way" in await typed("rename", "u_1", "u_10", *why, "--dry-run")
        assert "u_1 is u_10 now" in await typed("rename", "u_1", "u_10", *why)
        assert "Next: tollhouse users show u_10 --project acme" in await typed("show", "u_1")
        assert "name that one" in await typed("export", "u_1", code=2)
        assert "Nothing was written" in await typed("merge", "u_10", "u_1", *why, "--dry-run")
        assert "is u_1's" in await typed("merge", "u_10", "u_1", *why)
        assert customer["id"] in await typed("export", "u_1")
        assert "unknown" not in await typed("erase", "u_1", *why, "--dry-run")
        assert "Aborted" in await typed("erase", "u_1", *why, code=1)
        assert "Stripe goes on to bill" in await typed("erase", "u_1", *why, "--yes", code=2)
        said = await typed("erase", "u_1", *why, "--yes", "--even-if-subscribed")
        assert f"stripe customers delete {customer['id']}" in said
        assert "was erased" in await typed("rename", "u_1", "u_3", *why, code=2)


async def bought(path: EventPath, *users: str) -> None:
    for user in users:
        await path.buy(await path.make_customer(user))
    for event in await path.events():
        await path.deliver(event)
    await path.drain()
