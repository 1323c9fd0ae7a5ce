"""Show billing: an account page from the mirror, without asking Stripe."""

from datetime import datetime

from msgspec import Struct

from domain.context import Context
from domain.flows.gather_records import gather_records
from domain.flows.grant import require_head
from domain.model import Facts
from domain.rules.billing import (
    BillingPurchase,
    BillingSubscription,
    PaymentProblem,
    Records,
    find_payment_problem,
    show_purchases,
    show_subscriptions,
)
from domain.rules.entitlements import refuse_unknown_app
from domain.rules.portal import PortalVerdict, judge_portal
from domain.rules.redirect import usable_origins
from domain.store import billing, customers


class Billing(Struct, frozen=True, kw_only=True):
    """What one user pays for, as far as it is about one app."""

    project: str
    app: str
    user_id: str
    #: Now; for a user on a Stripe test clock the clock's time.
    as_of: datetime
    #: Newest first: all that have not ended, and the latest that have.
    subscriptions: tuple[BillingSubscription, ...]
    #: Newest first.
    purchases: tuple[BillingPurchase, ...]
    #: The most urgent one; null: payment is in order.
    payment_problem: PaymentProblem | None
    #: Whether Stripe's portal would open.
    portal: PortalVerdict


async def show_billing(context: Context, project: str, app: str, user_id: str) -> Billing:
    """What a user pays for; of a user nobody knows: nothing.

    Raises:
        Unknown: there is no such project or app.
        Unavailable: Postgres is away.
    """
    async with context.database.snapshot() as connection:
        head = await require_head(connection, project)
        refuse_unknown_app(head.catalog, app)
        user = await customers.find_user(connection, project, user_id)
        at = (user.clock_at if user else None) or await context.now(connection)
        records, linked = Records(facts=Facts()), []
        if user is not None:
            records = await gather_records(connection, project, user.user_key)
            linked = await billing.list_linked(connection, project, user.user_key)
    origins = usable_origins(head.catalog.apps[app].redirect_origins, context.stripe_or_raise.mode)
    return Billing(
        project=project,
        app=app,
        user_id=user_id,
        as_of=at,
        subscriptions=show_subscriptions(records, head.catalog, app),
        purchases=show_purchases(records, head.catalog, app, at),
        payment_problem=find_payment_problem(records, head.catalog, app),
        portal=judge_portal(linked, is_returnable=bool(origins)),
    )
