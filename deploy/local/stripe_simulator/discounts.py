"""What coupons take off: of the invoices of a subscription, while its discounts go on, and of a checkout.

Discounts take one after the other, each of what the ones before have left of the products it names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import missing_object, refused
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.periods import shifted
from deploy.local.stripe_simulator.store import Account, Json

#: Stripe takes this many on one object.
MOST = 20


@dataclass(frozen=True, slots=True)
class Taker:
    """Something that takes off: a discount, or in a checkout that nobody has paid yet its coupon."""

    #: The discount's id, or the coupon's.
    taker_id: str
    coupon: Json


@dataclass(frozen=True, slots=True)
class Charged:
    """A line before anything is taken off."""

    #: None: an amount without a price.
    product: str | None
    #: Minor units; nothing is taken of a credit.
    amount: int


def take_off(takers: Sequence[Taker], lines: Sequence[Charged]) -> list[dict[str, int]]:
    """Of each line what each taker takes, by its id, in minor units that add up to what it takes in all."""
    left = [max(0, line.amount) for line in lines]
    taken: list[dict[str, int]] = [{} for _ in lines]
    for taker in takers:
        named = [n for n, line in enumerate(lines) if left[n] and names(taker.coupon, line.product)]
        parts = split(amount_of(taker.coupon, sum(left[n] for n in named)), [left[n] for n in named])
        for number, part in zip(named, parts, strict=True):
            taken[number][taker.taker_id] = part
            left[number] -= part
    return taken


def names(coupon: Json, product: str | None) -> bool:
    return coupon["applies_to"] is None or product in coupon["applies_to"]["products"]


def amount_of(coupon: Json, whole: int) -> int:
    """What it takes of this sum: a half upwards, and never more than there is."""
    if coupon["percent_off"] is None:
        return min(int(coupon["amount_off"]), whole)
    return int(whole * Fraction(str(coupon["percent_off"])) / 100 + Fraction(1, 2))


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """In proportion, in whole minor units that add up: what is left over goes to the largest remainders."""
    whole = sum(weights)
    parts = [amount * weight // whole for weight in weights]
    rest = sorted(range(len(weights)), key=lambda n: -(amount * weights[n] % whole))
    for number in rest[: amount - sum(parts)]:
        parts[number] += 1
    return parts


# ── of a subscription ───────────────────────────────────────────────────────────────────────────────


def read_wanted(account: Account, row: Json, asked: Json) -> list[Json] | None:
    """The discounts a call gives a subscription, as rows not stored yet; None: it says nothing of them.

    A discount that it has already is kept, with the time it has left. Raises as Stripe does for coupons
    and codes that cannot be used.
    """
    if "discounts" not in asked:
        return None
    given = asked["discounts"] or []
    return [wanted_row(account, row, one, f"discounts[{n}]") for n, one in enumerate(given)]


def wanted_row(account: Account, row: Json, asked: Json, name: str) -> Json:
    known = asked.get("discount")
    if known is not None and known in row["discounts"]:
        return account.load("discount", known)
    if known is not None:
        raise missing_object("discount", known, f"{name}[discount]")
    source = source_of(account, asked, row["customer"], row["currency"], name)
    return discount_row(account, row, source)


def source_of(account: Account, asked: Json, customer: str | None, currency: str, name: str) -> Json:
    """`{coupon, promotion_code}` (ids): the code is null where the coupon was named itself."""
    code_id = asked.get("promotion_code")
    code = usable_code(account, code_id, customer, f"{name}[promotion_code]") if code_id else None
    coupon_id = code["promotion"]["coupon"] if code else asked.get("coupon", "")
    coupon = account.load("coupon", coupon_id, f"{name}[coupon]")
    if coupon["amount_off"] is not None and coupon["currency"] != currency:
        raise refused(
            f"The coupon `{coupon_id}` takes off {coupon['currency']}, which cannot be combined with "
            f"{currency}.",
            f"{name}[coupon]",
        )
    return {"coupon": coupon["id"], "promotion_code": code_id}


def usable_code(account: Account, code_id: str, customer: str | None, name: str) -> Json:
    row = account.find("promotion_code", code_id)
    if row is None:
        raise missing_object("promotion code", code_id, name)
    if not row["active"]:
        raise refused("This promotion code is not active.", name)
    if row["customer"] not in {None, customer}:
        raise refused("This promotion code is for another customer.", name)
    return row


def discount_row(account: Account, subscription: Json, source: Json, session_id: str | None = None) -> Json:
    coupon, now = account.load("coupon", source["coupon"]), account.now()
    months = coupon["duration_in_months"]
    return {
        "id": new_id("discount"),
        "object": "discount",
        "checkout_session": session_id,
        "customer": subscription["customer"],
        "customer_account": None,
        "end": shifted(now, {"interval": "month", "interval_count": 1}, months) if months else None,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": source["promotion_code"],
        "source": {"coupon": source["coupon"], "type": "coupon"},
        "start": now,
        "subscription": subscription["id"],
        "subscription_item": None,
    }


def give(account: Account, subscription: Json, wanted: Sequence[Json]) -> None:
    """From now on the subscription has these and no others; the caller stores it."""
    for row in wanted:
        account.put("discount", row)
    subscription["discounts"] = [row["id"] for row in wanted]


def going_on(account: Account, subscription: Json) -> list[Taker]:
    """The subscription's discounts that have not ended."""
    rows = [account.load("discount", one) for one in subscription["discounts"]]
    return [taker_of(account, row) for row in rows if row["end"] is None or row["end"] > account.now()]


def taker_of(account: Account, row: Json) -> Taker:
    return Taker(row["id"], account.load("coupon", row["source"]["coupon"]))


# ── of an invoice ───────────────────────────────────────────────────────────────────────────────────


def discount_lines(account: Account, invoice: Json) -> int:
    """Note on a draft and on its lines what its discounts take off; answers their sum, in minor units."""
    lines = account.where("line_item", "invoice", invoice["id"])
    takers = [taker_of(account, account.load("discount", one)) for one in invoice["discounts"]]
    sums = dict.fromkeys(invoice["discounts"], 0)
    for line, taken in zip(lines, take_off(takers, [charged(line) for line in lines]), strict=True):
        amounts = [{"amount": amount, "discount": one} for one, amount in taken.items()]
        if amounts != line["discount_amounts"]:
            account.put("line_item", {**line, "discount_amounts": amounts})
        for one, amount in taken.items():
            sums[one] += amount
    invoice["total_discount_amounts"] = [{"amount": sums[one], "discount": one} for one in sums]
    return sum(sums.values())


def charged(line: Json) -> Charged:
    details = (line["pricing"] or {}).get("price_details") or {}
    return Charged(details.get("product"), line["amount"] if line["discountable"] else 0)


def forget_used(account: Account, subscription: Json, invoice: Json) -> None:
    """Those that have ended are gone, and one that counts once when it has taken something off."""
    used = {one["discount"] for one in invoice["total_discount_amounts"] if one["amount"]}
    subscription["discounts"] = [
        taker.taker_id
        for taker in going_on(account, subscription)
        if taker.coupon["duration"] != "once" or taker.taker_id not in used
    ]


#: Of a subscription; an empty value takes all away.
DISCOUNTS = params.nullable(
    params.list_of(
        params.hash_of({"coupon": params.text, "discount": params.text, "promotion_code": params.text}),
        at_most=MOST,
    )
)
