"""A dry run: what an import would link and give, from Stripe's lists alone. Nothing is written.

It is not resumable, and holds what the account sold in memory: some 5 KB per customer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Mapped
from datetime import datetime

from msgspec import Struct, field

from domain.context import Context
from domain.flows.backfill.begin import find_taken
from domain.flows.backfill.customers import USER_ERASED
from domain.flows.backfill.mapping import NO_MAP, ByMap, Mapping, refuse_lines, user_named
from domain.flows.backfill.objects import customer_of, read_page, split, take_page
from domain.flows.backfill.run import PARTS, Progress
from domain.flows.backfill.stages import OBJECTS
from domain.flows.fetch import Fetched
from domain.flows.fix_deployment import DeploymentCheck
from domain.flows.gather_facts import with_history
from domain.flows.grant import require_head
from domain.flows.make_user import erased_among
from domain.flows.read_budget import noting_429, patient_budget
from domain.flows.read_catalog import Head
from domain.flows.reconcile.look import Account
from domain.model import Facts
from domain.rules.catalog import plan_of
from domain.rules.entitlements import compute
from domain.rules.holdings import running_items
from domain.rules.money_back import Payments, disputes_by_invoice, sold_once, with_money_back
from domain.rules.shapes import purchases_of_invoice
from domain.store import import_customers
from domain.stripe_gateway import PAGE, JsonObject

ABSENT = "no list of Stripe's shows it: deleted, another account's, or on a test clock"


class UnknownPrice(Struct, frozen=True, kw_only=True):
    """What runs or was bought, and no plan of the catalog lists: put it into a price's `stripe_ids`."""

    price_id: str
    product_id: str
    #: Subscriptions that run, and purchases.
    times: int


class WouldBe(Struct, frozen=True, kw_only=True):
    app: str
    feature: str
    #: Users who would have it.
    users: int


class Unlinked(Struct, frozen=True, kw_only=True):
    customer_id: str
    user_id: str | None
    reason: str | None


class DryRun(Struct, frozen=True, kw_only=True):
    project: str
    #: Calls to Stripe.
    reads: int
    #: Of the account.
    customers: int
    linked: int
    users: int
    unmapped: tuple[Unlinked, ...]
    unknown_prices: tuple[UnknownPrice, ...]
    #: From what the linked customers have bought alone, without grants.
    would_be: tuple[WouldBe, ...]


class _Seen(Struct, kw_only=True):
    """What was read so far."""

    customers: int = 0
    #: Customer → user.
    linked: dict[str, str] = {}
    unmapped: list[Unlinked] = []
    #: User → everything of its customers.
    held: dict[str, list[Fetched]] = field(default_factory=lambda: defaultdict(list))


async def dry_run(
    context: Context, project: str, mapping: Mapping, *, progress: Progress | None = None
) -> DryRun:
    """Read all of the account and say what an import with this map would do.

    Raises:
        Unknown: there is no such project. Invalid: wrong lines.
        Unavailable: Stripe or Postgres is away.
    """
    await DeploymentCheck(context).ensure()
    async with context.database.connection() as connection:
        head = await require_head(connection, project)
        if isinstance(mapping, ByMap):
            refuse_lines(await find_taken(connection, project, mapping.lines), NO_MAP)
        now = await context.now(connection)
    account = Account(context, patient_budget(context, float("inf")))
    seen = _Seen()
    await _read_customers(account, project, mapping, seen)
    for number, stage in enumerate(OBJECTS, start=1):
        if progress is not None:
            progress(number * PARTS, (len(OBJECTS) + 1) * PARTS)
        await _read_objects(account, stage, seen)
    facts = [facts_of(held) for held in seen.held.values()]
    return DryRun(
        project=project,
        reads=account.reads,
        customers=seen.customers,
        linked=len(seen.linked),
        users=len(set(seen.linked.values())),
        unmapped=tuple(seen.unmapped),
        unknown_prices=_unknown_prices(facts, head, now),
        would_be=_would_be(facts, head, now),
    )


