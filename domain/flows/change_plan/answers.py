"""What a caller is answered: what became of the subscription and of the answers that depend on it."""

import time
from datetime import datetime
from typing import Literal

from msgspec import Struct

from domain.flows.change_plan.readable import read_answers
from domain.flows.change_plan.subject import Scene, Subject
from domain.flows.gather_records import gather_records
from domain.flows.sync_now import sync_now
from domain.rules.billing import BillingSubscription, show_subscriptions
from domain.rules.impact import FeatureEffect, compare_sets
from domain.stripe_gateway import JsonObject
from domain.telemetry import get_logger

log = get_logger()

#: What is left of a door's ten seconds after Stripe's own answers.
SYNC_WITHIN_S = 4.0

Status = Literal["changed", "scheduled", "action_required", "unchanged"]


class EntitlementChange(Struct, frozen=True, kw_only=True):
    """What the app's readers get now, against before the call."""

    app: str
    version: int
    #: Features that gained or lost something; a reason that changed alone is not named.
    changes: tuple[FeatureEffect, ...]


class Changed(Struct, frozen=True, kw_only=True):
    #: `scheduled`: it happens at the period's end. `action_required`: it happens once the customer has paid
    #: at `url`, and is dropped after 23 hours. `unchanged`: it was so already.
    status: Status
    #: Where the customer pays; null: nothing is asked of them.
    url: str | None
    #: As `GET /api/v1/billing` shows it; null: nothing of it is about the app.
    subscription: BillingSubscription | None
    entitlements: EntitlementChange
    #: Whether Stripe was read back in time: else the answers follow with the next sync, within seconds.
    settled: bool
    #: Live subscriptions of the group beside this one: there should be none, an operator ends them in Stripe.
    other_subscriptions: tuple[str, ...]


class Concluded(Struct, frozen=True, kw_only=True):
    """What a verb has done."""

    changed: Changed
    #: Targets that may be rung: they were not read back in time.
    owed: tuple[int, ...] = ()


class MoneyLine(Struct, frozen=True, kw_only=True):
    """A line of an invoice that would be made."""

    description: str | None
    #: Minor units; negative: a credit.
    amount_minor: int
    #: Whether it is about a part of a period.
    is_proration: bool
    period_start: datetime
    period_end: datetime


class NextInvoice(Struct, frozen=True, kw_only=True):
    """The next renewal, before what the customer's balance pays of it."""

    at: datetime
    total_minor: int
    lines: tuple[MoneyLine, ...]


class Preview(Struct, frozen=True, kw_only=True):
    """Nothing was changed."""

    #: When it would happen.
    effective_at: datetime
    #: ISO, lower case.
    currency: str
    #: Minor units: charged at once, taxes and discounts included.
    due_now_minor: int
    #: Minor units put on the customer's balance for the next invoices, because more is given back than due.
    credit_minor: int
    #: Of the invoice made at once; empty: none is.
    lines: tuple[MoneyLine, ...]
    #: Null: none is to come.
    next_invoice: NextInvoice | None
    #: What the app's answers would gain and lose.
    entitlements: tuple[FeatureEffect, ...]


async def conclude(
    scene: Scene, subject: Subject, status: Status, *, awaited: JsonObject | None = None
) -> Concluded:
    """Read back what was changed, and say what it led to. `awaited`: the invoice that the customer pays."""
    started = time.monotonic()
    invoices = [("invoice", str(awaited["id"]))] if awaited is not None else []
    owed = await sync_now(
        scene.context,
        scene.syncer,
        subject.customer_id,
        [("subscription", subject.id), *invoices],
        cause="subscription_change",
        within_s=min(SYNC_WITHIN_S, scene.context.settings.read_back_s),
    )
    asked = scene.asked
    async with scene.context.database.connection() as connection:
        after = await read_answers(scene.context, connection, scene.catalog, asked.app, asked.user_id)
    log.info(
        "subscription_changed",
        subscription=subject.id,
        user_key=scene.user_key,
        status=status,
        settled=not owed,
        sync_ms=round((time.monotonic() - started) * 1000, 1),
    )
    changed = Changed(
        status=status,
        url=awaited.get("hosted_invoice_url") if awaited is not None else None,
        subscription=await _shown(scene, subject),
        entitlements=EntitlementChange(
            app=asked.app,
            version=after.version,
            changes=tuple(
                compare_sets(asked.app, scene.before.entitlements, after.entitlements, scene.catalog)
            ),
        ),
        settled=not owed,
        other_subscriptions=subject.others,
    )
    return Concluded(changed=changed, owed=owed)


async def _shown(scene: Scene, subject: Subject) -> BillingSubscription | None:
    async with scene.context.database.snapshot() as connection:
        records = await gather_records(connection, scene.asked.project, scene.user_key)
    shown = show_subscriptions(records, scene.catalog, scene.asked.app)
    return next((one for one in shown if one.id == subject.id), None)
