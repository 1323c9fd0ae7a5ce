"""Coupons and promotion codes: what they take off invoices and checkouts, and for how long."""

from typing import Any

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.clocks import DAY, NEW_YEAR, advance, invoices_of, new_clock, subscribe_on
from tests.ingress.stripe_simulator.sdk import Json, ask, open_session, subscribe

DISCOUNTS = ["discounts.source.coupon.applies_to"]


async def coupon(client: stripe.StripeClient, **terms: Any) -> Json:
    return await ask(client, "post", "/v1/coupons", **terms)


async def code(client: stripe.StripeClient, **terms: Any) -> str:
    """The id of a promotion code of a new coupon."""
    promotion = {"type": "coupon", "coupon": (await coupon(client, **terms))["id"]}
    made = await ask(client, "post", "/v1/promotion_codes", promotion=promotion)
    return str(made["id"])


async def test_a_coupon_is_taken_off_once_for_some_months_or_for_ever(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    made = {
        duration: await subscribe_on(
            client,
            clock,
            "price_month",
            discounts=[
                {"coupon": (await coupon(client, percent_off=12.5, duration=duration, **months))["id"]}
            ],
        )
        for duration, months in (("once", {}), ("repeating", {"duration_in_months": 2}), ("forever", {}))
    }
    for days in (40, 60):
        await advance(client, clock, NEW_YEAR + days * DAY)
    totals = {
        duration: [one["total"] for one in reversed(await invoices_of(client, subscription))]
        for duration, subscription in made.items()
    }
    # 237.5 of 1900 is 238: a half goes upwards.
    assert totals == {
        "once": [1662, 1900, 1900],
        "repeating": [1662, 1662, 1900],
        "forever": [1662, 1662, 1662],
    }
    left = {
        name: (await ask(client, "get", f"/v1/subscriptions/{one['id']}", expand=DISCOUNTS))["discounts"]
        for name, one in made.items()
    }
    assert (left["once"], left["repeating"]) == ([], [])
    (discount,) = left["forever"]
    assert (discount["source"]["coupon"]["percent_off"], discount["end"]) == (12.5, None)
    assert discount["source"]["coupon"]["times_redeemed"] == 1
    invoice = (await invoices_of(client, made["forever"]))[0]
    assert invoice["total_discount_amounts"] == [{"amount": 238, "discount": discount["id"]}]
    assert (invoice["subtotal"], invoice["amount_paid"]) == (1900, 1662)
    assert invoice["lines"]["data"][0]["discount_amounts"] == [{"amount": 238, "discount": discount["id"]}]


async def test_discounts_follow_one_another_on_the_products_they_name(client: stripe.StripeClient) -> None:
    fixed = await coupon(client, amount_off=700, currency="usd", duration="forever")
    half = await coupon(
        client, percent_off=50, duration="forever", applies_to={"products": ["acme_pro"]}, name="half"
    )
    other = await coupon(client, percent_off=90, duration="forever", applies_to={"products": ["acme_pass"]})
    made = await subscribe(
        client,
        "price_month",
        discounts=[{"coupon": one["id"]} for one in (other, fixed, half)],
        expand=["latest_invoice"],
    )
    invoice = made["latest_invoice"]
    assert [one["amount"] for one in invoice["total_discount_amounts"]] == [0, 700, 600]
    assert (invoice["total"], invoice["amount_paid"]) == (600, 600)
    path, (_, kept, _) = f"/v1/subscriptions/{made['id']}", made["discounts"]
    changed = await ask(client, "post", path, discounts=[{"discount": kept}], expand=DISCOUNTS)
    assert [one["id"] for one in changed["discounts"]] == [kept]
    assert (await ask(client, "post", path, discounts=""))["discounts"] == []


async def test_a_change_is_prorated_at_what_is_paid_after_discounts(client: stripe.StripeClient) -> None:
    clock = await new_clock(client)
    half = await coupon(client, percent_off=50, duration="forever")
    made = await subscribe_on(client, clock, "price_month", discounts=[{"coupon": half["id"]}])
    item = made["items"]["data"][0]["id"]
    change = {"items": [{"id": item, "quantity": 2}], "proration_behavior": "always_invoice"}
    await ask(client, "post", f"/v1/subscriptions/{made['id']}", **change)
    (invoice, _) = await invoices_of(client, made)
    assert [line["amount"] for line in invoice["lines"]["data"]] == [-950, 1900]
    assert (invoice["total"], invoice["total_discount_amounts"][0]["amount"]) == (950, 0)


@pytest.mark.parametrize(
    ("prices", "terms", "amounts"),
    [
        (["price_once"], {"percent_off": 20}, [500, 100, 400]),
        (["price_once"], {"amount_off": 900, "currency": "usd"}, [500, 500, 0]),
        (["price_month", "price_once"], {"percent_off": 10, "duration": "forever"}, [2400, 240, 2160]),
        (["price_month"], {"percent_off": 100}, [1900, 1900, 0]),
    ],
)
async def test_a_checkout_charges_what_its_promotion_code_leaves(
    sim: SimulatorHandle,
    client: stripe.StripeClient,
    prices: list[str],
    terms: dict[str, Any],
    amounts: list[int],
) -> None:
    promotion = await code(client, **terms)
    session = await open_session(client, *prices, discounts=[{"promotion_code": promotion}])
    total = session["total_details"]["amount_discount"]
    assert [session["amount_subtotal"], total, session["amount_total"]] == amounts
    await sim.pay(session["id"])
    paid = await ask(
        client,
        "get",
        f"/v1/checkout/sessions/{session['id']}",
        expand=["line_items", "invoice", "subscription"],
    )
    lines = paid["line_items"]["data"]
    assert sum(line["amount_discount"] for line in lines) == amounts[1]
    assert paid["payment_status"] == ("paid" if amounts[2] else "no_payment_required")
    charges = (await ask(client, "get", "/v1/charges"))["data"]
    assert [charge["amount"] for charge in charges] == [amount for amount in amounts[2:] if amount]
    if paid["subscription"] is not None:
        assert [paid["invoice"]["subtotal"], amounts[1], paid["invoice"]["amount_paid"]] == amounts
        discounts = await ask(
            client, "get", f"/v1/subscriptions/{paid['subscription']['id']}", expand=DISCOUNTS
        )
        assert [one["promotion_code"] for one in discounts["discounts"]] == (
            [promotion] if terms.get("duration") else []
        )


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "exactly one"),
        ({"percent_off": 10, "amount_off": 5, "currency": "usd"}, "exactly one"),
        ({"amount_off": 5}, "currency"),
        ({"percent_off": 0}, "Invalid percentage"),
        ({"percent_off": 101}, "Invalid percentage"),
        ({"percent_off": 10, "duration": "repeating"}, "duration_in_months"),
        ({"percent_off": 10, "duration_in_months": 3}, "duration_in_months"),
    ],
)
async def test_terms_that_cannot_be_are_refused(
    client: stripe.StripeClient, terms: dict[str, Any], message: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=message):
        await coupon(client, **terms)


async def test_a_coupon_of_another_currency_is_refused(client: stripe.StripeClient) -> None:
    euros = await coupon(client, amount_off=100, currency="eur", duration="forever")
    with pytest.raises(stripe.InvalidRequestError, match="takes off eur"):
        await subscribe(client, "price_month", discounts=[{"coupon": euros["id"]}])
    with pytest.raises(stripe.InvalidRequestError, match="takes off eur"):
        await open_session(client, "price_month", discounts=[{"coupon": euros["id"]}])
