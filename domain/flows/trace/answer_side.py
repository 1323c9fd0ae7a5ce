"""The links from the mirror to what readers get: prices, catalog, set, boundary, cache."""

from datetime import datetime

import msgspec
from msgspec import Struct

from domain.flows.read_catalog import Head
from domain.flows.trace.link import WORKED_WITHIN_S, Link, Person, counted
from domain.model import CachedSet, Facts, StoredSet
from domain.rules.catalog import Catalog, plan_of
from domain.rules.timeline import decode_timeline, is_same_from, timeline
from domain.store.customers import UserRow

_encode = msgspec.json.Encoder().encode


class AnswerSide(Struct, frozen=True, kw_only=True):
    """The facts of a user, and what was made of them."""

    user: UserRow
    facts: Facts
    head: Head
    #: When the head was applied.
    head_applied_at: datetime
    #: Catalogs of the other projects.
    others: list[Catalog]
    #: The apps asked about.
    apps: list[str]
    #: By app.
    stored: dict[str, StoredSet]
    #: Business time of this user, and the database's present moment.
    now: datetime
    seen_at: datetime


class CacheSide(Struct, frozen=True, kw_only=True):
    #: By app; None: the cache holds nothing.
    cached: dict[str, CachedSet | None]
    #: None: the cache answered.
    error: str | None
    #: For how long an entry is answered without asking Postgres.
    fresh_s: float
    #: Unix seconds.
    now: float


def answer_links(seen: AnswerSide, person: Person) -> list[Link]:
    return [
        _prices(seen),
        _catalog(seen, person),
        _set(seen, person),
        _boundary(seen, person),
    ]


def cache_link(seen: AnswerSide, cache: CacheSide, person: Person) -> Link:
    """What readers find before they ask Postgres."""
    if cache.error is not None:
        finding = f"it did not answer ({cache.error}); readers ask Postgres"
        return Link(name="cache", state="unknown", finding=finding)
    links = [_entry(app, seen.stored.get(app), cache, person) for app in seen.apps]
    broken = [one for one in links if one.state == "broken"]
    if broken:
        return broken[0]
    return Link(name="cache", state="ok", finding="; ".join(one.finding for one in links))


# ── prices ──────────────────────────────────────────────────────────────────────────────────────────


class _Sold(Struct, frozen=True):
    """What was bought and has not ended."""

    price_id: str
    product_id: str


def _prices(seen: AnswerSide) -> Link:
    sold = _list_sold(seen.facts)
    if not sold:
        return Link(name="prices", state="none", finding="nothing that was bought is still running")
    foreign = [text for one in sold if (text := _plan_of_another(seen, one)) is not None]
    if foreign:
        repair = "it gives nothing here; `tollhouse grant` gives what was promised"
        return Link(name="prices", state="broken", finding="; ".join(foreign), repair=repair)
    unmapped = [one for one in sold if not _is_known(seen.head.catalog, one)]
    if unmapped:
        shown = ", ".join(f"{one.price_id} of {one.product_id}" for one in unmapped)
        finding = f"price_unmapped: the catalog knows neither the price nor the product of {shown}"
        return Link(name="prices", state="broken", finding=finding, repair=_MAP_IT)
    return Link(name="prices", state="ok", finding=f"{counted(len(sold), 'price')} known to the catalog")


_MAP_IT = (
    "list the price in `stripe_ids` of a price of the catalog file, or the product as `stripe_product` of a "
    "plan; then tollhouse catalog apply --local FILE"
)


def _list_sold(facts: Facts) -> list[_Sold]:
    items = [item for one in facts.subscriptions if one.ended_at is None for item in one.items]
    bought = [_Sold(one.price_id, one.product_id) for one in facts.purchases]
    return [_Sold(item.price_id, item.product_id) for item in items] + bought


def _is_known(catalog: Catalog, sold: _Sold) -> bool:
    return plan_of(catalog, sold.price_id, sold.product_id) is not None


def _plan_of_another(seen: AnswerSide, sold: _Sold) -> str | None:
    if _is_known(seen.head.catalog, sold):
        return None
    for other in seen.others:
        plan = plan_of(other, sold.price_id, sold.product_id)
        if plan is not None:
            return f"{sold.price_id} is of plan {plan.key} of another project, {other.project}"
    return None


# ── catalog, set, boundary ──────────────────────────────────────────────────────────────────────────


