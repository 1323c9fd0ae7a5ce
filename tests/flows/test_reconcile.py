"""Reconcile: what differs is named once, and heals by an event; a check repairs nothing."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from domain.flows.reconcile import RunDetail, Wish, begin, carry_out, show_run
from domain.flows.record_action import Operator
from domain.rules.drift import KINDS
from domain.rules.events import OLD_NAMES, USED
from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path

OPERATOR = Operator(actor="cli:tester")


@pytest.fixture
async def path(settings: Settings) -> AsyncIterator[EventPath]:
    """A deployment whose endpoint is well, and where nothing is too young to be compared."""
    async with running_path(settings, reconcile_settle_s=0.001) as running:
        await running.create(
            "/v1/webhook_endpoints",
            {
                "url": "https://billing.example.com/api/v1/webhooks/stripe",
                "enabled_events": sorted(USED.keys() - OLD_NAMES),
                "api_version": "2026-10-28.endive",
            },
        )
        yield running


async def reconcile(path: EventPath, **wish: Any) -> RunDetail:
    run_id = (await begin(path.context, Wish(**{"is_full": True, **wish}), OPERATOR)).id
    await carry_out(path.context, run_id)
    detail = await show_run(path.context, None, run_id)
    assert detail.run.state == "done", detail
    return detail


def types(detail: RunDetail) -> dict[str, int]:
    """But for events: a pass that is late by a second names more of them."""
    return dict(Counter(one.type for one in detail.drifts if one.type != "event_missing"))


async def deliver_all(path: EventPath) -> None:
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def test_a_pass_over_what_is_well_names_nothing(path: EventPath) -> None:
    customer = await path.make_customer()
    await path.buy(customer, "pro", "month", quantity=3)
    await path.buy(customer, "pass", "once")
    await deliver_all(path)
    detail = await reconcile(path)
    assert detail.drifts == []
    assert detail.run.counts.compared >= 3
    assert detail.run.counts.reads >= 9


async def _miss_a_subscription(path: EventPath) -> str:
    customer = await _known_customer(path, "u_missed")
    await path.buy(customer, "pro", "month")
    return "missing_subscription"


async def _change_a_status_unseen(path: EventPath) -> str:
    subscription = await _subscribe(path, "u_status")
    row = path.stripe.account.load("subscription", subscription)
    path.stripe.account.put("subscription", {**row, "status": "past_due"})
    return "stale_status"


async def _change_items_unseen(path: EventPath) -> str:
    subscription = await _subscribe(path, "u_items")
    await path.create(f"/v1/subscriptions/{subscription}", {"items": await _three_of(path, subscription)})
    return "wrong_items"


async def _cancel_later_unseen(path: EventPath) -> str:
    subscription = await _subscribe(path, "u_end")
    await path.create(f"/v1/subscriptions/{subscription}", {"cancel_at_period_end": True})
    return "stale_subscription"


async def _miss_a_purchase(path: EventPath) -> str:
    customer = await _known_customer(path, "u_bought")
    await path.buy(customer, "pass", "once")
    return "missing_purchase"


async def _refund_unseen(path: EventPath) -> str:
    await path.create("/v1/refunds", {"payment_intent": await _paid_once(path, "u_refund")})
    return "stale_refund"


async def _dispute_unseen(path: EventPath) -> str:
    await path.stripe.dispute(await _paid_once(path, "u_dispute"))
    return "stale_dispute"


async def _invoice_unseen(path: EventPath) -> str:
    customer = await _known_customer(path, "u_invoice")
    await path.make_invoice(customer, "price_acme.pass.once")
    return "stale_invoice"


async def _die_before_link(path: EventPath) -> str:
    customer = await path.make_customer("u_unlinked", linked=False)
    await path.buy(customer, "pro", "month")
    return "unlinked_customer"


async def _tamper_with_answers(path: EventPath) -> str:
    await _subscribe(path, "u_tampered")
    await path.execute(
        """
        UPDATE entitlements SET timeline = replace(timeline::text, '"granted":true', '"granted":false')::json
        WHERE user_key = (SELECT user_key FROM users WHERE user_id = 'u_tampered') AND app = 'editor'
        """
    )
    return "entitlement_mismatch"


async def _known_customer(path: EventPath, user_id: str) -> str:
    customer = await path.make_customer(user_id)
    await path.drain()
    return customer


async def _subscribe(path: EventPath, user_id: str, price: str = "month", plan: str = "pro") -> str:
    """A subscription that everybody has seen."""
    customer = await path.make_customer(user_id)
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, plan, price)}")
    await deliver_all(path)
    return str(session["subscription"])


async def _paid_once(path: EventPath, user_id: str) -> str:
    customer = await path.make_customer(user_id)
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, 'pass', 'once')}")
    await deliver_all(path)
    return str(session["payment_intent"])


async def _three_of(path: EventPath, subscription: str) -> list[dict[str, Any]]:
    shown = await path.retrieve(f"/v1/subscriptions/{subscription}")
    return [{"id": shown["items"]["data"][0]["id"], "quantity": 3}]


#: Each breaks something that an event would have told, and answers the drift that names it.
HEALED: tuple[Callable[[EventPath], Coroutine[Any, Any, str]], ...] = (
    _change_a_status_unseen,
    _change_items_unseen,
    _cancel_later_unseen,
    _refund_unseen,
    _dispute_unseen,
    _tamper_with_answers,
    _invoice_unseen,
    _miss_a_purchase,
    _die_before_link,
    _miss_a_subscription,
)


async def test_whatever_no_event_told_is_named_by_a_check_and_healed_by_a_pass(path: EventPath) -> None:
    for break_it in HEALED:
        expected = await break_it(path)
        checked = await reconcile(path, is_check=True)
        assert expected in types(checked), (break_it, checked.drifts)
        assert all(one.repair is None for one in checked.drifts)
        assert await path.count_owed() == 0, break_it
        # The events stay undelivered: what heals is the pass alone.
        await _forget_missing_events(path)
        healed = await reconcile(path)
        assert expected in types(healed), (break_it, healed.drifts)
        assert all(one.repair for one in healed.drifts), (break_it, healed.drifts)
        await path.drain()
        assert types(await reconcile(path, is_check=True)) == {}, break_it


async def _forget_missing_events(path: EventPath) -> None:
    """As if Stripe had never listed them: the watermark is past them."""
    await path.execute("UPDATE reconciliation_watermark SET read_until = clock_timestamp() + interval '1 h'")


async def test_what_only_an_operator_can_end_is_named_with_the_command(path: EventPath) -> None:
    """Each is made at Stripe, all are seen by one pass, and no event of ours is made for any."""
    first = await path.make_customer("u 2")
    await path.buy(first, "pro", "month")
    second = await path.make_customer("u 2")
    await path.buy(second, "pro", "month")
    orphan = await path.make_stripe_customer()
    await path.buy(orphan, "pro", "month")
    stray = await path.make_stripe_customer(tollhouse_project="acme", tollhouse_user="u 2")
    await path.buy(stray, "pro", "month")
    mixed = await path.make_customer("u_mixed")
    await _subscribe_to(path, mixed, await _foreign_price(path))
    await _subscribe_to(path, mixed, await _price_of_globex(path))
    vanished = await _vanish(path)
    disputed = await _dispute_an_earlier_invoice(path)
    await deliver_all(path)
    await _cache_ahead(path)
    (endpoint,) = (await path.retrieve("/v1/webhook_endpoints"))["data"]
    row = path.stripe.account.load("webhook_endpoint", endpoint["id"])
    path.stripe.account.put(
        "webhook_endpoint", {**row, "enabled_events": ["invoice.paid"], "api_version": "2024-06-20"}
    )
    detail = await reconcile(path)
    found = {one.type: one for one in detail.drifts}
    assert types(detail).keys() >= {
        *("two_customers", "two_subscriptions", "orphan_customer", "price_unmapped", "cross_project"),
        *("vanished", "billing_after_dispute", "endpoint_events", "endpoint_version", "cache_ahead"),
    }
    of_operators = [one for one in detail.drifts if KINDS[one.type].repair is None]
    assert all(one.next and one.repair is None for one in of_operators)
    assert {one.object_id for one in of_operators if one.type == "two_customers"} == {
        ", ".join(sorted([first, second])),
        stray,
    }
    assert found["orphan_customer"].next is not None
    assert f"customers adopt {orphan} --project acme" in found["orphan_customer"].next
    assert found["two_subscriptions"].next is not None
    assert "explain 'u 2' --project acme" in found["two_subscriptions"].next
    assert (found["vanished"].object_id, found["billing_after_dispute"].object_id) == (vanished, disputed)
    path.stripe.account.put("webhook_endpoint", {**row, "status": "disabled"})
    assert "endpoint_missing" in types(await reconcile(path, is_check=True))
    await path.delete(f"/v1/webhook_endpoints/{endpoint['id']}")
    (none,) = [one for one in (await reconcile(path)).drifts if one.type == "endpoint_missing"]
    assert none.found == "there is none"


async def _subscribe_to(path: EventPath, customer: str, price: str) -> str:
    await path.stripe.change_card(customer, "pm_card_visa")
    made = await path.create("/v1/subscriptions", {"customer": customer, "items": [{"price": price}]})
    return str(made["id"])


async def _foreign_price(path: EventPath) -> str:
    product = await path.create("/v1/products", {"name": "Made by hand"})
    price = await path.create(
        "/v1/prices",
        {
            "product": product["id"],
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
        },
    )
    return str(price["id"])


async def _price_of_globex(path: EventPath) -> str:
    (row, *_) = await path.rows(
        "SELECT price_id FROM prices WHERE project = 'globex' AND price IN ('month', 'year') ORDER BY 1"
    )
    return str(row["price_id"])


async def _vanish(path: EventPath) -> str:
    subscription = await _subscribe(path, "u_vanished")
    path.stripe.account.remove("subscription", subscription)
    return subscription


async def _dispute_an_earlier_invoice(path: EventPath) -> str:
    """A subscription of two paid invoices, of which the first is disputed."""
    clock = await path.make_clock()
    customer = await path.make_customer("u_disputed", test_clock=clock)
    session = await path.retrieve(f"/v1/checkout/sessions/{await path.buy(customer, 'pro', 'month')}")
    paid = await path.retrieve(f"/v1/subscriptions/{session['subscription']}")
    await path.advance(clock, days=32)
    await path.stripe.dispute(paid["latest_invoice"])
    return str(session["subscription"])


async def _cache_ahead(path: EventPath) -> None:
    """As after the restore of an older database: Redis knows versions that Postgres does not."""
    await path.execute(
        """
        UPDATE entitlements SET first_version = 1, last_version = 1 + last_version - first_version
        WHERE app = 'editor' AND user_key = (SELECT user_key FROM users WHERE user_id = 'u 2')
        """
    )