async def _read_customers(account: Account, project: str, mapping: Mapping, seen: _Seen) -> None:
    waiting = {one.customer_id: one.user_id for one in mapping.lines} if isinstance(mapping, ByMap) else {}
    cursor: str | None = None
    is_over = False
    while not is_over:
        after = {"starting_after": cursor} if cursor else {}
        async with noting_429(account.context):
            page = await account.read("/v1/customers", limit=PAGE, **after)
        await _sort(account, project, mapping, page["data"], waiting, seen)
        cursor = str(page["data"][-1]["id"]) if page["data"] else None
        is_over = cursor is None or not page.get("has_more")
    absent = waiting.keys() - seen.linked.keys() - {one.customer_id for one in seen.unmapped}
    seen.unmapped += [
        Unlinked(customer_id=one, user_id=waiting[one], reason=ABSENT) for one in sorted(absent)
    ]


async def _sort(
    account: Account,
    project: str,
    mapping: Mapping,
    answers: Sequence[JsonObject],
    waiting: Mapped[str, str],
    seen: _Seen,
) -> None:
    async with account.context.database.connection() as connection:
        owners = await import_customers.list_owners(connection, [str(one["id"]) for one in answers])
        users = {str(one["id"]): user_named(mapping.name, one, waiting) for one in answers}
        gone = await erased_among(
            account.context, connection, project, {user for user, _ in users.values() if user is not None}
        )
    seen.customers += len(answers)
    for customer_id, (user_id, reason) in users.items():
        owner = owners.get(customer_id)
        if user_id in gone:
            seen.unmapped.append(Unlinked(customer_id=customer_id, user_id=None, reason=USER_ERASED))
            continue
        if user_id is not None and (owner is None or (owner.project, owner.user_id) == (project, user_id)):
            seen.linked[customer_id] = user_id
        elif owner is None or user_id is not None:
            said = reason if owner is None else "belongs to another user or project already"
            seen.unmapped.append(Unlinked(customer_id=customer_id, user_id=user_id, reason=said))


async def _read_objects(account: Account, stage: str, seen: _Seen) -> None:
    cursor: str | None = None
    is_over = False
    while not is_over:
        async with noting_429(account.context):
            page = await read_page(account, stage, cursor)
            ours = [one for one in page.answers if customer_of(one) in seen.linked]
            fetched = await take_page(account, OBJECTS[stage], ours)
        for part in split(fetched, OBJECTS[stage].object_kind, ours):
            seen.held[seen.linked[part.customer_id]].append(part.fetched)
        cursor, is_over = page.cursor, page.cursor is None


def facts_of(held: Sequence[Fetched]) -> Facts:
    """What several pages show of one user, as the mirror would tell it."""
    payments = Payments(
        charges=[one for page in held for one in page.charges.values()],
        invoice_payments=[one for page in held for one in page.invoice_payments.values()],
        refunds=[one for page in held for one in page.refunds.values()],
        disputes=[one for page in held for one in page.disputes.values()],
    )
    invoices = [one for page in held for one in page.invoices.values()]
    bought = [
        *(line for page in held for session in page.sessions.values() for line in session.purchases),
        *(line for invoice in invoices for line in purchases_of_invoice(invoice)),
    ]
    disputes = disputes_by_invoice(payments)
    subscriptions = [one.subscription for page in held for one in page.subscriptions.values()]
    return Facts(
        subscriptions=tuple(with_history(one, invoices, disputes) for one in subscriptions),
        purchases=tuple(with_money_back(one, payments) for one in sold_once(bought)),
    )


def _unknown_prices(facts: Iterable[Facts], head: Head, now: datetime) -> tuple[UnknownPrice, ...]:
    counted = Counter(
        price
        for one in facts
        for price in (
            *((item.price_id, item.product_id) for item in running_items(one, now)),
            *((bought.price_id, bought.product_id) for bought in one.purchases),
        )
        if plan_of(head.catalog, *price) is None
    )
    return tuple(
        UnknownPrice(price_id=price, product_id=product, times=times)
        for (price, product), times in sorted(counted.items())
    )


def _would_be(facts: Iterable[Facts], head: Head, now: datetime) -> tuple[WouldBe, ...]:
    granted = Counter(
        (app, feature)
        for one in facts
        for app in head.catalog.apps
        for feature, answer in compute(one, head.catalog, app, now).items()
        if answer.granted
    )
    return tuple(
        WouldBe(app=app, feature=feature, users=users) for (app, feature), users in sorted(granted.items())
    )
