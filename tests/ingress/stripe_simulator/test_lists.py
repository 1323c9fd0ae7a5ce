import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle
from tests.ingress.stripe_simulator.sdk import Json, ask, subscribe


async def make_customers(client: stripe.StripeClient, number: int) -> list[str]:
    """Ids, newest first."""
    made = [(await ask(client, "post", "/v1/customers"))["id"] for _ in range(number)]
    return made[::-1]


def ids(page: Json) -> list[str]:
    return [row["id"] for row in page["data"]]


async def test_list_is_paged_forwards_without_gap_or_repetition(client: stripe.StripeClient) -> None:
    made = await make_customers(client, 7)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await ask(client, "get", "/v1/customers", limit=3, **cursor)
        seen += ids(page)
        if not page["has_more"]:
            break
        cursor = {"starting_after": seen[-1]}
    assert seen == made
    assert page["url"] == "/v1/customers"


async def test_ending_before_gives_the_page_next_to_the_cursor(client: stripe.StripeClient) -> None:
    made = await make_customers(client, 6)
    page = await ask(client, "get", "/v1/customers", limit=2, ending_before=made[4])
    assert (ids(page), page["has_more"]) == (made[2:4], True)
    page = await ask(client, "get", "/v1/customers", limit=2, ending_before=made[2])
    assert (ids(page), page["has_more"]) == (made[:2], False)


async def test_the_sdk_pages_by_itself(client: stripe.StripeClient) -> None:
    made = await make_customers(client, 5)
    first = await client.v1.customers.list_async({"limit": 2})
    assert [customer.id async for customer in first.auto_paging_iter()] == made


@pytest.mark.parametrize(("limit", "is_allowed"), [(0, False), (1, True), (100, True), (101, False)])
async def test_limit_is_between_1_and_100(client: stripe.StripeClient, limit: int, is_allowed: bool) -> None:  # noqa: FBT001 (a column of the table)
    if is_allowed:
        assert (await ask(client, "get", "/v1/customers", limit=limit))["data"] == []
        return
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "get", "/v1/customers", limit=limit)
    assert caught.value.param == "limit"


async def test_cursor_that_names_nothing_is_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await ask(client, "get", "/v1/customers", starting_after="cus_none")
    assert (caught.value.http_status, caught.value.param) == (400, "starting_after")


async def test_created_filter_is_kept(sim: SimulatorHandle, client: stripe.StripeClient) -> None:
    made = await make_customers(client, 3)
    row = sim.account.load("customer", made[2])
    row["created"] -= 100
    sim.account.put("customer", row)
    recent = await ask(client, "get", "/v1/customers", created={"gt": row["created"]})
    assert ids(recent) == made[:2]
    assert ids(await ask(client, "get", "/v1/customers", created=row["created"])) == [made[2]]


async def test_subscription_canceled_between_two_pages_does_not_break_the_second(
    client: stripe.StripeClient,
) -> None:
    made = [(await subscribe(client, "price_month"))["id"] for _ in range(3)][::-1]
    page = await ask(client, "get", "/v1/subscriptions", limit=1)
    assert ids(page) == made[:1]
    await ask(client, "delete", f"/v1/subscriptions/{made[0]}")
    page = await ask(client, "get", "/v1/subscriptions", limit=5, starting_after=made[0])
    assert ids(page) == made[1:]


async def test_expand_reaches_through_lists_and_objects(client: stripe.StripeClient) -> None:
    await subscribe(client, "price_month")
    paths = ["data.customer", "data.latest_invoice.payments", "data.items.data.price.product"]
    row = (await ask(client, "get", "/v1/subscriptions", expand=paths))["data"][0]
    assert row["customer"]["object"] == "customer"
    assert row["latest_invoice"]["payments"]["data"][0]["status"] == "paid"
    assert row["items"]["data"][0]["price"]["product"]["name"] == "Pro"


@pytest.mark.parametrize("path", ["status", "nothing", "customer.email", "items.data.id"])
async def test_field_that_holds_no_object_cannot_be_expanded(client: stripe.StripeClient, path: str) -> None:
    subscription = await subscribe(client, "price_month")
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await ask(client, "get", f"/v1/subscriptions/{subscription['id']}", expand=[path])
