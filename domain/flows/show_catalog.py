"""Show the catalog: a pricing page for one app, for everybody or as one user stands to it."""

import time
from datetime import datetime
from hashlib import sha256

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.gather_records import gather_records
from domain.flows.grant import require_head
from domain.flows.read_catalog import Head
from domain.rules.billing import Records
from domain.rules.catalog import Catalog
from domain.rules.entitlements import refuse_unknown_app
from domain.rules.holdings import is_running, purchased_plans, subscribed_plans
from domain.rules.offers import Held, OfferedFeature, OfferedPlan, hold, offer_features, offer_plans
from domain.store import customers
from domain.store.session import Connection

_encoder = msgspec.json.Encoder(order="deterministic")


class ShownCatalog(Struct, frozen=True, kw_only=True):
    """What an app may offer."""

    project: str
    app: str
    #: Only where a user was named: each plan then has its `relation`.
    user_id: str | UnsetType = UNSET
    #: Rises with every change of the project's catalog.
    version: int
    #: Lowest rank first.
    plans: tuple[OfferedPlan, ...]
    #: By key.
    features: tuple[OfferedFeature, ...]


class CatalogPage(Struct, frozen=True):
    #: JSON of `ShownCatalog`.
    body: bytes
    #: With its quotes: equal tags are equal bytes.
    etag: str
    #: Seconds since Postgres said so, where Postgres is away now; None: it has just said so.
    stale_for_s: float | None = None


class CatalogMemory:
    """The pages for everybody as this process last read them, for when Postgres is away; one per process.

    What a user stands to is never kept: it changes with what the user buys.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        #: By (project, app), of which there are few: the page, and the monotonic second at which it was read.
        self._pages: dict[tuple[str, str], tuple[CatalogPage, float]] = {}

    async def show(self, project: str, app: str, user_id: str | None) -> CatalogPage:
        """`show_catalog`, or what it said at most `stale_s` ago while Postgres is away.

        Raises:
            Unknown: as `show_catalog`.
            Unavailable: Postgres is away, and the page is of a user or too old.
        """
        read_at = time.monotonic()
        try:
            page = await show_catalog(self._context, project, app, user_id)
        except Unavailable:
            kept = self._pages.get((project, app)) if user_id is None else None
            if kept is None or (age_s := time.monotonic() - kept[1]) > self._context.settings.stale_s:
                raise
            return msgspec.structs.replace(kept[0], stale_for_s=age_s)
        if user_id is None:
            self._pages[project, app] = (page, read_at)
        return page


async def show_catalog(context: Context, project: str, app: str, user_id: str | None) -> CatalogPage:
    """The head as the app sees it; `user_id` None: for everybody.

    Raises:
        Unknown: there is no such project or app.
        Unavailable: Postgres is away.
    """
    async with context.database.snapshot() as connection:
        head = await require_head(connection, project)
        refuse_unknown_app(head.catalog, app)
        held = await _find_held(context, connection, head, user_id) if user_id is not None else None
    shown = ShownCatalog(
        project=project,
        app=app,
        user_id=user_id if user_id is not None else UNSET,
        version=head.version,
        plans=offer_plans(head.catalog, app, held),
        features=offer_features(head.catalog, app),
    )
    body = _encoder.encode(shown)
    # What a user has changes without a new version.
    own = f"-{sha256(body).hexdigest()[:16]}" if user_id is not None else ""
    return CatalogPage(body, f'"c{head.version}{own}"')


async def _find_held(context: Context, connection: Connection, head: Head, user_id: str) -> Held:
    project = head.catalog.project
    user = await customers.find_user(connection, project, user_id)
    if user is None:
        return Held()
    at = user.clock_at or await context.now(connection)
    return _held(await gather_records(connection, project, user.user_key), head.catalog, at)


def _held(records: Records, catalog: Catalog, at: datetime) -> Held:
    running = [one for one in records.facts.subscriptions if is_running(one, at)]
    items = [item.item_id for one in running for item in one.items if item.quantity != 0]
    billed = [records.billed[one.subscription_id] for one in running if one.subscription_id in records.billed]
    coming = {item.price_id for one in billed for item in one.scheduled_items}
    return hold(
        catalog,
        subscribed=subscribed_plans(records.facts, catalog, at),
        purchased=purchased_plans(records.facts, catalog, at),
        scheduled=[records.scheduled_terms[price_id] for price_id in sorted(coming)],
        terms=[records.terms[item_id] for item_id in items if item_id in records.terms],
    )
