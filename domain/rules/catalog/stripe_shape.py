"""The products and prices of a catalog as Stripe would show them: what the local simulator is seeded with."""

from collections.abc import Mapping
from typing import Any

from domain.rules.catalog.lookups import lookup_key
from domain.rules.catalog.nouns import Catalog, Plan, Price


def stripe_objects(catalogs: Mapping[str, Catalog]) -> dict[str, list[dict[str, Any]]]:
    """`{"products": […], "prices": […]}` of all projects, under ids that are the same at every run.

    Imported prices (`stripe_ids`) are not in it: they are not ours to make.
    """
    plans = [(catalog.project, plan) for catalog in catalogs.values() for plan in catalog.plans.values()]
    return {
        "products": [_product(project, plan) for project, plan in plans],
        "prices": [_price(project, plan, price) for project, plan in plans for price in plan.prices.values()],
    }


def _product(project: str, plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.product_id,
        "name": plan.name,
        "active": True,
        "metadata": {"tollhouse_v": "1", "tollhouse_project": project, "tollhouse_plan": plan.key},
    }


def _price(project: str, plan: Plan, price: Price) -> dict[str, Any]:
    recurring = {"interval": price.interval, "interval_count": price.interval_count}
    return {
        # A dot is in no key: `pro` + `x_month` and `pro_x` + `month` are two ids.
        "id": f"price_{project}.{plan.key}.{price.key}",
        "product": plan.product_id,
        "currency": price.currency,
        "unit_amount": price.amounts[price.currency],
        "currency_options": {
            currency: {"unit_amount": amount}
            for currency, amount in price.amounts.items()
            if currency != price.currency
        },
        "recurring": None if price.is_one_time else recurring,
        "lookup_key": lookup_key(project, plan.key, price.key),
        "active": True,
        "metadata": {
            "tollhouse_v": "1",
            "tollhouse_project": project,
            "tollhouse_plan": plan.key,
            "tollhouse_price": price.key,
        },
    }
