"""Which of Stripe's items change when a subscription becomes something else, and what it may become."""

from pathlib import Path
from typing import Any

import pytest

from domain.errors import Broken, Invalid
from domain.rules.catalog import parse_catalog_file
from domain.rules.order import Item
from domain.rules.plan_change import Held, Wanted, judge_change, keeps_price, list_item_changes
from domain.rules.shapes import parse_schedule

CATALOG = Path(__file__).resolve().parents[3] / "deploy" / "local" / "catalog.toml"
ACME = parse_catalog_file(CATALOG.read_text(), file="catalog.toml")["acme"]


def held(plan: str, price: str = "month", quantity: int | None = 1, revision: int = 1) -> Held:
    return Held(
        item_id=f"si_{plan}",
        plan=plan,
        price=price,
        price_id=f"{plan}.{price}.{revision}",
        quantity=quantity,
    )


def wanted(plan: str, price: str = "month", quantity: int | None = 1, revision: int = 1) -> Wanted:
    return Wanted(plan=plan, price=price, price_id=f"{plan}.{price}.{revision}", quantity=quantity)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ([held("pro")], [wanted("pro")], []),
        ([held("pro")], [wanted("team")], [{"id": "si_pro", "price": "team.month.1", "quantity": 1}]),
        ([held("pro")], [wanted("pro", quantity=4)], [{"id": "si_pro", "quantity": 4}]),
        ([held("pro")], [wanted("pro", "year")], [{"id": "si_pro", "price": "pro.year.1", "quantity": 1}]),
        (
            [held("pro"), held("extra_projects", quantity=2)],
            [wanted("pro")],
            [{"id": "si_extra_projects", "deleted": True}],
        ),
        (
            [held("pro")],
            [wanted("extra_projects", quantity=3), wanted("pro")],
            [{"price": "extra_projects.month.1", "quantity": 3}],
        ),
        (
            [held("pro"), held("extra_projects")],
            [wanted("team")],
            [
                {"id": "si_pro", "price": "team.month.1", "quantity": 1},
                {"id": "si_extra_projects", "deleted": True},
            ],
        ),
        ([held("pro", quantity=None)], [wanted("pro", quantity=None)], []),
        (
            [held("pro", revision=1)],
            [wanted("pro", revision=2)],
            [{"id": "si_pro", "price": "pro.month.2", "quantity": 1}],
        ),
    ],
)
def test_only_what_differs_is_changed_and_items_keep_their_ids(
    before: list[Held], after: list[Wanted], changes: list[dict[str, Any]]
) -> None:
    assert list_item_changes(ACME, before, after) == changes


def test_a_price_that_is_held_stays_whatever_its_revision() -> None:
    old = held("pro", revision=1)
    assert keeps_price([held("team"), old], Item("pro", "month", 9)) == old
    assert keeps_price([old], Item("pro", "year")) is None


@pytest.mark.parametrize(
    ("items", "currency", "fields"),
    [
        ([Item("pro", "month"), Item("extra_projects", "month")], "usd", []),
        ([Item("extra_projects", "month")], "usd", ["items", "items[0].plan"]),
        ([Item("team", "month"), Item("extra_projects", "month")], "usd", ["items[1].plan"]),
        ([Item("pro", "month")], "chf", ["items[0].price"]),
        ([Item("pro", "month"), Item("pass", "once")], "usd", ["items[1].price"]),
        ([Item("pro", "year"), Item("extra_projects", "month")], "usd", ["items"]),
    ],
)
def test_a_subscription_becomes_one_plan_of_its_group_with_add_ons_that_fit(
    items: list[Item], currency: str, fields: list[str]
) -> None:
    if not fields:
        judge_change(ACME, "main", currency, items)
        return
    with pytest.raises(Invalid) as raised:
        judge_change(ACME, "main", currency, items)
    assert [error["field"] for error in raised.value.errors] == fields


def phase(start: int, end: int, price: str = "price_1") -> dict[str, Any]:
    items = [{"price": {"id": price, "product": "prod_1"}, "quantity": 2}]
    return {"start_date": start, "end_date": end, "items": items}


@pytest.mark.parametrize(
    ("change", "coming", "price"),
    [
        ({}, 1, "price_2"),
        ({"status": "released", "current_phase": None}, 0, None),
        ({"phases": [phase(0, 10)]}, 0, None),
        ({"phases": [phase(20, 30, "price_3"), phase(0, 10), phase(10, 20, "price_2")]}, 2, "price_2"),
        ({"current_phase": {"start_date": 10, "end_date": 20}}, 0, None),
    ],
)
def test_the_phase_that_follows_the_running_one_is_what_waits(
    change: dict[str, Any], coming: int, price: str | None
) -> None:
    answer = {
        "id": "sub_sched_1",
        "status": "active",
        "current_phase": {"start_date": 0, "end_date": 10},
        "phases": [phase(0, 10), phase(10, 20, "price_2")],
        **change,
    }
    found = parse_schedule(answer)
    assert (found.coming, [item.price_id for item in found.items]) == (coming, [price] if price else [])
    assert (found.changes_at is None) is (price is None)


def test_a_schedule_of_another_shape_is_broken() -> None:
    with pytest.raises(Broken):
        parse_schedule({"id": "sub_sched_1", "status": "active", "phases": None})
