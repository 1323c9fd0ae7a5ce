"""The subscription a call is about: the group's live one, read from Stripe at that moment."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Invalid, Unknown
from domain.flows.change_plan.readable import Readable, read_answers
from domain.flows.gather_facts import gather_facts
from domain.flows.grant import require_head
from domain.flows.group_lock import holding_group
from domain.flows.read_budget import CLAIM_WAIT_S, budget_of, noting_429
from domain.flows.read_catalog import Head
from domain.flows.sync import Syncer
from domain.model import Facts, Subscription
from domain.money import PriceTerms
from domain.rules.billing import is_others
from domain.rules.catalog import Catalog
from domain.rules.entitlements import refuse_unknown_app
from domain.rules.foresight import with_subscription
from domain.rules.holdings import groups_of
from domain.rules.shapes import SCHEDULE, MirroredSchedule, parse_schedule, parse_subscription
from domain.store import billing, customers
from domain.stripe_gateway import JsonObject, Reserve
from domain.telemetry import get_logger

log = get_logger()

When = Literal["now", "period_end"]

#: Over for good.
ENDED = frozenset({"canceled", "incomplete_expired"})


class Asked(Struct, frozen=True, kw_only=True):
    """Whose subscription of which group, by whom."""

    project: str
    app: str
    user_id: str
    group: str
    #: Only say what it would cost and change.
    is_preview: bool = False


class Scene(Struct, frozen=True, kw_only=True):
    """What every verb stands on."""

    context: Context
    syncer: Syncer
    asked: Asked
    head: Head
    user_key: int
    #: For a user on a Stripe test clock the clock's time.
    at: datetime
    facts: Facts
    #: What the app's readers got before the call.
    before: Readable
    #: Not those that Stripe deleted.
    customer_ids: tuple[str, ...]
    #: Of the group's lock: what Stripe's idempotency keys of this call are made of. None: a preview.
    token: str | None = None

    @property
    def catalog(self) -> Catalog:
        return self.head.catalog

    @property
    def reserve(self) -> Reserve:
        return budget_of(self.context, CLAIM_WAIT_S)

    async def write(self, path: str, params: Mapping[str, Any], *, step: str) -> JsonObject:
        """POST, once for this call: `step` names it among the call's others."""
        if self.token is None:
            raise AssertionError("a preview changes nothing")
        stripe = self.context.stripe_or_raise
        return await stripe.create(path, dict(params), idempotency_key=f"change:{self.token}:{step}")


class Subject(Struct, frozen=True, kw_only=True):
    """A subscription as Stripe answered it, and what of it our rules read."""

    #: With `latest_invoice` expanded.
    answer: JsonObject
    subscription: Subscription
    customer_id: str
    #: None: none manages it now.
    schedule: MirroredSchedule | None
    #: By price id.
    terms: Mapping[str, PriceTerms]
    #: Others that are live in the group: there should be none.
    others: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.subscription.subscription_id

    @property
    def path(self) -> str:
        return f"/v1/subscriptions/{self.id}"

    @property
    def currency(self) -> str:
        return str(self.answer["currency"])

    @property
    def period_end(self) -> datetime:
        """When the running period, or the trial, ends."""
        return max(item.period_end for item in self.subscription.items)

    @property
    def pay_url(self) -> str | None:
        """Where the customer pays the latest invoice; None: nothing is to be paid, or not by a page."""
        invoice = self.answer.get("latest_invoice")
        is_open = isinstance(invoice, dict) and invoice.get("status") in {"open", "uncollectible"}
        return invoice.get("hosted_invoice_url") if isinstance(invoice, dict) and is_open else None

    def facts(self, scene: Scene) -> Facts:
        """The user's facts with this subscription as it is now."""
        return with_subscription(scene.facts, self.subscription)


@asynccontextmanager
async def scene_of(context: Context, syncer: Syncer, asked: Asked) -> AsyncIterator[Scene]:
    """The scene of a call; under the group's lock unless it is a preview.

    Raises:
        Unknown: there is no such project or app, or the user has no customer: no subscription then.
        Invalid: there is no such group.
        Conflict: another change or checkout of the group is under way.
    """
    async with context.database.snapshot() as connection:
        head = await require_head(connection, asked.project)
        refuse_unknown_app(head.catalog, asked.app)
        _refuse_unknown_group(head.catalog, asked.group)
        user = await customers.find_user(connection, asked.project, asked.user_id)
        linked = await billing.list_linked(connection, asked.project, user.user_key) if user else []
        if user is None or not linked:
            raise no_subscription(asked)
        scene = Scene(
            context=context,
            syncer=syncer,
            asked=asked,
            head=head,
            user_key=user.user_key,
            at=user.clock_at or await context.now(connection),
            facts=await gather_facts(connection, asked.project, user.user_key),
            before=await read_answers(context, connection, head.catalog, asked.app, asked.user_id),
            customer_ids=tuple(one.customer_id for one in linked if not one.is_deleted),
        )
    async with noting_429(context):
        if asked.is_preview:
            yield scene
            return
        async with holding_group(context, asked.project, user.user_key, asked.group) as token:
            yield msgspec.structs.replace(scene, token=token)


