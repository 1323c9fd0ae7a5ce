"""Splits, taxes, discounts and days: what money figures are made of."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.errors import Invalid
from domain.flows.publish_catalog import read_catalog
from domain.model import Subscription, SubscriptionItem
from domain.money import Discount, Entry, Payment, RecurringItem, SoldLine, Taken
from domain.rules.catalog import Catalog
from domain.rules.currency import written
from domain.rules.intervals import instant_of, month_of, starts_between
from domain.rules.recurring import recurring_parts, rounded
from domain.rules.revenue import entries_of, split
from domain.rules.shapes import parse_terms, unread_terms
from tests.flows.event_path import CATALOG

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog(CATALOG.read_text(), file="catalog.toml")["acme"]


# ── splits ──


@pytest.mark.parametrize(
    ("whole", "weights", "parts"),
    [
        (100, (1, 1, 1), (34, 33, 33)),
        (-100, (1, 1, 1), (-33, -33, -34)),
        (1, (70, 30), (1, 0)),
        (0, (70, 30), (0, 0)),
        (1901, (70, 30), (1331, 570)),
    ],
)
def test_the_largest_remainders_get_the_rest_and_ties_go_by_name(
    whole: int, weights: tuple[int, ...], parts: tuple[int, ...]
) -> None:
    shares = {name: Fraction(weight, sum(weights)) for name, weight in zip("abc", weights, strict=False)}
    assert tuple(split(whole, shares).values()) == parts
    assert sum(parts) == whole


def test_what_belongs_to_no_app_is_kept_apart(catalog: Catalog) -> None:
    unknown = SoldLine(price_id="price_x", product_id="prod_x", amount_minor=500, tax_minor=0)
    pro = SoldLine(price_id=None, product_id="acme_pro", amount_minor=500, tax_minor=0)
    entries = entries_of(make_payment(1000, lines=(unknown, pro)), [], catalog)
    assert amounts(entries) == {"": 500, "editor": 350, "viewer": 150}
    assert amounts(entries_of(make_payment(1000), [], catalog)) == {"": 1000}


def test_an_invoice_paid_in_parts_has_its_tax_once(catalog: Catalog) -> None:
    paid, taxes = 0, []
    for part in (333, 333, 334):
        payment = make_payment(part, total_minor=1000, tax_minor=161, paid_before_minor=paid)
        taxes.append(sum(entry.tax_minor for entry in entries_of(payment, [], catalog)))
        paid += part
    assert (sum(taxes), taxes) == (161, [53, 54, 54])


def test_parts_taken_of_a_payment_add_up_to_all_of_it_for_every_app(catalog: Catalog) -> None:
    line = SoldLine(price_id=None, product_id="acme_pro", amount_minor=1001, tax_minor=160)
    payment = make_payment(1001, lines=(line,), total_minor=1001, tax_minor=160)
    taken = [
        Taken(object_id=f"re_{n}", kind="refund", happened_at=NOW + timedelta(days=n), amount_minor=part)
        for n, part in enumerate((1, 333, 100, 567), start=1)
    ]
    back = Taken(
        object_id="re_3", kind="refund_failed", happened_at=NOW + timedelta(days=9), amount_minor=-100
    )
    entries = entries_of(payment, [*taken, back], catalog)
    left = {
        app: sum((1 if one.kind == "payment" else -1) * one.amount_minor for one in entries if one.app == app)
        for app in ("editor", "viewer")
    }
    tax_left = sum((1 if one.kind == "payment" else -1) * one.tax_minor for one in entries)
    assert (sum(left.values()), left) == (100, {"editor": 70, "viewer": 30})
    assert tax_left == 160 - 160 * 901 // 1001


def make_payment(amount: int, **changes: Any) -> Payment:
    return Payment(charge_id="ch_1", currency="usd", amount_minor=amount, paid_at=NOW, **changes)


def amounts(entries: list[Entry]) -> dict[str, int]:
    return {entry.app: entry.amount_minor for entry in entries}


# ── a month ──


@pytest.mark.parametrize(
    ("interval", "count", "monthly"),
    [("month", 1, 1200), ("month", 3, 400), ("year", 1, 100), ("week", 2, 2600), ("day", 5, 7300)],
)
def test_every_interval_is_brought_to_a_month(
    interval: str, count: int, monthly: int, catalog: Catalog
) -> None:
    assert total(catalog, make_item("1200", interval=interval, interval_count=count)) == monthly


@pytest.mark.parametrize(
    ("discounts", "left"),
    [
        ((Discount(percent_off="25"),), 900),
        ((Discount(percent_off="33.33"),), Fraction(80004, 100)),
        ((Discount(amount_off_minor=500),), 700),
        ((Discount(amount_off_minor=5000),), 0),
        ((Discount(percent_off="50"), Discount(amount_off_minor=100)), 500),
        ((Discount(amount_off_minor=100), Discount(percent_off="50")), 550),
        ((Discount(percent_off="50", duration="once"),), 1200),
        ((Discount(percent_off="50", duration="repeating", ends_at=NOW),), 1200),
        ((Discount(percent_off="50", duration="repeating", ends_at=NOW + timedelta(days=1)),), 600),
        ((Discount(percent_off="50", product_ids=("acme_team",)),), 1200),
    ],
)
def test_a_coupon_takes_off_what_it_goes_on_taking_off(
    discounts: tuple[Discount, ...], left: int, catalog: Catalog
) -> None:
    assert total(catalog, make_item("1200", subscription_discounts=discounts)) == left
    if not any(discount.product_ids for discount in discounts):
        assert total(catalog, make_item("1200", discounts=discounts)) == left


@pytest.mark.parametrize(
    "changes", [{"charged_unit": None}, {"quantity": None}, {"quantity": 0}, {"interval": "fortnight"}]
)
def test_what_nobody_knows_in_advance_comes_to_nothing(changes: dict[str, Any], catalog: Catalog) -> None:
    assert total(catalog, make_item(**{"charged_unit": "1200", **changes})) == 0


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({"status": "active"}, "paying"),
        ({"status": "trialing", "trial_end": NOW}, "trial"),
        ({"status": "past_due", "first_failure_at": NOW}, "grace"),
        ({"status": "past_due", "first_failure_at": NOW - timedelta(days=8)}, None),
        ({"status": "active", "cancel_at": NOW}, None),
        ({"status": "active", "cancel_at": NOW + timedelta(days=1)}, "paying"),
        ({"status": "active", "pause_behavior": "void"}, None),
        ({"status": "incomplete"}, None),
        ({"status": "canceled", "ended_at": NOW}, None),
    ],
)
def test_only_who_pays_is_counted_and_grace_and_trial_are_told_apart(
    changes: dict[str, Any], standing: str | None, catalog: Catalog
) -> None:
    parts = recurring_parts([make_subscription(**changes)], {"si_1": make_item("1200")}, catalog, NOW)
    assert {part.standing for part in parts} == ({standing} if standing else set())
    assert sum(part.subscriptions for part in parts if part.is_counted) == (1 if standing else 0)


def test_a_half_is_rounded_upwards() -> None:
    assert [rounded(Fraction(n, 2)) for n in (1, 2, 3, -1)] == [1, 1, 2, 0]


def total(catalog: Catalog, item: RecurringItem) -> Fraction:
    parts = recurring_parts([make_subscription()], {"si_1": item}, catalog, NOW)
    return sum((part.monthly for part in parts), Fraction())


def make_item(charged_unit: str | None, **changes: Any) -> RecurringItem:
    values = {"quantity": 1, "interval": "month", "interval_count": 1, "currency": "usd", **changes}
    return RecurringItem(
        item_id="si_1", price_id="price_1", product_id="acme_pro", charged_unit=charged_unit, **values
    )


def make_subscription(**changes: Any) -> Subscription:
    item = SubscriptionItem(
        item_id="si_1",
        price_id="price_1",
        product_id="acme_pro",
        period_start=NOW,
        period_end=NOW + timedelta(days=30),
        is_paid_for=True,
    )
    values = {"status": "active", "created_at": NOW, **changes}
    return Subscription(subscription_id="sub_1", items=(item,), **values)


# ── what Stripe says of it ──


def test_discounts_and_other_currencies_are_asked_for_only_where_there_are_any() -> None:
    plain = shown()
    assert unread_terms(plain).of_subscription == unread_terms(plain).of_items == ()
    discounted = unread_terms(shown(discounts=["di_1"]))
    assert discounted.of_subscription == ("discounts.source.coupon.applies_to",)
    assert unread_terms(shown(currency="eur")).of_subscription == ("items.data.price.currency_options",)
    of_item = unread_terms(shown(item={"discounts": ["di_1"]}, currency="eur"))
    assert of_item.of_items == ("data.discounts.source.coupon", "data.price.currency_options")


def test_terms_are_in_the_subscriptions_own_currency() -> None:
    coupon = {"id": "c", "duration": "forever", "percent_off": 12.5, "applies_to": {"products": ["p"]}}
    fixed = {
        "id": "f", "duration": "repeating", "amount_off": 300, "currency": "usd",
        "currency_options": {"eur": {"amount_off": 250}},
    }  # fmt: skip
    discounts = [
        {"id": "di_1", "source": {"coupon": coupon}, "end": None},
        {"id": "di_2", "source": {"coupon": fixed}, "end": 1_800_000_000},
    ]
    terms = parse_terms(shown(currency="eur", discounts=discounts))
    assert terms.items["si_1"].charged_unit == "17.5"
    assert [(one.percent_off, one.amount_off_minor, one.product_ids) for one in terms.discounts] == [
        ("12.5", None, ("p",)), (None, 250, ()),
    ]  # fmt: skip
    metered = {**PRICE, "recurring": {"usage_type": "metered"}}
    assert parse_terms(shown(item={"price": metered})).items["si_1"].charged_unit is None
    tiered = {**PRICE, "unit_amount": None, "unit_amount_decimal": None}
    assert parse_terms(shown(item={"price": tiered})).items["si_1"].charged_unit is None


PRICE = {
    "id": "price_1", "currency": "usd", "unit_amount": 1900, "unit_amount_decimal": "1900",
    "currency_options": {"eur": {"unit_amount": None, "unit_amount_decimal": "17.5"}},
}  # fmt: skip


def shown(item: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    items = {"data": [{"id": "si_1", "price": PRICE, "discounts": [], **(item or {})}]}
    return {"id": "sub_1", "currency": "usd", "discounts": [], "items": items, **changes}


# ── days and amounts ──


def test_a_day_is_as_long_as_its_zone_makes_it() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    length = instant_of(date(2026, 10, 26), berlin) - instant_of(date(2026, 10, 25), berlin)
    assert length == timedelta(hours=25)
    assert instant_of(date(2026, 11, 1), berlin) == datetime(2026, 10, 31, 23, tzinfo=UTC)


def test_intervals_begin_at_their_own_starts_and_the_ends_are_cut() -> None:
    since, until = date(2026, 10, 15), date(2026, 12, 3)
    assert starts_between(since, until, "month") == [
        since, date(2026, 11, 1), date(2026, 12, 1), until,
    ]  # fmt: skip
    assert starts_between(since, date(2026, 10, 21), "week") == [
        since, date(2026, 10, 19), date(2026, 10, 21),
    ]  # fmt: skip
    assert len(starts_between(since, until, "day")) == 50
    assert month_of(date(2026, 12, 31)) == (date(2026, 12, 1), date(2027, 1, 1))


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2026-10-02", "2026-10-02"),
        ("2026-10-02", "2026-10-01"),
        ("1999-12-31", "2026-01-01"),
        ("2000-01-01", "2026-01-01"),
    ],
)
def test_days_that_cannot_be_are_refused(since: str, until: str) -> None:
    with pytest.raises(Invalid):
        starts_between(date.fromisoformat(since), date.fromisoformat(until), "day")


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1900, "usd", "19.00"),
        (-5, "usd", "-0.05"),
        (1900, "jpy", "1900"),
        (1900, "kwd", "1.900"),
        (0, "eur", "0.00"),
    ],
)
def test_amounts_are_written_with_the_decimals_of_their_currency(
    minor: int, currency: str, text: str
) -> None:
    assert written(minor, currency) == text
