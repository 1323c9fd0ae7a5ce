"""Coupons and promotion codes: made, and found by code. What they take off is in `discounts.py`."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.discounts import source_of
from deploy.local.stripe_simulator.errors import refused
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.lists import list_params, page
from deploy.local.stripe_simulator.operations import Call, Operation
from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.store import Account, Json

#: A code is found, and is unique, whatever its case.
ANY_CASE = str.casefold


def create_coupon(call: Call) -> Json:
    account, asked = call.account, call.params
    if ("percent_off" in asked) is ("amount_off" in asked):
        raise refused("You must pass exactly one of `percent_off` and `amount_off`.", "percent_off")
    if "amount_off" in asked and "currency" not in asked:
        raise refused("You must pass `currency` when passing `amount_off`.", "currency")
    if ("duration_in_months" in asked) is not (asked.get("duration") == "repeating"):
        raise refused(
            "`duration_in_months` is required when `duration` is `repeating`, and refused otherwise.",
            "duration_in_months",
        )
    coupon_id = asked.get("id") or new_id("coupon")
    if account.find("coupon", coupon_id) is not None:
        raise refused("Coupon already exists.", "id", "resource_already_exists")
    row = {
        "id": coupon_id,
        "object": "coupon",
        "amount_off": asked.get("amount_off"),
        "applies_to": asked.get("applies_to"),
        "created": account.now(),
        "currency": asked.get("currency"),
        "duration": asked.get("duration", "once"),
        "duration_in_months": asked.get("duration_in_months"),
        "livemode": False,
        "max_redemptions": None,
        "metadata": params.changed_metadata({}, asked.get("metadata")),
        "name": asked.get("name"),
        "percent_off": asked.get("percent_off"),
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": True,
    }
    account.put("coupon", row)
    return render(account, row)


def retrieve_coupon(call: Call) -> Json:
    return render(call.account, call.account.load("coupon", call.id))


def create_promotion_code(call: Call) -> Json:
    account, asked = call.account, call.params
    coupon = account.load("coupon", asked["promotion"]["coupon"], "promotion[coupon]")
    code: str = asked.get("code") or new_id("promotion_code").removeprefix("promo_").upper()[:8]
    if any(ANY_CASE(row["code"]) == ANY_CASE(code) and row["active"] for row in rows_of(account)):
        raise refused(f"An active promotion code with `code: {code}` already exists.", "code")
    row = {
        "id": new_id("promotion_code"),
        "object": "promotion_code",
        "active": asked.get("active", True),
        "code": code,
        "created": account.now(),
        "customer": asked.get("customer"),
        "customer_account": None,
        "expires_at": None,
        "livemode": False,
        "max_redemptions": None,
        "metadata": params.changed_metadata({}, asked.get("metadata")),
        "promotion": {"coupon": coupon["id"], "type": "coupon"},
        "restrictions": {
            "first_time_transaction": False,
            "minimum_amount": None,
            "minimum_amount_currency": None,
        },
        "times_redeemed": 0,
    }
    account.put("promotion_code", row)
    return render(account, row)


def update_promotion_code(call: Call) -> Json:
    row = call.account.load("promotion_code", call.id)
    row["active"] = call.params.get("active", row["active"])
    call.account.put("promotion_code", row)
    return render(call.account, row)


def retrieve_promotion_code(call: Call) -> Json:
    return render(call.account, call.account.load("promotion_code", call.id))


def list_promotion_codes(call: Call) -> Json:
    asked = call.params
    chosen = [
        row
        for row in rows_of(call.account)
        if asked.get("active", row["active"]) is row["active"]
        and ANY_CASE(str(asked.get("code", row["code"]))) == ANY_CASE(row["code"])
        and asked.get("customer", row["customer"]) == row["customer"]
    ]
    return page(call, "promotion_code", chosen, "/v1/promotion_codes")


def discounts_of(account: Account, asked: Json, currency: str) -> list[Json]:
    """The `discounts` of a new session. Raises as Stripe does for codes that cannot be used."""
    discounts: list[Json] = asked.get("discounts", [])
    if discounts and "allow_promotion_codes" in asked:
        raise refused(
            "You may only specify one of these parameters: allow_promotion_codes, discounts.",
            "allow_promotion_codes",
        )
    customer = asked.get("customer")
    sources = [
        source_of(account, one, customer, currency, f"discounts[{n}]") for n, one in enumerate(discounts)
    ]
    return [{**one, "coupon": None} if one["promotion_code"] else one for one in sources]


def coupon_of(account: Account, discount: Json) -> Json:
    """The coupon row of one of a session's discounts."""
    code_id = discount["promotion_code"]
    coupon_id = account.load("promotion_code", code_id)["promotion"]["coupon"] if code_id else None
    return account.load("coupon", coupon_id or discount["coupon"])


def rows_of(account: Account) -> list[Json]:
    return list(account.rows.get("promotion_code", {}).values())


APPLIES_TO = params.hash_of({"products": params.list_of(params.text)})
PROMOTION = params.hash_of(
    {"coupon": params.text, "type": params.one_of("coupon")}, required=("coupon", "type")
)
#: Of a checkout session.
DISCOUNTS = params.list_of(params.hash_of({"coupon": params.text, "promotion_code": params.text}), at_most=1)
OPERATIONS = (
    Operation(
        "POST",
        "/v1/coupons",
        create_coupon,
        {
            "amount_off": params.amount,
            "applies_to": APPLIES_TO,
            "currency": params.currency,
            "duration": params.one_of("forever", "once", "repeating"),
            "duration_in_months": params.amount,
            "id": params.text,
            "metadata": params.metadata,
            "name": params.text,
            "percent_off": params.percent,
        },
    ),
    Operation("GET", "/v1/coupons/{id}", retrieve_coupon),
    Operation(
        "POST",
        "/v1/promotion_codes",
        create_promotion_code,
        {
            "active": params.boolean,
            "code": params.text,
            "customer": params.text,
            "metadata": params.metadata,
            "promotion": PROMOTION,
        },
        required=("promotion",),
    ),
    Operation(
        "GET",
        "/v1/promotion_codes",
        list_promotion_codes,
        list_params(active=params.boolean, code=params.text, customer=params.text),
    ),
    Operation("GET", "/v1/promotion_codes/{id}", retrieve_promotion_code),
    Operation("POST", "/v1/promotion_codes/{id}", update_promotion_code, {"active": params.boolean}),
)
