"""Coupons and promotion codes: made, found by code, named by a checkout session. They discount nothing."""

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import missing_object, refused
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
        "duration_in_months": None,
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
    return row


def update_promotion_code(call: Call) -> Json:
    row = call.account.load("promotion_code", call.id)
    row["active"] = call.params.get("active", row["active"])
    call.account.put("promotion_code", row)
    return row


def retrieve_promotion_code(call: Call) -> Json:
    return call.account.load("promotion_code", call.id)


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


def discounts_of(account: Account, asked: Json) -> list[Json]:
    """The `discounts` of a new session. Raises as Stripe does for codes that cannot be used."""
    discounts: list[Json] = asked.get("discounts", [])
    if discounts and "allow_promotion_codes" in asked:
        raise refused(
            "You may only specify one of these parameters: allow_promotion_codes, discounts.",
            "allow_promotion_codes",
        )
    return [discount_of(account, asked, discount) for discount in discounts]


def discount_of(account: Account, asked: Json, discount: Json) -> Json:
    code_id = discount.get("promotion_code")
    if code_id is None:
        coupon = account.load("coupon", discount.get("coupon", ""), "discounts[0][coupon]")
        return {"coupon": coupon["id"], "promotion_code": None}
    row = account.find("promotion_code", code_id)
    if row is None:
        raise missing_object("promotion code", code_id, "discounts[0][promotion_code]")
    if not row["active"]:
        raise refused("This promotion code is not active.", "discounts[0][promotion_code]")
    if row["customer"] not in {None, asked.get("customer")}:
        raise refused("This promotion code is for another customer.", "discounts[0][promotion_code]")
    return {"coupon": None, "promotion_code": code_id}


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
            "id": params.text,
            "metadata": params.metadata,
            "name": params.text,
            "percent_off": params.amount,
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
