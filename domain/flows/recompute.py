"""Recompute: the facts of a user, read under the user lock, become stored timelines and history.

Whoever calls holds a transaction and commits it; afterwards `publish` copies the answers to the cache.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import msgspec
from msgspec import Struct

from domain import metrics
from domain.cache import cache_key
from domain.context import Context
from domain.errors import Broken, Unavailable
from domain.flows.book_recurring import book_recurring
from domain.flows.gather_facts import gather_facts
from domain.flows.read_catalog import Head, find_head
from domain.model import CachedSet, EntitlementSet, Facts, Segment, StoredSegment, StoredSet, Timeline
from domain.rules.changes import list_changed
from domain.rules.entitlements import compute
from domain.rules.timeline import decode_timeline, encode_timeline, is_same_from, segment_at, timeline
from domain.store import changes, customers, entitlements
from domain.store.customers import LockedUser
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()

_decode_segments = msgspec.json.Decoder(tuple[StoredSegment, ...]).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


NOTHING: Mapping[str, int] = MappingProxyType({})


class Recomputed(Struct, frozen=True, kw_only=True):
    """What a recompute leaves: every app's answers, changed or not, ready for the cache."""

    user_key: int
    sets: tuple[tuple[str, StoredSet], ...]
    #: Apps whose answers changed.
    changed: tuple[str, ...]


async def recompute_user(
    context: Context,
    connection: Connection,
    user_key: int,
    *,
    cause: str,
    above: Mapping[str, int] = NOTHING,
) -> Recomputed:
    """Bring the stored answers of one user up to their sources and the catalog head.

    Takes the user lock first, then reads: two of these for one user never work on the same past. A user
    whose project has no catalog, or with a timeline that says the same from now on, gets no new version;
    but for apps in `above`, whose version then lies above that number.
    """
    user = await customers.lock_user(connection, user_key)
    now = user.clock_at or await context.now(connection)
    head = await find_head(connection, user.project)
    if head is None:
        raise Broken(f"project {user.project} has users but no catalog: run `tollhouse catalog apply`")
    facts = await gather_facts(connection, user.project, user_key)
    await book_recurring(connection, user, facts, head.catalog, now)
    stored = {found.app: found for found in await entitlements.list_sets(connection, user.project, user_key)}
    results = [
        await _recompute_app(
            connection,
            user,
            app,
            stored.get(app),
            facts=facts,
            head=head,
            now=now,
            cause=cause,
            above=above.get(app),
        )
        for app in sorted(head.catalog.apps.keys() | stored.keys())
    ]
    answered = [(kept, is_new) for kept, is_new in results if kept.app in head.catalog.apps]
    boundaries = [segment.ends_at for kept, _ in results for segment in kept.segments]
    await customers.note_recompute(
        connection,
        user_key,
        max(head.version, user.catalog_version),
        min((end for end in boundaries if end is not None and end > now), default=None),
    )
    changed = tuple(kept.app for kept, is_new in answered if is_new)
    metrics.recomputes.labels(cause, str(bool(changed)).lower()).inc()
    return Recomputed(
        user_key=user_key,
        sets=tuple((cache_key(user.project, user.user_id, kept.app), kept) for kept, _ in answered),
        changed=changed,
    )


async def publish(context: Context, recomputed: Sequence[Recomputed], read_at: float) -> bool:
    """Copy answers to the cache after commit. Losing it costs readers at most `fresh_s`, so it never fails.

    False: the cache does not hold them, or this process knows of none, and readers may say for `fresh_s` what
    they remember. `read_at` is a unix time from before the commit: see `before_commit`.
    """
    if context.cache is None:
        return False
    entries = [
        (key, CachedSet(stored=stored, read_at=read_at)) for one in recomputed for key, stored in one.sets
    ]
    try:
        await context.cache.store(entries)
    except Unavailable as error:
        log.warning("cache_store_failed", error=error.detail, sets=len(entries))
        return False
    return True


def before_commit() -> float:
    """The freshness stamp: taken before COMMIT, because what is read there may be over a moment later."""
    return time.time()


async def _recompute_app(
    connection: Connection,
    user: LockedUser,
    app: str,
    stored: StoredSet | None,
    *,
    facts: Facts,
    head: Head,
    now: datetime,
    cause: str,
    above: int | None,
) -> tuple[StoredSet, bool]:
    """(the answers that hold, whether they are new)."""
    if stored is not None:
        await _append_begun(connection, stored, now)
    new = timeline(facts, head.catalog, app, now) if app in head.catalog.apps else _nothing_from(now)
    if stored is not None and (
        stored.catalog_version > head.version
        or (above is None and is_same_from(_timeline_of(stored), new, now))
    ):
        return stored, False
    encoded = encode_timeline(new)
    first_version = max(stored.last_version if stored is not None else 0, above or 0) + 1
    fresh = StoredSet(
        project=user.project,
        app=app,
        user_key=user.user_key,
        first_version=first_version,
        last_version=first_version + len(new) - 1,
        catalog_version=head.version,
        computed_at=now,
        clock_at=user.clock_at,
        segments=_decode_segments(encoded),
    )
    if not await entitlements.save_set(connection, fresh, encoded):
        raise Broken(f"answers of user {user.user_key} for {app} were written past the user lock")
    await entitlements.append_history(
        connection, fresh, [(first_version, fresh.segments[0])], cause=cause, facts=_encode(facts)
    )
    before = _answered_before(stored, head, app, now)
    differing = list_changed(before, new[0].entitlements)
    await changes.append_changes(connection, fresh, [(first_version, differing)], cause=cause)
    return fresh, True


def _nothing_from(now: datetime) -> Timeline:
    """What an app has that the catalog no longer lists. It is not served; but were the app listed again,
    its old answers, whose sources may be gone by then, would be served until its users are recomputed.
    """
    return (Segment(begins_at=now, ends_at=None, entitlements={}),)


async def _append_begun(connection: Connection, stored: StoredSet, now: datetime) -> None:
    """Segments begun since the last recompute were answered: history and feed say so, with their version."""
    begun = [
        (stored.first_version + index, segment)
        for index, segment in enumerate(stored.segments)
        if index > 0 and segment.begins_at <= now
    ]
    if not begun:
        return
    last = await entitlements.last_facts(connection, stored.user_key, stored.app)
    if last is None or last[0] >= begun[-1][0]:
        return
    await entitlements.append_history(connection, stored, begun, cause="boundary", facts=last[1])
    answers = [segment.entitlements for segment in _timeline_of(stored)]
    differing = [
        (version, list_changed(answers[index], answers[index + 1]))
        for index, (version, _) in enumerate(begun)
        if version > last[0]
    ]
    await changes.append_changes(connection, stored, differing, cause="boundary")


def _answered_before(stored: StoredSet | None, head: Head, app: str, now: datetime) -> EntitlementSet:
    """What held until a new version: the stored segment of `now`, or the defaults of the catalog head."""
    if stored is None:
        return compute(Facts(), head.catalog, app, now)
    return segment_at(_timeline_of(stored), now)[1].entitlements


def _timeline_of(stored: StoredSet) -> Timeline:
    return decode_timeline(_encode(stored.segments))
