"""A-23: somebody on our Stripe account names a user of ours. Nothing is linked or given, all is counted."""

import uuid
from typing import Any

import pytest

from tests.flows.event_path import EventPath

URLS = {"success_url": "http://localhost:3000/ok", "cancel_url": "http://localhost:3000/no"}


async def buy_in_the_name_of(path: EventPath, customer_id: str | None, ref: str, **metadata: str) -> None:
    """Pay a session of one's own whose reference and metadata say that it is another's."""
    names = {"tollhouse_v": "1", "tollhouse_project": "acme", "tollhouse_user": "u_1", **metadata}
    params: dict[str, Any] = {
        "mode": "subscription",
        "line_items": [{"price": "price_acme.pro.month", "quantity": 1}],
        "client_reference_id": ref,
        "metadata": names,
        "subscription_data": {"metadata": names},
        **({} if customer_id is None else {"customer": customer_id}),
    }
    session = await path.create("/v1/checkout/sessions", {**params, **URLS})
    await path.stripe.pay(session["id"])


@pytest.mark.timeout(120)
async def test_naming_another_projects_user_links_nothing_and_gives_nobody_anything(path: EventPath) -> None:
    victim = await path.make_customer("u_1")
    (row,) = await path.rows("SELECT ref, user_key FROM stripe_customers")
    checkout = uuid.uuid4()
    await path.execute(
        """
        INSERT INTO checkout_sessions (ref, project, app, user_key, mode, status, items)
        VALUES ($1, 'acme', 'editor', $2, 'subscription', 'creating', '[]')
        """,
        checkout,
        row["user_key"],
    )
    for stranger in (
        await path.make_stripe_customer(tollhouse_project="acme", tollhouse_user="u_1"),
        # The reference of a row that holds another customer's id.
        await path.make_stripe_customer(tollhouse_ref=str(row["ref"])),
        # Linked, but to somebody of another project.
        await path.make_customer("g_1", "globex"),
        None,
    ):
        await buy_in_the_name_of(path, stranger, str(checkout), tollhouse_ref=str(row["ref"]))
    events = await path.events()
    for event in events:
        await path.deliver(event)
        await path.deliver({**event, "id": f"{event['id']}_live", "livemode": True})
    await path.drain()

    assert not await path.is_granted(user_id="u_1")
    linked = await path.rows("SELECT stripe_customer_id FROM stripe_customers WHERE project = 'acme'")
    assert linked == [{"stripe_customer_id": victim}]
    assert await path.rows("SELECT 1 FROM subscriptions WHERE project = 'acme'") == []
    assert await path.rows("SELECT status, stripe_session_id FROM checkout_sessions") == [
        {"status": "creating", "stripe_session_id": None}
    ]
    counted = await path.rows(
        "SELECT reason, count(*) AS events FROM webhook_events WHERE state = 'foreign' GROUP BY 1"
    )
    by_reason = {row["reason"]: row["events"] for row in counted}
    assert by_reason["other_mode"] > 0
    assert by_reason["unlinked_customer"] > 0
    assert await path.count_owed() == 0
