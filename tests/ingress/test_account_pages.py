"""Billing, catalog and portal: what an app shows its user about money, on the whole path with the simulator.

One deployment for each story: users buy, fail to pay and leave, and every door is asked about them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import pytest

from domain.flows.manage_keys import create_key
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.rules.catalog import PortalOptions
from domain.settings import Secret, Settings
from ingress import api, read
from ingress.lifespan import Running, open_running
from tests.flows.event_path import CATALOG, EventPath, running_path
from tests.ingress.doors import client_of
from tests.proxy import proxied

RETURN = "http://localhost:3000/account"


class Pages:
    """What one app's backend sees."""

    def __init__(self, path: EventPath, client: httpx2.AsyncClient) -> None:
        self.path = path
        self.client = client

    async def get(self, name: str, user_id: str | None = None, status: int = 200) -> Any:
        user = {} if user_id is None else {"user_id": user_id}
        address = httpx2.URL(f"/api/v1/{name}").copy_merge_params(user)
        answer = await self.client.get(address)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def open(self, user_id: str, *, status: int = 201, **wish: Any) -> Any:
        body = {"user_id": user_id, "return_url": RETURN, **wish}
        answer = await self.client.post("/api/v1/portal/session", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def relations(self, user_id: str) -> dict[str, str]:
        shown = await self.get("catalog", user_id)
        return {plan["key"]: plan["relation"] for plan in shown["plans"]}

    async def synced(self) -> None:
        """Everything Stripe has made is delivered and worked off."""
        for event in await self.path.events():
            await self.path.deliver(event)
        await self.path.drain()


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    async with running_path(settings) as running:
        yield running


@pytest.fixture
async def pages(path: EventPath) -> AsyncIterator[Pages]:
    running = Running(path.context, "api")
    created = await create_key(path.context, kind="app", project="acme", app="editor", name="backend")
    async with client_of(api.app, running, created.key) as client:
        yield Pages(path, client)


async def test_nobody_knows_the_user_and_looking_changes_nothing(pages: Pages) -> None:
    calls = (await pages.path.stripe.stats())["total_calls"]
    before = await counts(pages.path)
    billing = await pages.get("billing", "u_new")
    assert (billing["subscriptions"], billing["purchases"], billing["payment_problem"]) == ([], [], None)
    assert billing["portal"] == {"available": False, "reason": "no_customer"}
    eligibility = await pages.get("portal/eligibility", "u_new")
    assert (eligibility["available"], eligibility["reason"]) == (False, "no_customer")
    assert {flow["reason"] for flow in eligibility["flows"].values()} == {"no_customer"}
    assert set((await pages.relations("u_new")).values()) == {"available"}
    assert (await pages.open("u_new", status=409))["code"] == "no_customer"
    # A customer who looked at a checkout and left has nothing to manage.
    customer = await pages.path.make_customer("u_new")
    assert (await pages.open("u_new", status=409))["code"] == "no_billing_history"
    await pages.path.execute(
        "UPDATE stripe_customers SET is_primary = false, deleted_at = clock_timestamp() "
        "WHERE stripe_customer_id = $1",
        customer,
    )
    assert (await pages.get("portal/eligibility", "u_new"))["reason"] == "customer_deleted"
    assert (await pages.open("u_new", status=409))["code"] == "customer_deleted"
    # The test's own customer and its link.
    made = {"users": 1, "stripe_customers": 1, "sync_targets": 1}
    assert await counts(pages.path) == {**before, **made}
    # The one call is the test's own, which made the customer.
    assert (await pages.path.stripe.stats())["total_calls"] == calls + 1

    for name in ("billing", "portal/eligibility"):
        refused = await pages.get(name, status=422)
        assert [error["field"] for error in refused["errors"]] == ["user_id"]


async def counts(path: EventPath) -> dict[str, int]:
    """Rows of each table that a door could write."""
    tables = ("users", "stripe_customers", "checkout_sessions", "webhook_events", "sync_targets", "audit_log")
    return {table: (await path.rows(f"SELECT count(*) AS n FROM {table}"))[0]["n"] for table in tables}


async def test_what_was_bought_is_shown_to_its_app_and_to_nobody_else(pages: Pages) -> None:
    path = pages.path
    customer = await path.make_customer("u_1")
    foreign = await path.make_customer("u_1", "globex")
    await path.buy(customer, "pro", "month", 5)
    await path.buy(customer, "pass", "once")
    await buy_plus(path, foreign)
    await pages.synced()
    await path.stripe.simulator.sender.idle.wait()
    calls = (await path.stripe.stats())["total_calls"]

    billing = await pages.get("billing", "u_1")
    [subscription], [purchase] = billing["subscriptions"], billing["purchases"]
    [item] = subscription["items"]
    assert (subscription["group"], subscription["status"], subscription["ends_at"]) == (
        "main",
        "active",
        None,
    )
    assert subscription["renews_at"] > billing["as_of"]
    assert (item["plan"], item["name"], item["price"], item["quantity"]) == ("pro", "Acme Pro", "month", 5)
    assert (item["unit_amount_minor"], item["amount_minor"], item["currency"]) == (1900, 9500, "usd")
    assert (purchase["plan"], purchase["is_active"], purchase["paid_minor"]) == ("pass", True, 900)
    assert (purchase["reason"], purchase["currency"]) == ("purchase", "usd")
    assert purchase["ends_at"] > billing["as_of"]
    assert (billing["payment_problem"], billing["portal"]) == (None, {"available": True, "reason": None})
    relations = await pages.relations("u_1")
    assert relations == {
        "pro": "current",
        "pass": "current",
        "team": "upgrade",
        "extra_projects": "available",
        "founder": "available",
    }
    assert (await path.stripe.stats())["total_calls"] == calls

    # The same user id of another project is somebody else.
    assert "plus" not in str(billing)
    created = await create_key(path.context, kind="app", project="globex", app="board", name="x")
    async with client_of(api.app, Running(path.context, "api"), created.key) as client:
        theirs = Pages(path, client)
        shown = str([await theirs.get(name, "u_1") for name in ("billing", "catalog", "portal/eligibility")])
        assert "plus" in shown
        ours = ("acme", "'pro'", "'pass'", subscription["id"], purchase["id"], customer)
        assert [word for word in ours if word in shown] == []
        assert (await client.get("/api/v1/billing?user_id=u_1&project=acme")).json()[
            "code"
        ] == "wrong_project"
        opened = await theirs.open("u_1")
        assert (await session_of(path, opened))["customer"] == foreign


async def buy_plus(path: EventPath, customer_id: str) -> None:
    params = {
        "mode": "subscription",
        "line_items": [{"price": "price_globex.plus.month", "quantity": 1}],
        "success_url": RETURN,
        "customer": customer_id,
    }
    await path.stripe.pay((await path.create("/v1/checkout/sessions", params))["id"])


async def session_of(path: EventPath, opened: dict[str, Any]) -> dict[str, Any]:
    """The portal session as Stripe has it."""
    assert set(opened) == {"id", "url"}
    return path.stripe.account.load("billing_portal.session", opened["id"])


def configurations(path: EventPath) -> list[dict[str, Any]]:
    return list(path.stripe.account.rows.get("billing_portal.configuration", {}).values())


async def test_the_portal_is_opened_with_the_projects_own_configuration_and_changes_answers(
    pages: Pages,
) -> None:
    path = pages.path
    customer = await path.make_customer("u_1")
    await path.buy(customer, "pro", "month", 5)
    await pages.synced()

    # Another project's, and one that somebody made in the dashboard, are not ours to use.
    await path.stripe.save_portal()
    opened = await asyncio.gather(*(pages.open("u_1") for _ in range(5)))
    [ours] = [one for one in configurations(path) if not one["is_default"]]
    sessions = [await session_of(path, one) for one in opened]
    assert {(one["customer"], one["configuration"], one["return_url"]) for one in sessions} == {
        (customer, ours["id"], RETURN)
    }
    assert (ours["metadata"]["tollhouse_project"], ours["metadata"]["tollhouse_env"]) == ("acme", "test")

    # Straight to the switch; the seats are kept.
    wish = {"type": "subscription_update_confirm", "plan": "team", "price": "year", "group": "main"}
    flow = (await session_of(path, await pages.open("u_1", flow=wish)))["flow"]
    [item] = flow["subscription_update_confirm"]["items"]
    assert (item["price"], item["quantity"]) == ("price_acme.team.year", 5)
    for kind in ("payment_method_update", "subscription_update", "subscription_cancel"):
        assert (await session_of(path, await pages.open("u_1", flow={"type": kind})))["flow"]["type"] == kind
    await path.stripe.portal(opened[0]["url"], "switch", **form_of(flow))
    await pages.synced()
    assert (await pages.relations("u_1"))["team"] == "current"
    assert (await pages.relations("u_1"))["pro"] == "downgrade"

    await path.stripe.portal(
        opened[0]["url"], "cancel", subscription=flow["subscription_update_confirm"]["subscription"]
    )
    await pages.synced()
    [subscription] = (await pages.get("billing", "u_1"))["subscriptions"]
    assert subscription["renews_at"] is None
    assert subscription["ends_at"] is not None
    eligibility = await pages.get("portal/eligibility", "u_1")
    assert eligibility["available"]
    assert eligibility["flows"]["subscription_cancel"] == {"available": False, "reason": "set_to_cancel"}
    assert (await pages.open("u_1", status=409, flow={"type": "subscription_cancel"}))[
        "code"
    ] == "set_to_cancel"


def form_of(flow: dict[str, Any]) -> dict[str, str]:
    details = flow["subscription_update_confirm"]
    return {"subscription": details["subscription"], "price": details["items"][0]["price"]}


async def test_of_several_subscriptions_a_flow_names_groups_that_are_some(pages: Pages) -> None:
    path = pages.path
    customer = await path.make_customer("u_1")
    await path.buy(customer, "extra_projects")
    await path.buy(customer, "extra_projects")
    await pages.synced()
    ending = {"type": "subscription_cancel"}
    refused = await pages.open("u_1", status=422, flow=ending)
    assert [error["detail"] for error in refused["errors"]] == ["none of them is in a group"]
    assert "first page" in refused["detail"]
    await path.buy(customer, "pro")
    await pages.synced()
    refused = await pages.open("u_1", status=422, flow=ending)
    assert [error["detail"] for error in refused["errors"]] == ["required here, one of: main"]
    assert (await pages.open("u_1", flow={**ending, "group": "main"}))["url"]


async def test_the_configuration_follows_the_catalog_and_an_operator_may_switch_it_off(pages: Pages) -> None:
    path = pages.path
    await path.buy(await path.make_customer("u_1"), "pro")
    await pages.synced()
    # Stripe repeats a failure of its own for a day: under a key, so not to us.
    await path.stripe.fail("/v1/billing_portal/configurations", method="POST", status=500, saved=True)
    await pages.open("u_1")
    [first] = configurations(path)
    assert products_of(first) == ["acme_pro", "acme_team"]

    await publish(path, switch_plans=("team",))
    await path.stripe.fail("/v1/billing_portal/configurations/*", method="POST", status=500, saved=True)
    await pages.open("u_1", status=503)
    await pages.open("u_1")
    [second] = configurations(path)
    assert (second["id"], products_of(second)) == (first["id"], ["acme_team"])
    # Back again within the day is a change too, also for a process that knows nothing yet.
    await publish(path, switch_plans=("pro", "team"))
    async with fresh(pages) as others:
        await others.open("u_1")
    assert products_of(configurations(path)[0]) == ["acme_pro", "acme_team"]

    await publish(path, switch_plans=())
    await pages.open("u_1")
    assert not configurations(path)[0]["features"]["subscription_update"]["enabled"]
    eligibility = await pages.get("portal/eligibility", "u_1")
    assert eligibility["flows"]["subscription_update"]["reason"] == "no_switch_plans"
    refused = await pages.open("u_1", status=409, flow={"type": "subscription_update"})
    assert refused["code"] == "no_switch_plans"

    # A process that took it for good is told by Stripe's refusal, and looks again.
    await path.create(f"/v1/billing_portal/configurations/{first['id']}", {"active": False})
    refused = await pages.open("u_1", status=409)
    assert refused["code"] == "portal_not_configured"
    assert first["id"] in refused["detail"]
    assert len(configurations(path)) == 1
    await path.create(f"/v1/billing_portal/configurations/{first['id']}", {"active": True})
    await pages.open("u_1")

    # What Stripe knows and we do not yet: its customer is gone.
    [customer] = path.stripe.account.rows["customer"].values()
    await path.delete_customer(customer["id"])
    refused = await pages.open("u_1", status=422)
    assert (refused["code"], refused["errors"][0]["field"]) == ("stripe_refused", "customer")

    # Nowhere to return to: said before anything is tried.
    await publish(path, origins=())
    assert (await pages.get("billing", "u_1"))["portal"]["reason"] == "portal_not_configured"
    assert (await pages.open("u_1", status=422))["errors"][0]["field"] == "return_url"


def products_of(configuration: dict[str, Any]) -> list[str]:
    products = configuration["features"]["subscription_update"]["products"]
    return sorted(product["product"] for product in products)


async def publish(
    path: EventPath,
    *,
    switch_plans: tuple[str, ...] = (),
    origins: tuple[str, ...] = ("http://localhost:3000",),
    without: tuple[str, ...] = (),
) -> None:
    """The sample catalog again, changed."""
    catalog = read_catalog(CATALOG.read_text(), file="catalog.toml")["acme"]
    editor = msgspec.structs.replace(catalog.apps["editor"], redirect_origins=origins)
    plans = {key: plan for key, plan in catalog.plans.items() if key not in without}
    if "pro/year" in without:
        prices = {"month": plans["pro"].prices["month"]}
        plans["pro"] = msgspec.structs.replace(plans["pro"], prices=prices)
    changed = msgspec.structs.replace(
        catalog,
        portal=PortalOptions(switch_plans=switch_plans),
        apps={**catalog.apps, "editor": editor},
        plans=plans,
    )
    await publish_locally(path.context, {"acme": changed})


@asynccontextmanager
async def fresh(pages: Pages) -> AsyncIterator[Pages]:
    """The same app before a process that was just started."""
    async with client_of(api.app, Running(pages.path.context, "api")) as client:
        client.headers["authorization"] = pages.client.headers["authorization"]
        yield Pages(pages.path, client)


async def test_what_the_portal_cannot_do_is_refused_by_name(pages: Pages) -> None:
    path = pages.path
    customer = await path.make_customer("u_1")
    await path.buy(customer, "pro", "month", 2)
    await pages.synced()
    confirm = {"type": "subscription_update_confirm", "plan": "team", "price": "month"}
    for wish, status, said in (
        ({"return_url": "https://evil.example"}, 422, "return_url"),
        ({"return_url": "http://localhost:3000.evil.example"}, 422, "return_url"),
        ({"return_url": RETURN + "?s={CHECKOUT_SESSION_ID}"}, 422, "return_url"),
        ({"flow": {"type": "subscription_pause"}}, 422, "flow.type"),
        ({"flow": {"type": "subscription_cancel", "subscription": "sub_1"}}, 422, "flow.subscription"),
        ({"flow": {**confirm, "price": "once"}}, 422, "flow.price"),
        ({"flow": {**confirm, "plan": "founder", "price": "once"}}, 422, "flow.price"),
        ({"flow": {**confirm, "plan": "pro"}}, 409, "nothing_to_change"),
        ({"flow": {**confirm, "group": "other"}}, 404, "no_subscription"),
        ({"customer": "cus_1"}, 422, "customer"),
    ):
        refused = await pages.open("u_1", status=status, **wish)
        assert said == (refused["errors"][0]["field"] if refused["errors"] else refused["code"])
    assert not path.stripe.account.rows.get("billing_portal.session")

    [item] = path.stripe.account.rows["subscription_item"].values()
    subscription_id = item["subscription"]
    await add_item(path, subscription_id, "price_acme.extra_projects.month")
    await pages.synced()
    assert [len(one["items"]) for one in (await pages.get("billing", "u_1"))["subscriptions"]] == [2]
    for kind in ("subscription_update", "subscription_update_confirm"):
        flow = confirm if kind in confirm.values() else {"type": kind}
        refused = await pages.open("u_1", status=409, flow=flow)
        assert (refused["code"], "subscription/change" in refused["detail"]) == ("multiple_items", True)
    await pages.open("u_1", flow={"type": "subscription_cancel"})

    await plan_change(path, subscription_id, {"price": "price_acme.team.month", "quantity": 3})
    await pages.synced()
    assert (await pages.relations("u_1"))["team"] == "scheduled"
    [subscription] = (await pages.get("billing", "u_1"))["subscriptions"]
    [coming] = subscription["pending_change"]["items"]
    assert (coming["plan"], coming["price"], coming["quantity"]) == ("team", "month", 3)
    assert (coming["amount_minor"], coming["currency"], coming["interval"]) == (14_700, "usd", "month")
    refused = await pages.open("u_1", status=409, flow={"type": "subscription_cancel"})
    assert refused["code"] == "change_scheduled"

    # Two subscriptions: which one must be said.
    await path.stripe.pay(await path.open_checkout(customer, "extra_projects"))
    await pages.synced()
    refused = await pages.open("u_1", status=422, flow={"type": "subscription_cancel"})
    assert refused["errors"][0]["field"] == "flow.group"


async def plan_change(path: EventPath, subscription_id: str, *items: dict[str, Any]) -> None:
    """Other items from the next period on, as a schedule at Stripe."""
    made = await path.create("/v1/subscription_schedules", {"from_subscription": subscription_id})
    [present] = made["phases"]
    held = [{"price": item["price"], "quantity": item["quantity"]} for item in present["items"]]
    begun = {"items": held, "start_date": present["start_date"], "end_date": present["end_date"]}
    await path.create(f"/v1/subscription_schedules/{made['id']}", {"phases": [begun, {"items": list(items)}]})


async def add_item(path: EventPath, subscription_id: str, price: str) -> None:
    await path.create("/v1/subscription_items", {"subscription": subscription_id, "price": price})


async def test_a_failed_payment_is_told_with_the_end_of_its_grace_and_where_to_pay(pages: Pages) -> None:
    path = pages.path
    clock = await path.make_clock()
    customer = await path.make_customer("u_1", test_clock=clock)
    await path.buy(customer, "pro")
    await path.stripe.change_card(customer, "pm_card_chargeCustomerFail")
    await path.advance(clock, days=32)
    await pages.synced()

    billing = await pages.get("billing", "u_1")
    problem = billing["payment_problem"]
    [subscription] = billing["subscriptions"]
    assert (subscription["status"], problem["subscription"]) == ("past_due", subscription["id"])
    assert problem["since"] < billing["as_of"]
    # The page and the answers say the same.
    export = (await pages.get("entitlements/export", "u_1"))["ends_at"]
    assert problem["grace_ends_at"] == export
    assert (await pages.relations("u_1"))["pro"] == "current"
    invoice = next(one for one in path.stripe.account.rows["invoice"].values() if one["status"] == "open")
    assert problem["pay_url"].endswith(invoice["id"]) or problem["pay_url"] == invoice["hosted_invoice_url"]

    await path.stripe.change_card(customer, "pm_card_visa")
    await path.create(f"/v1/invoices/{invoice['id']}/pay", {})
    await pages.synced()
    billing = await pages.get("billing", "u_1")
    assert (billing["payment_problem"], billing["subscriptions"][0]["status"]) == (None, "active")


async def test_a_plan_or_price_that_is_sold_no_more_is_shown_to_who_pays_for_it(pages: Pages) -> None:
    path = pages.path
    await path.buy(await path.make_customer("u_team"), "team")
    await path.buy(await path.make_customer("u_year"), "pro", "year")
    await pages.synced()
    await publish(path, without=("team", "pro/year"))

    assert "team" not in await pages.relations("u_year")
    assert (await pages.relations("u_team"))["team"] == "current"
    [team] = [one for one in (await pages.get("catalog", "u_team"))["plans"] if one["key"] == "team"]
    assert (team["removed"], [price["amounts"] for price in team["prices"]]) == (True, [{"usd": 4900}])
    [pro] = [one for one in (await pages.get("catalog", "u_year"))["plans"] if one["key"] == "pro"]
    assert [(price["key"], price.get("removed")) for price in pro["prices"]] == [
        ("month", None),
        ("year", True),
    ]
    [pro] = [one for one in (await pages.get("catalog"))["plans"] if one["key"] == "pro"]
    assert [price["key"] for price in pro["prices"]] == ["month"]
    [item] = (await pages.get("billing", "u_team"))["subscriptions"][0]["items"]
    assert (item["plan"], item["amount_minor"]) == ("team", 4900)


async def test_the_catalog_is_kept_by_its_version_and_by_what_a_user_has(pages: Pages) -> None:
    path = pages.path
    running = Running(path.context, "read")
    async with client_of(read.app, running) as client:
        client.headers["authorization"] = pages.client.headers["authorization"]
        first = await client.get("/api/v1/catalog")
        assert first.headers["etag"] == '"c1"'
        assert first.headers["cache-control"] == "private, must-revalidate"
        assert first.headers["vary"] == "Authorization"
        assert first.content == (await pages.client.get("/api/v1/catalog")).content
        assert all("relation" not in plan for plan in first.json()["plans"])
        again = await client.get("/api/v1/catalog", headers={"if-none-match": '"c1"'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"c1"')

        own = await client.get("/api/v1/catalog?user_id=u_1")
        tag = own.headers["etag"]
        assert (await ask(client, tag)).status_code == 304
        await path.buy(await path.make_customer("u_1"), "pro")
        await pages.synced()
        changed = await ask(client, tag)
        assert (changed.status_code, changed.headers["etag"] != tag) == (200, True)

        await publish(path)
        assert (await client.get("/api/v1/catalog", headers={"if-none-match": '"c1"'})).status_code == 200

        # The viewer sees its own features, and no plan that gives none of them.
        created = await create_key(path.context, kind="project", project="acme", name="gateway")
        client.headers["authorization"] = f"Bearer {created.key}"
        viewer = (await client.get("/api/v1/catalog?app=viewer")).json()
        assert "extra_projects" not in {plan["key"] for plan in viewer["plans"]}
        assert "seats" not in str(viewer)
        assert (await client.get("/api/v1/catalog?app=nothing")).json()["code"] == "unknown_app"
        assert (await client.get("/api/v1/catalog")).json()["errors"][0]["field"] == "app"
        # The account page needs more than `read` holds.
        assert (await client.get("/api/v1/billing?user_id=u_1")).status_code == 404


async def ask(client: httpx2.AsyncClient, tag: str) -> httpx2.Response:
    return await client.get("/api/v1/catalog?user_id=u_1", headers={"if-none-match": tag})


async def test_each_page_has_its_scope_and_is_503_while_postgres_is_away(path: EventPath) -> None:
    async with proxied(path.context.settings.database_url.reveal()) as proxy:
        behind = msgspec.structs.replace(path.context.settings, database_url=Secret(proxy.url))
        async with open_running("api", behind) as running, client_of(api.app, running) as client:
            pages, scopes = Pages(path, client), ("entitlements:read", "billing:read", "portal:write")
            names = ("catalog", "billing", "portal/eligibility")
            for scope, name in zip(scopes, names, strict=True):
                created = await create_key(
                    path.context, kind="project", project="acme", name=name, scopes=[scope]
                )
                client.headers["authorization"] = f"Bearer {created.key}"
                for page in names:
                    await pages.get(f"{page}?app=editor", "u_1", 200 if page == name else 403)
                await pages.open("u_1", status=422 if scope == "portal:write" else 403)
            created = await create_key(path.context, kind="app", project="acme", app="editor", name="all")
            client.headers["authorization"] = f"Bearer {created.key}"
            await pages.get("billing", "u_1")
            await proxy.cut()
            for name in names:
                await pages.get(name, "u_1", 503)
            await pages.open("u_1", status=503)
