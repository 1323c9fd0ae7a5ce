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
        "products": [product_params(project, plan) for project, plan in plans],
        "prices": [
            _seeded_price(project, plan, price) for project, plan in plans for price in plan.prices.values()
        ],
    }


def product_params(project: str, plan: Plan) -> dict[str, Any]:
    """What Stripe is asked to make of a plan, under an id of our own choice."""
    return {
        "id": plan.product_id,
        "name": plan.name,
        "active": True,
        "metadata": {"tollhouse_v": "1", "tollhouse_project": project, "tollhouse_plan": plan.key},
    }


def price_params(project: str, plan: Plan, price: Price) -> dict[str, Any]:
    """What Stripe is asked to make of a price; its id is Stripe's choice."""
    recurring = {"interval": price.interval, "interval_count": price.interval_count}
    return {
        "product": plan.product_id,
        "currency": price.currency,
        "unit_amount": price.amounts[price.currency],
        "currency_options": {
            currency: {"unit_amount": amount}
            for currency, amount in price.amounts.items()
            if currency != price.currency
        },
        **({} if price.is_one_time else {"recurring": recurring}),
        "lookup_key": lookup_key(project, plan.key, price.key),
        "active": True,
        "metadata": {
            "tollhouse_v": "1",
            "tollhouse_project": project,
            "tollhouse_plan": plan.key,
            "tollhouse_price": price.key,
        },
    }


def currencies_of(price: Price) -> tuple[str, ...]:
    """Its own first."""
    return (price.currency, *sorted(price.amounts.keys() - {price.currency}))


def _seeded_price(project: str, plan: Plan, price: Price) -> dict[str, Any]:
    # A dot is in no key: `pro` + `x_month` and `pro_x` + `month` are two ids.
    price_id = f"price_{project}.{plan.key}.{price.key}"
    return {"recurring": None, **price_params(project, plan, price), "id": price_id}
