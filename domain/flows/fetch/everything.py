"""Everything of a customer: what a link, an operator's sync or a moved test clock asks for.

Read page by page, and only the first page of each list in one run: what is left is a later run's, named by
`{customer}:{last id read}`. So a customer with thousands of objects makes progress in runs that fit a lease.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct

from domain.flows.fetch import access, money
from domain.flows.fetch.reading import Reading, gather
from domain.stripe_gateway import JsonObject

Take = Callable[[Reading, JsonObject], Awaitable[None]]

#: Between the customer and the last object read; no id of Stripe's has one.
_AFTER = ":"


class List(Struct, frozen=True):
    """One of Stripe's lists, as pages of it are read and taken: of one customer, or of all (an import)."""

    path: str
    object_kind: str
    take: Take
    params: dict[str, object]


async def _take_listed_session(reading: Reading, answer: JsonObject) -> None:
    lines = await reading.whole(answer["line_items"], f"/v1/checkout/sessions/{answer['id']}/line_items")
    # Its subscription is on the list of subscriptions.
    await access.take_session(reading, {**answer, "subscription": None}, lines)


LISTS = {
    "customer_subscriptions": List(
        "/v1/subscriptions", "subscription", access.take_subscription, {"status": "all"}
    ),
    "customer_sessions": List(
        "/v1/checkout/sessions",
        "checkout.session",
        _take_listed_session,
        # Others hold no purchase, and a customer may have left hundreds of them open.
        {"status": "complete", "expand": ["data.line_items", *(f"data.{path}" for path in access.SESSION)]},
    ),
    "customer_invoices": List("/v1/invoices", "invoice", money.take_invoice, {"expand": money.INVOICES}),
    "customer_charges": List("/v1/charges", "charge", money.take_charge, {"expand": ["data.refunds"]}),
}


async def read_customer_all(reading: Reading, customer_id: str) -> None:
    root = ("customer_all", customer_id)
    await reading.follow(root, ("customer", customer_id))
    reading.fetched.closure[root].update((kind, customer_id) for kind in LISTS)
    await gather(
        reading.guard((kind, customer_id), partial(_read_page, reading, kind, customer_id)) for kind in LISTS
    )


async def _read_page(reading: Reading, kind: str, name: str) -> None:
    listed = LISTS[kind]
    customer_id, _, after = name.partition(_AFTER)
    where = {"starting_after": after} if after else {}
    page = await reading.get(listed.path, customer=customer_id, limit=reading.page, **where, **listed.params)
    found: list[JsonObject] = page["data"]
    keys = [(listed.object_kind, str(answer["id"])) for answer in found]
    await gather(
        reading.guard(key, partial(listed.take, reading, answer))
        for key, answer in zip(keys, found, strict=True)
    )
    reading.fetched.closure.setdefault((kind, name), set()).update(keys)
    if page.get("has_more") and keys:
        reading.fetched.later.add((kind, f"{customer_id}{_AFTER}{keys[-1][1]}"))


def _page_of(kind: str) -> Callable[[Reading, str], Awaitable[None]]:
    async def read_page(reading: Reading, name: str) -> None:
        await _read_page(reading, kind, name)

    return read_page


#: What an event may name beside objects: the next page of one of a customer's lists.
PAGES = {kind: _page_of(kind) for kind in LISTS}
