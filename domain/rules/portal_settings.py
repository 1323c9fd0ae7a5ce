"""What a project's portal allows, and how a configuration at Stripe differs from that. Pure.

Source: docs/api.md, "Portal"; docs.stripe.com/api/customer_portal/configurations (its limits).
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from domain.rules.catalog import Catalog, StripeChange, StripePlan
from domain.rules.catalog.diff import FieldChange
from domain.rules.redirect import find_redirect_fault

Configuration = Mapping[str, Any]
ConfigurationT = TypeVar("ConfigurationT", bound=Configuration)

_encoder = msgspec.json.Encoder(order="deterministic")


class PortalSettings(Struct, frozen=True, kw_only=True):
    """What a project's portal allows, as Stripe's parameter `features`."""

    features: dict[str, Any]
    #: Of `features`: what is kept in the configuration's metadata, to see that the catalog changed.
    digest: str

    @property
    def can_switch(self) -> bool:
        return bool(self.features["subscription_update"]["enabled"])


def portal_settings(catalog: Catalog, head_prices: Mapping[tuple[str, str], str]) -> PortalSettings:
    """`head_prices`: the Stripe price sold now, by (plan, price)."""
    products = [
        {"product": catalog.plans[plan].product_id, "prices": prices}
        for plan in catalog.portal.switch_plans
        if (prices := _prices_of(catalog, plan, head_prices))
    ]
    update: dict[str, Any] = {"enabled": False}
    if products:
        update = {
            "enabled": True,
            # Not the quantity: most plans have no use for a second one. Apps change it by our API.
            "default_allowed_updates": ["price"],
            "products": products,
            "proration_behavior": "always_invoice",
        }
    features = {
        "customer_update": {"enabled": True, "allowed_updates": ["address", "email", "name", "tax_id"]},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
        "subscription_update": update,
    }
    return PortalSettings(features=features, digest=sha256(_encoder.encode(features)).hexdigest()[:32])


def _prices_of(catalog: Catalog, plan: str, head_prices: Mapping[tuple[str, str], str]) -> list[str]:
    """Stripe takes one price of a product for each interval: of several the first by its key."""
    by_interval: dict[tuple[str | None, int], str] = {}
    for key, price in sorted(catalog.plans[plan].prices.items()):
        price_id = head_prices.get((plan, key))
        if price_id is not None and not price.is_one_time:
            by_interval.setdefault((price.interval, price.interval_count), price_id)
    return list(by_interval.values())


# ── what Stripe has ─────────────────────────────────────────────────────────────────────────────────


def portal_names(project: str, env: str) -> dict[str, str]:
    """The metadata by which a project's configuration is known again."""
    return {"tollhouse_project": project, "tollhouse_env": env}


def find_configuration(found: Iterable[ConfigurationT], names: Mapping[str, str]) -> ConfigurationT | None:
    """Ours of a project: one that is active before others, then the oldest. None: there is none."""
    ours = [one for one in found if names.items() <= one["metadata"].items()]
    return min(ours, key=lambda one: (not one["active"], one["created"], one["id"]), default=None)


def creation_params(names: Mapping[str, str], wanted: PortalSettings) -> dict[str, Any]:
    return {"features": wanted.features, "metadata": {**names, "tollhouse_settings": wanted.digest}}


def creation_key(names: Mapping[str, str], wanted: PortalSettings) -> str:
    """Whoever else finds none at the same moment gets the same one."""
    return f"portal:{names['tollhouse_env']}:{names['tollhouse_project']}:{wanted.digest}"


def compare_portal(
    catalog: Catalog,
    wanted: PortalSettings,
    found: Iterable[Configuration],
    *,
    env: str,
    mode: Literal["live", "test"],
) -> StripeChange | None:
    """What makes the project's configuration allow what is wanted; None: it does.

    What is set in the dashboard beside (texts, links, a name) is not looked at, except for a return URL that
    is at no origin of the catalog. `found` shows the products that can be switched to.
    """
    names = portal_names(catalog.project, env)
    ours = find_configuration(found, names)
    if ours is None:
        return StripeChange(
            action="create",
            noun="portal",
            key=catalog.project,
            stripe_id=None,
            fields=tuple(_product_fields(None, wanted)),
            params=creation_params(names, wanted),
            content_key=creation_key(names, wanted),
        )
    return _correct(ours, catalog, wanted, mode)


def _correct(
    ours: Configuration, catalog: Catalog, wanted: PortalSettings, mode: Literal["live", "test"]
) -> StripeChange | None:
    fields: list[FieldChange] = []
    params: dict[str, Any] = {}
    if not ours["active"]:
        fields.append(FieldChange(field="active", before=False, after=True))
        params["active"] = True
    back = ours["default_return_url"]
    origins = {origin for app in catalog.apps.values() for origin in app.redirect_origins}
    if back is not None and find_redirect_fault(back, origins, mode) is not None:
        fields.append(FieldChange(field="default_return_url", before=back, after=None))
        params["default_return_url"] = ""
    if features := list(_feature_fields(ours["features"], wanted)):
        fields += features
        params["features"] = wanted.features
    if not fields:
        return None
    return StripeChange(
        action="update",
        noun="portal",
        key=catalog.project,
        stripe_id=ours["id"],
        fields=tuple(fields),
        params={**params, "metadata": {"tollhouse_settings": wanted.digest}},
    )


def _feature_fields(features: Mapping[str, Any], wanted: PortalSettings) -> Iterator[FieldChange]:
    for feature, settings in wanted.features.items():
        for name, after in settings.items():
            before = features[feature].get(name)
            if name == "products":
                yield from _product_fields(before, wanted)
            elif _plain(before) != _plain(after):
                yield FieldChange(field=f"{feature}.{name}", before=_plain(before), after=_plain(after))


def _plain(value: Any) -> Any:
    """Lists of what is allowed have no order."""
    return ", ".join(sorted(value)) if isinstance(value, list) else value


def _product_fields(before: Any, wanted: PortalSettings) -> Iterator[FieldChange]:
    """Of each product the prices offered; neither has an order."""
    was = _prices_by_product(before)
    after = _prices_by_product(wanted.features["subscription_update"].get("products"))
    for product in sorted(was.keys() | after.keys()):
        if was.get(product) != after.get(product):
            yield FieldChange(field=f"switch to {product}", before=was.get(product), after=after.get(product))


def _prices_by_product(products: Any) -> dict[str, str]:
    return {one["product"]: ", ".join(sorted(one["prices"])) for one in products or ()}


def coming_prices(planned: StripePlan, project: str) -> dict[tuple[str, str], str]:
    """By (plan, price): what is sold once `planned` is done; of a price that is yet to be made its key."""
    prices = {(one.plan, one.price): one.price_id for one in planned.sold if one.project == project}
    for change in planned.changes:
        owner, *key = change.key.split(".")
        if change.noun == "price" and owner == project:
            prices[key[0], key[1]] = change.stripe_id or f"new {change.key}"
    return prices