def _catalog(seen: AnswerSide, person: Person) -> Link:
    computed, head = seen.user.catalog_version, seen.head.version
    if not seen.stored:
        return Link(
            name="catalog", state="none", finding=f"version {head} is in force; nothing is stored yet"
        )
    if computed >= head:
        return Link(
            name="catalog", state="ok", finding=f"computed under version {computed}, the one in force"
        )
    finding = f"computed under version {computed}, and version {head} is in force"
    if (seen.seen_at - seen.head_applied_at).total_seconds() < WORKED_WITHIN_S:
        return Link(name="catalog", state="waiting", finding=f"{finding}; its turn comes in the background")
    repair = f"{person.repair} (the scheduler does it for everybody: is one running?)"
    return Link(name="catalog", state="broken", finding=finding, repair=repair)


def _set(seen: AnswerSide, person: Person) -> Link:
    has_sources = bool(seen.facts.subscriptions or seen.facts.purchases or seen.facts.grants)
    missing = [app for app in seen.apps if app not in seen.stored]
    if not seen.stored and not has_sources:
        return Link(name="set", state="none", finding="nothing is stored: readers get the catalog's defaults")
    if missing:
        finding = f"no answers are stored for {', '.join(missing)}: readers get the catalog's defaults"
        return Link(name="set", state="broken", finding=finding, repair=person.repair)
    stale = [app for app in seen.apps if not _is_current(seen, app)]
    if stale:
        finding = (
            f"the stored answers for {', '.join(stale)} are not what the mirror and the catalog give now"
        )
        return Link(name="set", state="broken", finding=finding, repair=person.repair)
    versions = ", ".join(f"{app} {seen.stored[app].first_version}" for app in seen.apps)
    return Link(name="set", state="ok", finding=f"stored as the facts give it now: {versions}")


def _is_current(seen: AnswerSide, app: str) -> bool:
    stored = seen.stored[app]
    kept = decode_timeline(_encode(stored.segments))
    return is_same_from(kept, timeline(seen.facts, seen.head.catalog, app, seen.now), seen.now)


def _boundary(seen: AnswerSide, person: Person) -> Link:
    boundary = seen.user.next_boundary_at
    if boundary is None:
        return Link(name="boundary", state="ok", finding="no change by itself is known")
    if boundary > seen.now:
        return Link(
            name="boundary", state="ok", finding=f"the next change by itself is {boundary.isoformat()}"
        )
    late_s = (seen.now - boundary).total_seconds()
    finding = (
        f"the answer changed by itself {late_s:.0f} s ago: readers see it, history and the change feed do not"
    )
    if late_s < WORKED_WITHIN_S:
        return Link(name="boundary", state="waiting", finding=finding)
    repair = f"start a scheduler; for this user alone: {person.repair}"
    return Link(name="boundary", state="broken", finding=finding, repair=repair)


# ── cache ───────────────────────────────────────────────────────────────────────────────────────────


def _entry(app: str, stored: StoredSet | None, cache: CacheSide, person: Person) -> Link:
    cached = cache.cached.get(app)
    if cached is None:
        return _cached("ok", f"{app}: no entry, readers ask Postgres")
    age_s = cache.now - cached.read_at
    if age_s >= cache.fresh_s:
        return _cached("ok", f"{app}: an entry that is {age_s:.0f} s old, readers ask Postgres")
    there, here = _versions(cached.stored), _versions(stored)
    if there > here:
        finding = f"{app}: version {there[0]} is newer than the stored {here[0]}: was the database restored?"
        return _cached("broken", finding, "empty the cache's Redis database; it holds copies only")
    if there < here:
        finding = f"{app}: version {there[0]} is older than the stored {here[0]}"
        return _cached("broken", f"{finding}, for at most {cache.fresh_s:g} s", person.repair)
    if stored is not None and cached.stored != stored:
        return _cached("broken", f"{app}: other bytes under the same version {here[0]}", person.repair)
    return _cached("ok", f"{app}: version {here[0]}, as stored")


def _cached(state: str, finding: str, repair: str | None = None) -> Link:
    return Link(name="cache", state="broken" if state == "broken" else "ok", finding=finding, repair=repair)


def _versions(stored: StoredSet | None) -> tuple[int, int]:
    """Defaults have version 0, and nothing stored compares like them."""
    if stored is None or stored.first_version == 0:
        return 0, 0
    return stored.first_version, stored.catalog_version