async def find_subject(scene: Scene) -> tuple[Subject | None, Subject | None]:
    """(the group's live subscription, else the one of it that ended last).

    Of several live ones the one that gives access, then the oldest, as answers break their ties.
    """
    found = [one for customer_id in scene.customer_ids for one in await _read_all(scene, customer_id)]
    mine = [one for one in found if _is_meant(one.subscription, scene)]
    live = sorted((one for one in mine if one.subscription.status not in ENDED), key=_first)
    gone = sorted((one for one in mine if one.subscription.status in ENDED), key=_first)
    if not live:
        return None, gone[-1] if gone else None
    others = tuple(one.id for one in live[1:] if one.subscription.status != "incomplete")
    if others:
        log.warning("several_live_subscriptions", user_key=scene.user_key, chosen=live[0].id, others=others)
    return await _whole(scene, msgspec.structs.replace(live[0], others=others)), None


def _is_meant(subscription: Subscription, scene: Scene) -> bool:
    """Of the group, and the app's business: as `GET /api/v1/billing` shows it."""
    is_in_group = scene.asked.group in groups_of(subscription, scene.catalog)
    return is_in_group and not is_others(subscription, scene.catalog, scene.asked.app)


def no_subscription(asked: Asked) -> Unknown:
    return Unknown(
        f"This user has no subscription in the group {asked.group!r} that gives this app anything: open a "
        "checkout (POST /api/v1/checkout/session), or, where that answers subscription_exists, have an app "
        "change it that GET /api/v1/billing shows it to.",
        code="no_subscription",
    )


def _refuse_unknown_group(catalog: Catalog, group: str) -> None:
    known = sorted({plan.group for plan in catalog.plans.values() if plan.group is not None})
    if group in known:
        return
    near = get_close_matches(group, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    raise Invalid("The catalog has no such group.", errors=(FieldError("group", f"unknown group; {hint}"),))


def _first(one: Subject) -> tuple[bool, datetime, str]:
    return (one.subscription.status == "incomplete", one.subscription.created_at, one.id)


async def _read_all(scene: Scene, customer_id: str) -> list[Subject]:
    listed = scene.context.stripe_or_raise.read_list(
        "/v1/subscriptions",
        scene.reserve,
        customer=customer_id,
        status="all",
        expand=["data.latest_invoice"],
    )
    return [await _parse(scene, answer) async for answer in listed]


async def _parse(scene: Scene, answer: JsonObject) -> Subject:
    if answer["items"].get("has_more"):
        pages = scene.context.stripe_or_raise.read_list(
            "/v1/subscription_items", scene.reserve, subscription=answer["id"]
        )
        answer = {**answer, "items": {"data": [item async for item in pages]}}
    found = parse_subscription(answer)
    return Subject(
        answer=answer,
        subscription=found.subscription,
        customer_id=found.customer_id,
        schedule=MirroredSchedule(schedule_id=found.schedule_id) if found.schedule_id else None,
        terms={},
    )


async def _whole(scene: Scene, subject: Subject) -> Subject:
    """With its schedule, the keys of its prices, and what the mirror knows of its payments."""
    items = subject.subscription.items
    async with scene.context.database.connection() as connection:
        pairs = sorted({(item.price_id, item.product_id) for item in items})
        terms = await billing.list_terms(connection, scene.asked.project, pairs)
    return msgspec.structs.replace(
        subject,
        schedule=await _read_schedule(scene, subject.schedule),
        terms=terms,
        subscription=_with_mirrored(subject.subscription, scene.facts, terms),
    )


def _with_mirrored(fresh: Subscription, facts: Facts, terms: Mapping[str, PriceTerms]) -> Subscription:
    """What only invoices tell is the mirror's; what Stripe has just answered is newer."""
    known = next((one for one in facts.subscriptions if one.subscription_id == fresh.subscription_id), None)
    paid_for = {item.item_id for item in known.items if item.is_paid_for} if known is not None else set()
    items = tuple(
        msgspec.structs.replace(
            item,
            price_key=terms[item.price_id].price,
            revision=terms[item.price_id].revision,
            is_paid_for=item.item_id in paid_for,
        )
        for item in fresh.items
    )
    whole = msgspec.structs.replace(fresh, items=items)
    if known is None:
        return whole
    return msgspec.structs.replace(
        whole,
        first_failure_at=known.first_failure_at,
        is_failing_after_trial=known.is_failing_after_trial,
        paid_through=known.paid_through,
        last_known_status=known.last_known_status,
        unknown_since=known.unknown_since,
        disputes=known.disputes,
    )


async def _read_schedule(scene: Scene, named: MirroredSchedule | None) -> MirroredSchedule | None:
    if named is None:
        return None
    path = f"/v1/subscription_schedules/{named.schedule_id}"
    found = parse_schedule(await scene.context.stripe_or_raise.read(path, scene.reserve, expand=SCHEDULE))
    if found.coming > 1:
        raise Conflict(
            f"Somebody has planned {found.coming} further phases for this subscription in Stripe "
            f"({found.schedule_id}): change or release that schedule in the dashboard first.",
            code="schedule_not_ours",
        )
    return found
