"""A checkout that is not the first: repeated under a key, claimed, and beside what the user holds already."""

import asyncio
from typing import Any

import httpx2
import msgspec

from deploy.local.stripe_simulator.testing import SimulatorHandle
from domain.flows import claim_checkout as claims
from domain.flows.idempotency import prune_keys
from domain.flows.manage_keys import create_key
from domain.flows.merge_users import MergeWish, merge_users
from domain.flows.publish_catalog import publish_locally
from domain.flows.record_action import Operator
from domain.flows.sync_user import sync_user
from domain.rules.catalog import Plan, Price
from ingress import api
from ingress.lifespan import Running
from tests.conftest import with_settings
from tests.ingress.doors import client_of
from tests.ingress.test_checkout import BODY, PATH, client, count, read, rows, running, stripe
from tests.seeds import make_catalog

__all__ = ["client", "running", "stripe"]


async def execute(running: Running, sql: str) -> None:
    async with running.context.database.transaction() as connection:
        await connection.execute(sql)


async def claim(running: Running, client: httpx2.AsyncClient, name: str) -> httpx2.Response:
    """A claim that comes long after the last."""
    await execute(running, "UPDATE checkout_sessions SET claimed_at = NULL")
    return await client.post(f"{PATH}/{name}/claim")


# ── the same call again ─────────────────────────────────────────────────────────────────────────────


