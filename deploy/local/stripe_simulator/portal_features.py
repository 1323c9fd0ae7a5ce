"""The features of a portal configuration: their parameters, their defaults, and what contradicts itself."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe's limit of products that a customer can switch between.
MOST_PRODUCTS = 10
REASONS = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
NOTHING_ALLOWED: Json = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": list(REASONS)},
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_pause": {
        "duration": {
            "interval_options": [{"interval": "month", "interval_count": 1}],
            "type": "interval_options",
        },
        "enabled": False,
    },
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": [],
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}
PRORATION = params.one_of("always_invoice", "create_prorations", "none")


def emptiable(reader: params.Reader) -> params.Reader:
    """A list that an empty value empties."""

    def read(raw: params.Raw, name: str) -> list[object]:
        found: list[object] = [] if raw == "" else reader(raw, name)
        return found

    return read


PRODUCT = params.hash_of(
    {"prices": params.list_of(params.text), "product": params.text}, required=("prices", "product")
)
FEATURES: dict[str, params.Reader] = {
    "customer_update": params.hash_of(
        {
            "allowed_updates": emptiable(
                params.list_of(params.one_of("address", "email", "name", "phone", "shipping", "tax_id"))
            ),
            "enabled": params.boolean,
        },
        required=("enabled",),
    ),
    "invoice_history": params.hash_of({"enabled": params.boolean}, required=("enabled",)),
    "payment_method_update": params.hash_of({"enabled": params.boolean}, required=("enabled",)),
    "subscription_cancel": params.hash_of(
        {
            "cancellation_reason": params.hash_of(
                {
                    "enabled": params.boolean,
                    "options": emptiable(params.list_of(params.one_of(*REASONS))),
                },
                required=("enabled", "options"),
            ),
            "enabled": params.boolean,
            "mode": params.one_of("at_period_end", "immediately"),
            "proration_behavior": params.one_of("create_prorations", "none"),
        },
        required=("enabled",),
    ),
    "subscription_update": params.hash_of(
        {
            "billing_cycle_anchor": params.one_of("now", "unchanged"),
            "default_allowed_updates": emptiable(
                params.list_of(params.one_of("price", "promotion_code", "quantity"))
            ),
            "enabled": params.boolean,
            "products": emptiable(params.list_of(PRODUCT, at_most=MOST_PRODUCTS)),
            "proration_behavior": PRORATION,
            "trial_update_behavior": params.one_of("continue_trial", "end_trial"),
        },
        required=("enabled",),
    ),
}


def merged(now: Json, asked: Json) -> Json:
    """Each feature that is asked for takes the given fields and keeps the others."""
    return {name: {**feature, **asked.get(name, {})} for name, feature in now.items()}


def check_features(account: Account, features: Json) -> None:
    update, cancel = features["subscription_update"], features["subscription_cancel"]
    if features["customer_update"]["enabled"] and not features["customer_update"]["allowed_updates"]:
        raise missing("features[customer_update][allowed_updates]")
    if cancel["proration_behavior"] != "none" and cancel["mode"] != "immediately":
        raise refused(
            "`proration_behavior` can only be set when `mode` is `immediately`.",
            "features[subscription_cancel][proration_behavior]",
        )
    if update["enabled"]:
        for name in ("default_allowed_updates", "products"):
            if not update[name]:
                raise missing(f"features[subscription_update][{name}]")
    for number, product in enumerate(update["products"]):
        check_product(account, product, f"features[subscription_update][products][{number}]")


def missing(name: str) -> Exception:
    return refused(f"Missing required param: {name}.", name, "parameter_missing")


def check_product(account: Account, product: Json, name: str) -> None:
    """Its prices are its own, recurring, active, and one for each interval."""
    account.load_live("product", product["product"], f"{name}[product]")
    intervals = set()
    for number, price_id in enumerate(product["prices"]):
        param = f"{name}[prices][{number}]"
        price = account.load("price", price_id, param)
        if price["product"] != product["product"]:
            raise refused(f"The price {price_id} does not belong to {product['product']}.", param)
        if not price["active"] or price["recurring"] is None:
            raise refused(f"The price {price_id} must be active and recurring.", param)
        interval = (price["recurring"]["interval"], price["recurring"]["interval_count"], price["currency"])
        if interval in intervals:
            raise refused(f"The prices of {product['product']} must have unique billing intervals.", param)
        intervals.add(interval)


def prices_offered(configuration: Json) -> list[str]:
    """Ids of all prices a customer may switch to."""
    products = configuration["features"]["subscription_update"]["products"]
    return [price for product in products for price in product["prices"]]
