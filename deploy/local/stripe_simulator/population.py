"""An account that was there before: many customers with what they bought, and no events any more.

Stripe keeps events for 30 days; whoever imports an older account cannot replay it, only read its lists.
"""

import msgspec

from deploy.local.stripe_simulator import payment_methods, purchase, refunds, subscriptions
from deploy.local.stripe_simulator.checkout import create_session, load_session
from deploy.local.stripe_simulator.customers import new_customer
from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.events import NO_REQUEST
from deploy.local.stripe_simulator.operations import Call
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.subscription_starts import create_subscription
from deploy.local.stripe_simulator.wishes import Wish, find_account

#: Of one call: some seconds, in which nobody else is answered.
MOST = 1000
#: All of it happened since then, so that no period of a month has ended meanwhile.
DAY_S = 86_400
SPAN_S = 25 * DAY_S
#: Kinds that a call leaves no new rows of.
UNSEEN = ("event", "event_moment", "delivery")


class PopulateWish(Wish, frozen=True, kw_only=True):
    customers: int
    #: Number of the first one: its user is `{prefix}{first}`.
    first: int = 0
    #: Of how many in all, whose moments are spread over 25 days in the order of their numbers.
    total: int = 0
    prefix: str = "u_"
    #: The metadata that names the user; None: nothing does.
    metadata_key: str | None = None
    #: A recurring price that everybody subscribes to.
    price: str
    #: A one-time price that each fifth has bought, too.
    one_time_price: str | None = None


class Populated(msgspec.Struct, frozen=True):
    customer: str
    user: str


def populate(simulator: Simulator, wish: PopulateWish, _path: Json) -> Json:
    """Each 20th subscription is canceled, each 25th past due, each second purchase refunded."""
    if not 1 <= wish.customers <= MOST:
        raise StripeError(f"customers is {wish.customers}: 1 to {MOST} in one call")
    account = find_account(simulator, wish.account)
    known = {kind: set(account.rows.get(kind, {})) for kind in UNSEEN}
    owed = len(account.outbox)
    made = [settle(account, wish, wish.first + number) for number in range(wish.customers)]
    del account.outbox[owed:]
    for kind in UNSEEN:
        for row_id in account.rows.get(kind, {}).keys() - known[kind]:
            account.remove(kind, row_id)
    return {"data": [msgspec.structs.asdict(one) for one in made]}


def settle(account: Account, wish: PopulateWish, number: int) -> Populated:
    """One customer, with everything it did at its moment."""
    total = max(wish.total, wish.first + wish.customers)
    moment = account.now() - SPAN_S + SPAN_S * number // (total + 1)
    user = f"{wish.prefix}{number}"
    with account.standing_at(moment):
        customer = new_payer(account, {wish.metadata_key: user} if wish.metadata_key else {})
        subscribe(account, customer, wish.price, number)
        if wish.one_time_price is not None and number % 5 == 0:
            buy(account, customer, wish.one_time_price, is_refunded=number % 10 == 0)
    return Populated(customer=customer["id"], user=user)


def new_payer(account: Account, metadata: dict[str, str]) -> Json:
    customer = new_customer(account)
    method = payment_methods.new_method(account, "card", payment_methods.card())
    method = payment_methods.attach_method(account, method["id"], customer["id"], None)
    customer["metadata"] = metadata
    customer["invoice_settings"] = {**customer["invoice_settings"], "default_payment_method": method["id"]}
    account.put("customer", customer)
    return customer


def subscribe(account: Account, customer: Json, price: str, number: int) -> None:
    asked = {"customer": customer["id"], "items": [{"price": price, "quantity": 1 + number % 3}]}
    made = create_subscription(call_of(account, asked))
    row = account.load("subscription", made["id"])
    if number % 20 == 7:  # noqa: PLR2004 - one of twenty, another than the next
        subscriptions.cancel_now(account, row, None)
    elif number % 25 == 3:  # noqa: PLR2004 - one of twenty-five
        subscriptions.set_fields(account, row, status="past_due")


def buy(account: Account, customer: Json, price: str, *, is_refunded: bool) -> None:
    asked = {
        "mode": "payment",
        "customer": customer["id"],
        "line_items": [{"price": price, "quantity": 1}],
        "success_url": "https://example.com/ok",
    }
    made = create_session(call_of(account, asked))
    session = load_session(account, made["id"])
    purchase.complete(account, session)
    if is_refunded:
        refunds.create_refund(call_of(account, {"payment_intent": session["payment_intent"]}))


def call_of(account: Account, asked: Json) -> Call:
    return Call(account=account, path=(), params=asked, base_url=account.base_url, request=NO_REQUEST)


WRITES = (("/_sim/populate", PopulateWish, populate),)
