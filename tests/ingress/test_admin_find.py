"""`/api/v1/admin/find`, `/users` and `/events`: what operators see, and that no e-mail is kept on the way."""

import pytest

from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress import api
from ingress.lifespan import open_running
from tests.flows.event_path import running_path
from tests.ingress.doors import client_of

EMAIL = "canary.anna@example.com"
ADMIN = "/api/v1/admin"


async def test_an_e_mail_finds_its_user_and_is_in_no_log_answer_or_row(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        running_path(settings) as path,
        open_running("api", path.context.settings) as running,
    ):
        customer = await path.make_customer("u_1")
        await path.buy(customer)
        await path.create(f"/v1/customers/{customer}", {"email": EMAIL})
        for event in await path.events(types=["customer.subscription.created"]):
            await path.deliver(event)
        await path.drain()
        created = await create_key(running.context, kind="operator", name="support")
        async with client_of(api.app, running, created.key) as client:
            capsys.readouterr()
            found = await client.get(f"{ADMIN}/find", params={"q": EMAIL})
            nowhere = await client.get(f"{ADMIN}/find", params={"q": f"other.{EMAIL}"})
            printed = "".join(capsys.readouterr())
            assert [(one["id"], one["user_id"]) for one in found.json()["data"]] == [(customer, "u_1")]
            assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found_anywhere")
            assert f"{ADMIN}/find" in printed, "the calls are in the access log"
            for text in (printed, found.text, nowhere.text):
                assert "canary" not in text

            user = (await client.get(f"{ADMIN}/users/u_1", params={"project": "acme"})).json()
            assert {one["app"] for one in user["answers"]} == {"editor", "viewer"}
            assert [one["stripe_customer_id"] for one in user["customers"]] == [customer]
            of_user = {"project": "acme", "user_id": "u_1"}
            (event,) = (await client.get(f"{ADMIN}/events", params=of_user)).json()["data"]
            shown = (await client.get(f"{ADMIN}/events/{event['event_id']}")).json()
            assert (event["state"], shown["event"]["event_id"]) == ("processed", event["event_id"])
        theirs = await create_key(running.context, kind="operator", name="globex", project="globex")
        async with client_of(api.app, running, theirs.key) as client:
            for address in (
                f"find?q={customer}",
                f"find?q={EMAIL}",
                "users/u_1",
                f"events/{event['event_id']}",
            ):
                assert (await client.get(f"{ADMIN}/{address}")).status_code == 404, address
        tables = await path.rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        names = {row["tablename"] for row in tables}
        assert {"users", "stripe_customers", "audit_log", "webhook_events"} <= names
        for name in sorted(names):
            assert await path.rows(f"SELECT 1 FROM {name} t WHERE t::text LIKE '%canary%'") == [], name