async def test_parallel_calls_under_one_key_open_one_session_and_are_answered_the_same(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    key = {"Idempotency-Key": "order-7"}
    answers = await asyncio.gather(*(client.post(PATH, json=BODY, headers=key) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    busy = [answer for answer in answers if answer.status_code == 409]
    assert {(one.json()["code"], one.headers["retry-after"]) for one in busy} <= {
        ("idempotency_in_flight", "1")
    }
    [first] = [
        answer for answer in answers if "idempotent-replayed" not in answer.headers and answer.is_success
    ]
    again = await client.post(PATH, json=dict(reversed(BODY.items())), headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (count(stripe, "checkout.session"), count(stripe, "customer")) == (1, 1)
    other = await client.post(PATH, json={**BODY, "trial_days": 7}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_what_stripe_refuses_is_told_by_its_parameter_and_frees_the_key(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    key = {"Idempotency-Key": "order-7"}
    said = {"message": "Invalid email: a@b.c", "type": "invalid_request_error", "param": "customer_email"}
    await stripe.fail(
        "/v1/checkout/sessions", status=400, times=1, body={"error": {**said, "code": "email_invalid"}}
    )
    refused = await client.post(PATH, json=BODY, headers=key)
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (422, "stripe_refused")
    assert problem["errors"] == [{"field": "customer_email", "detail": "refused by Stripe: email_invalid"}]
    assert "a@b.c" not in refused.text
    assert (await client.post(PATH, json=BODY, headers=key)).status_code == 201

    # Away is no refusal: the same call goes on with the same row.
    away = {"Idempotency-Key": "order-8"}
    await stripe.fail("/v1/checkout/sessions", status=500, times=9)
    assert (await client.post(PATH, json=BODY, headers=away)).status_code == 503
    await stripe.clear_faults()
    opened = (await client.post(PATH, json=BODY, headers=away)).json()
    creating = [row for row in await rows(running, "checkout_sessions") if row["status"] == "creating"]
    # The refused one's: its row says so, and nobody was told of a page.
    assert len(creating) == 1
    assert opened["ref"] != str(creating[0]["ref"])
    assert await prune_keys(running.context) == 0


async def test_a_customer_that_stripe_has_just_deleted_is_replaced_after_one_refusal(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    opened = (await client.post(PATH, json=BODY)).json()
    [row] = await rows(running, "stripe_customers")
    await running.context.stripe_or_raise.delete(f"/v1/customers/{row['stripe_customer_id']}")
    refused = await client.post(PATH, json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (422, "stripe_refused")
    assert [error["field"] for error in refused.json()["errors"]] == ["customer"]
    [target] = [one for one in await rows(running, "sync_targets") if one["kind"] == "customer"]
    await running.syncer.sync_target(target["id"])
    replaced = await client.post(PATH, json=BODY)
    assert replaced.status_code == 201, replaced.text
    assert len(await rows(running, "stripe_customers")) == 2
    assert replaced.json()["id"] != opened["id"]


# ── claim ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_claim_has_stripe_read_and_answers_what_the_user_may_use(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    opened = (await client.post(PATH, json=BODY)).json()
    shown = (await client.get(f"{PATH}/{opened['ref']}")).json()
    assert (shown["id"], shown["user_id"], shown["state"]) == (opened["id"], "u_17", "open")
    assert (shown["settled"], shown["items"]) == (False, BODY["items"])

    early = await claim(running, client, opened["id"])
    assert (early.status_code, early.json()["state"], early.json()["settled"]) == (200, "open", False)
    assert early.json()["entitlements"]["export"]["granted"] is False
    await stripe.pay(opened["id"])
    too_soon = await client.post(f"{PATH}/{opened['id']}/claim")
    assert (too_soon.status_code, too_soon.headers["retry-after"]) == (202, "2")
    pages = await asyncio.gather(*(claim(running, client, name) for name in (opened["id"], opened["ref"])))
    for page in pages:
        assert page.status_code == 200, page.text
        assert (page.json()["state"], page.json()["settled"]) == ("complete", True)
        assert page.json()["entitlements"]["seats"]["value"] == 25
    events = await rows(running, "webhook_events")
    assert {(one["source"], one["object_kind"], one["state"]) for one in events} == {
        ("claim", "checkout.session", "processed")
    }

    calls = (await stripe.stats())["calls"]
    settled = await claim(running, client, opened["id"])
    assert (settled.status_code, settled.json()) == (200, pages[0].json())
    assert (await stripe.stats())["calls"] == calls
    await refuse_strangers(running, opened)


async def refuse_strangers(running: Running, opened: dict[str, Any]) -> None:
    viewer = await create_key(running.context, kind="app", project="acme", app="viewer", name="x")
    async with client_of(api.app, running, viewer.key) as other:
        for name in (opened["id"], opened["ref"], "cs_none", "%00"):
            for answer in (await other.get(f"{PATH}/{name}"), await other.post(f"{PATH}/{name}/claim")):
                assert (answer.status_code, answer.json()["code"]) == (404, "unknown_checkout")


async def test_a_claim_that_stripe_is_too_slow_for_is_not_answered_as_read_and_goes_on(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    opened = (await client.post(PATH, json=BODY)).json()
    await stripe.pay(opened["id"])
    await stripe.fail("/v1/checkout/sessions/*", latency_s=0.5, times=1)
    hasty = msgspec.structs.replace(
        running.context, settings=with_settings(running.context.settings, read_back_s=0.1)
    )
    began = await claims.claim_checkout(hasty, running.syncer, "acme", "editor", opened["id"])
    assert (began.is_read, began.claimed.state, len(began.owed)) == (False, "open", 1)
    ended = await claims.claim_checkout(running.context, running.syncer, "acme", "editor", opened["id"])
    assert (ended.is_read, ended.claimed.state, ended.claimed.settled) == (True, "complete", True)
    assert ended.owed == ()


async def test_a_claim_reads_a_page_of_a_customer_who_is_not_the_users_first(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    """Opened before somebody logged in, paid after the two users were merged."""
    await client.post(PATH, json={**BODY, "items": [{"plan": "pass", "price": "once"}]})
    opened = (await client.post(PATH, json={**BODY, "user_id": "visitor_9"})).json()
    wish = MergeWish(user_id="visitor_9", into_user_id="u_17", reason="logged in")
    await merge_users(running.context, "acme", wish, Operator(actor="backend"))
    await stripe.pay(opened["id"])
    page = await claim(running, client, opened["id"])
    assert (page.status_code, page.json()["user_id"], page.json()["state"]) == (200, "u_17", "complete")
    assert page.json()["entitlements"]["export"]["reason"] == "subscription_active"


async def test_a_delayed_payment_is_complete_and_not_settled(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    opened = (await client.post(PATH, json={**BODY, "items": [{"plan": "pass", "price": "once"}]})).json()
    await stripe.pay_later(opened["id"])
    waiting = (await claim(running, client, opened["id"])).json()
    assert (waiting["state"], waiting["settled"]) == ("complete", False)
    assert waiting["entitlements"]["export"]["granted"] is False
    await stripe.settle(opened["id"])
    settled = (await claim(running, client, opened["id"])).json()
    assert (settled["settled"], settled["entitlements"]["export"]["granted"]) == (True, True)


# ── beside what the user holds ──────────────────────────────────────────────────────────────────────


async def test_a_subscription_of_the_group_is_changed_and_not_bought_again(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    trial = {**BODY, "trial_days": 7}
    opened = (await client.post(PATH, json=trial)).json()
    await stripe.pay(opened["id"])
    # Nobody has told us of the payment: ending that page finds out.
    for body, on_existing in ((BODY, "refuse"), (BODY, "add"), (trial, "switch")):
        refused = await client.post(PATH, json={**body, "on_existing": on_existing})
        assert (refused.status_code, refused.json()["code"]) == (409, "subscription_exists"), refused.text
        assert refused.json()["instead"] == {
            "method": "POST",
            "path": "/api/v1/subscription/change",
            "body": {"user_id": "u_17", "group": "main", "items": BODY["items"], "when": "now"},
        }
        if on_existing == "add":
            for target in await rows(running, "sync_targets"):
                await running.syncer.sync_target(target["id"])
    assert count(stripe, "checkout.session") == 1
    # What is in no group is sold beside it.
    passes = [{"plan": "pass", "price": "once"}]
    assert (await client.post(PATH, json={**BODY, "items": passes})).status_code == 201

    [subscription] = await rows(running, "subscriptions")
    await running.context.stripe_or_raise.delete(
        f"/v1/subscriptions/{subscription['stripe_subscription_id']}"
    )
    await execute(running, "UPDATE subscriptions SET status = 'canceled', ended_at = clock_timestamp()")
    used = await client.post(PATH, json=trial)
    assert (used.status_code, used.json()["code"]) == (409, "trial_used")
    assert (await client.post(PATH, json=BODY)).status_code == 201


async def test_of_two_open_pages_with_a_trial_of_a_plan_without_a_group_one_can_be_paid(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    base = make_catalog()
    price = Price(key="month", interval="month", currency="usd", amounts={"usd": 500})
    lone = Plan(key="lone", name="Lone", product_id="acme_lone", trial_days=9, prices={"month": price})
    catalog = msgspec.structs.replace(base, plans={**base.plans, "lone": lone})
    await stripe.seed(**(await publish_locally(running.context, {"acme": catalog})).stripe)
    plain = {**BODY, "items": [{"plan": "lone", "price": "month"}]}
    trial = {**plain, "trial_days": 9}
    opened = [(await client.post(PATH, json=body)).json() for body in (plain, trial, trial, BODY, plain)]
    states = [(await read(running, f"/v1/checkout/sessions/{one['id']}"))["status"] for one in opened]
    # A plan without a group may be bought twice, its trial may not.
    assert states == ["open", "expired", "open", "open", "open"]
    # Nobody has told us of the payment: ending that page finds out.
    await stripe.pay(opened[2]["id"])
    for _ in range(2):
        used = await client.post(PATH, json=trial)
        assert (used.status_code, used.json()["code"]) == (409, "trial_used"), used.text
        for target in await rows(running, "sync_targets"):
            await running.syncer.sync_target(target["id"])
    assert (await client.post(PATH, json=plain)).status_code == 201
    assert await rows(running, "checkout_turns") == []


async def test_what_lasts_a_lifetime_is_sold_once_until_it_is_given_back(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    base = make_catalog()
    once = Price(key="once", currency="usd", amounts={"usd": 29900})
    founder = msgspec.structs.replace(
        base.plans["pass"], key="founder", product_id="acme_founder", prices={"once": once}
    )
    catalog = msgspec.structs.replace(base, plans={**base.plans, "founder": founder})
    await stripe.seed(**(await publish_locally(running.context, {"acme": catalog})).stripe)
    forever, passes = ({**BODY, "items": [{"plan": plan, "price": "once"}]} for plan in ("founder", "pass"))
    opened = [(await client.post(PATH, json=body)).json() for body in (forever, passes, passes, forever)]
    states = [(await read(running, f"/v1/checkout/sessions/{one['id']}"))["status"] for one in opened]
    assert states == ["expired", "open", "open", "open"]
    # Nobody has told us of the payment: ending that page finds out.
    await stripe.pay(opened[3]["id"])
    for _ in range(2):
        twice = await client.post(PATH, json=forever)
        assert (twice.status_code, twice.json()["code"]) == (409, "already_bought"), twice.text
        for target in await rows(running, "sync_targets"):
            await running.syncer.sync_target(target["id"])
    assert twice.json()["errors"][0]["field"] == "items[0].plan"
    beside = {**BODY, "items": [*BODY["items"], *forever["items"]]}
    assert (await client.post(PATH, json=beside)).json()["code"] == "already_bought"
    others = {**forever, "user_id": "u_other"}
    assert [(await client.post(PATH, json=body)).status_code for body in (passes, others)] == [201, 201]
    # Who has half of it back still has it; who has all of it back may buy it again.
    [charge] = stripe.account.rows["charge"]
    operator = Operator(actor="cli:anna", request_id=None)
    for half, status in enumerate((409, 201)):
        wish = {"charge": charge, "amount": 29900 // 2}
        await running.context.stripe_or_raise.create("/v1/refunds", wish, idempotency_key=f"half {half}")
        await sync_user(running.context, running.syncer, "acme", BODY["user_id"], operator)
        assert (await client.post(PATH, json=forever)).status_code == status
    assert await rows(running, "checkout_turns") == []


async def test_a_customer_who_pays_in_another_currency_is_sold_that_one_or_nothing(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    base = make_catalog()
    price = Price(key="month", interval="month", currency="usd", amounts={"usd": 500, "eur": 500})
    both = Plan(
        key="both", name="Both", kind="addon", requires="pro", product_id="acme_both", prices={"month": price}
    )
    dollars = msgspec.structs.replace(price, amounts={"usd": 500})
    one = Plan(key="one", name="One", kind="addon", product_id="acme_one", prices={"month": dollars})
    catalog = msgspec.structs.replace(base, plans={**base.plans, "both": both, "one": one})
    published = await publish_locally(running.context, {"acme": catalog})
    await stripe.seed(**published.stripe)
    # Nobody is sold an add-on that would give nothing: its plan is bought along with it, or is there already.
    addon = {"plan": "both", "price": "month"}
    lone = await client.post(PATH, json={**BODY, "items": [addon]})
    assert (lone.status_code, lone.json()["code"]) == (422, "items_invalid")
    [error] = lone.json()["errors"]
    assert (error["field"], "pro" in error["detail"]) == ("items[0].plan", True)
    along = await client.post(PATH, json={**BODY, "items": [addon, *BODY["items"]]})
    assert along.status_code == 201, along.text
    opened = (await client.post(PATH, json=BODY)).json()
    await stripe.pay(opened["id"])
    assert (await claim(running, client, opened["id"])).json()["settled"]
    await execute(
        running, "UPDATE invoices SET currency = 'eur'; UPDATE subscription_items SET currency = 'eur'"
    )
    sold = await client.post(PATH, json={**BODY, "items": [{"plan": "both", "price": "month"}]})
    session = await read(running, f"/v1/checkout/sessions/{sold.json()['id']}")
    assert session["currency"] == "eur"
    refused = await client.post(PATH, json={**BODY, "items": [{"plan": "one", "price": "month"}]})
    assert (refused.status_code, refused.json()["code"]) == (409, "currency_mismatch")


# ── promotion codes ─────────────────────────────────────────────────────────────────────────────────


async def test_a_promotion_code_is_used_where_its_coupon_is_this_projects_alone(
    running: Running, stripe: SimulatorHandle, client: httpx2.AsyncClient
) -> None:
    ours = await make_code(running, "OURS", ["acme_pro"])
    for code, products in (("THEIRS", ["globex_pro"]), ("BOTH", ["acme_pro", "globex_pro"]), ("ALL", None)):
        await make_code(running, code, products)
        refused = await client.post(PATH, json={**BODY, "promotion_code": code})
        assert refused.status_code == 422, code
        assert [error["field"] for error in refused.json()["errors"]] == ["promotion_code"]
    for unknown in ("NONE", "promo_none"):
        assert (await client.post(PATH, json={**BODY, "promotion_code": unknown})).status_code == 422
    assert await rows(running, "users") == []
    for given in ("ours", ours):
        opened = await client.post(PATH, json={**BODY, "promotion_code": given})
        assert opened.status_code == 201, opened.text
        session = await read(running, f"/v1/checkout/sessions/{opened.json()['id']}")
        assert session["discounts"] == [{"coupon": None, "promotion_code": ours}]
        assert session["allow_promotion_codes"] is None


async def make_code(running: Running, code: str, products: list[str] | None) -> str:
    limited = {"applies_to": {"products": products}} if products else {}
    create = running.context.stripe_or_raise.create
    coupon = await create("/v1/coupons", {"percent_off": 10, **limited}, idempotency_key=f"coupon-{code}")
    promotion = {"type": "coupon", "coupon": coupon["id"]}
    made = await create(
        "/v1/promotion_codes", {"code": code, "promotion": promotion}, idempotency_key=f"code-{code}"
    )
    return str(made["id"])
