"""What Stripe refuses when a checkout session is created, though each parameter alone is well formed."""

from deploy.local.stripe_simulator.errors import malformed, refused
from deploy.local.stripe_simulator.store import Json
from deploy.local.stripe_simulator.subscriptions import require_distinct

#: What each mode refuses, since it would have no effect there.
ONLY_IN_MODE = {
    "customer_creation": "payment",
    "payment_intent_data": "payment",
    "submit_type": "payment",
    "payment_method_collection": "subscription",
    "subscription_data": "subscription",
}


def check_combination(asked: Json) -> None:
    mode = asked["mode"]
    for name, only in ONLY_IN_MODE.items():
        if name in asked and mode != only:
            raise refused(f"You can not pass `{name}` in `{mode}` mode.", name)
    if "customer" in asked and "customer_email" in asked:
        raise refused("You may only specify one of these parameters: customer, customer_email.", "customer")
    if "customer" in asked and "customer_creation" in asked:
        raise refused("`customer_creation` is not allowed when a customer is given.", "customer_creation")
    ui_mode = asked.get("ui_mode", "hosted_page")
    needed, unused = (
        ("success_url", "return_url") if ui_mode == "hosted_page" else ("return_url", "success_url")
    )
    if needed not in asked:
        raise malformed(f"Missing required param: {needed}.", needed, "parameter_missing")
    if unused in asked:
        raise refused(f"`{unused}` is not allowed when `ui_mode` is `{ui_mode}`.", unused)


def check_customer_update(customer: Json, asked: Json) -> None:
    """Stripe's two traps for a known customer: it must be told to write back what it collects."""
    update = asked.get("customer_update", {})
    if asked.get("tax_id_collection", {}).get("enabled") and update.get("name") != "auto":
        raise refused(
            "Tax ID collection requires updating business name on the customer. To enable tax ID collection "
            "for an existing customer, please set `customer_update[name]` to `auto`.",
            "customer_update[name]",
        )
    needs_address = asked.get("automatic_tax", {}).get("enabled") and customer["address"] is None
    if needs_address and "auto" not in {update.get("address"), update.get("shipping")}:
        raise refused(
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid "
            "address to the Customer or set either `customer_update[address]` to 'auto' or "
            "`customer_update[shipping]` to 'auto' to save the address entered in Checkout.",
            code="customer_tax_location_invalid",
        )


def check_prices(lines: list[Json], mode: str) -> None:
    recurring = [line["price"]["id"] for line in lines if line["price"]["recurring"]]
    if mode == "payment" and recurring:
        raise refused(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode "
            "or use only one-time prices.",
            "line_items",
        )
    if mode == "subscription" and not recurring:
        raise refused(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
            "line_items",
        )
    require_distinct(recurring, "line_items")
