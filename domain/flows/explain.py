"""Explain one answer: what was, is or will be answered, and why, from the facts it came from."""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from domain.context import Context
from domain.flows.gather_facts import gather_facts
from domain.flows.grant import require_head
from domain.flows.read_catalog import Head, find_version, find_version_at
from domain.model import Entitlement, Facts, FeatureValue, StoredSet
from domain.rules.answer import find_feature
from domain.rules.applied import AppliedRule, applied_rule
from domain.rules.entitlements import compute, encode_entitlements, refuse_unknown_app
from domain.rules.explain import Explanation, NextChange, existing_at, explain
from domain.rules.outcomes import Arithmetic, SourceOutcome
from domain.store import customers, entitlements, grants
from domain.store.customers import UserRow
from domain.store.entitlements import HistoryRow
from domain.store.session import Connection

#: `then`: the facts that were known when it was answered; `now`: today's facts, at that instant.
AsKnown = Literal["then", "now"]
#: answered: what readers got; expected: what they will get if nothing changes; recomputed: from today's
#: facts; defaults: nothing was stored for the user.
Basis = Literal["answered", "expected", "recomputed", "defaults"]

_decode_facts = msgspec.json.Decoder(Facts).decode
_decode_set = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_answer = msgspec.json.Decoder(Entitlement).decode


class Question(Struct, frozen=True, kw_only=True):
    project: str
    app: str
    user_id: str
    feature: str
    #: Aware; None: now.
    at: datetime | None = None
    as_known: AsKnown = "then"
    #: Operators' words, and sources that say nothing about the app: for operators only.
    shows_all: bool = False


class Explained(Struct, frozen=True, kw_only=True):
    project: str
    app: str
    user_id: str
    feature: str
    #: The instant explained; for a user on a Stripe test clock in the clock's time.
    at: datetime
    as_known: AsKnown
    basis: Basis
    #: 0: defaults, or recomputed and never stored.
    version: int
    catalog_version: int
    #: What made this version: an event's type, boundary, catalog, grant, …; None: no version was stored.
    cause: str | None
    #: When this version began to be answered; None: as `cause`.
    answered_since: datetime | None
    verdict: Entitlement
    rule: AppliedRule
    sources: tuple[SourceOutcome, ...]
    arithmetic: Arithmetic | UnsetType = UNSET
    default: FeatureValue | UnsetType = UNSET
    next_changes: tuple[NextChange, ...]
    available_in: tuple[str, ...]
    would_change: tuple[str, ...]
    #: What does not fit together, and what to do about it.
    notes: tuple[str, ...]


class _Answered(Struct, frozen=True, kw_only=True):
    """A version as it was answered, with what it came from."""

    basis: Basis
    version: int = 0
    cause: str | None = None
    since: datetime | None = None
    #: JSON of the whole set.
    body: bytes
    facts: Facts
    head: Head


async def explain_feature(context: Context, asked: Question) -> Explained:
    """Why a feature is, was or will be granted or not.

    Raises:
        Unknown: there is no such project, app or, at that instant, feature; with the nearest names.
        Unavailable: Postgres is away.
    """
    async with context.database.snapshot() as connection:
        user = await customers.find_user(connection, asked.project, asked.user_id)
        now = (user.clock_at if user else None) or await context.now(connection)
        at = asked.at or now
        today = await _read_today(connection, asked, user, at)
        if asked.as_known == "now":
            return await _finish(connection, asked, at, now, today, ())
        answered = await _find_answered(connection, asked, user, at, now)
        if answered is None:
            answered, notes = await _defaults(connection, asked, user, at, now)
            return await _finish(connection, asked, at, now, answered, notes)
        if asked.at is None and _says_the_same(asked, answered, today):
            # The present facts explain the present better: equal answers are not stored again.
            answered = msgspec.structs.replace(answered, facts=today.facts, head=today.head)
            return await _finish(connection, asked, at, now, answered, ())
        notes = () if asked.at is not None else (_stale_note(asked),)
        return await _finish(connection, asked, at, now, answered, notes)


async def list_apps_seeing(context: Context, project: str, feature: str) -> tuple[str, ...]:
    """The apps for which a feature can be explained, sorted.

    Raises:
        Unknown: there is no such project or feature, with the nearest names.
    """
    async with context.database.snapshot() as connection:
        head = await require_head(connection, project)
    return find_feature(head.catalog.features, feature).apps


async def _read_today(
    connection: Connection, asked: Question, user: UserRow | None, at: datetime
) -> _Answered:
    head = await require_head(connection, asked.project)
    refuse_unknown_app(head.catalog, asked.app)
    known = await gather_facts(connection, asked.project, user.user_key) if user else Facts()
    facts = existing_at(known, at)
    body = encode_entitlements(compute(facts, head.catalog, asked.app, at))
    return _Answered(basis="recomputed", body=body, facts=facts, head=head)


async def _find_answered(
    connection: Connection, asked: Question, user: UserRow | None, at: datetime, now: datetime
) -> _Answered | None:
    """What history says, or the segment of the stored timeline that is not in history yet."""
    if user is None:
        return None
    kept = await entitlements.find_answered(connection, asked.project, user.user_key, asked.app, at)
    if kept is None:
        return None
    stored = await entitlements.find_set(connection, asked.project, asked.user_id, asked.app)
    head = await find_version(connection, asked.project, kept.catalog_version)
    if head is None:
        raise LookupError(f"catalog {asked.project} has no version {kept.catalog_version}")
    later = _later_segment(stored, kept, at)
    return _Answered(
        basis="answered" if at <= now else "expected",
        version=later[0] if later else kept.version,
        cause="boundary" if later else kept.cause,
        since=later[1] if later else kept.begins_at,
        body=later[2] if later else kept.body,
        facts=_decode_facts(kept.facts),
        head=head,
    )


def _later_segment(
    stored: StoredSet | None, kept: HistoryRow, at: datetime
) -> tuple[int, datetime, bytes] | None:
    """(version, begin, body) of the stored segment that holds at `at`, where history has not got it yet."""
    if stored is None:
        return None
    for index, segment in enumerate(stored.segments):
        version = stored.first_version + index
        is_open = segment.ends_at is None or at < segment.ends_at
        if segment.begins_at <= at and is_open and version > kept.version:
            return version, segment.begins_at, bytes(segment.entitlements)
    return None


async def _defaults(
    connection: Connection, asked: Question, user: UserRow | None, at: datetime, now: datetime
) -> tuple[_Answered, tuple[str, ...]]:
    """Nothing was stored at `at`: readers got the defaults of the catalog in force then."""
    is_past = at < now
    head = await find_version_at(connection, asked.project, at) if is_past else None
    if head is None or asked.app not in head.catalog.apps:
        head = await require_head(connection, asked.project)
    body = encode_entitlements(compute(Facts(), head.catalog, asked.app, at))
    answered = _Answered(basis="defaults", body=body, facts=Facts(), head=head)
    if user is None:
        return answered, (f"Nobody knows a user {asked.user_id!r} in this project.", _DEFAULTS_NOTE)
    first = await entitlements.find_first_answer(connection, asked.project, user.user_key, asked.app)
    since = f"The first answer of this user is of {first.isoformat()}." if first is not None else None
    return answered, tuple(note for note in (since, _DEFAULTS_NOTE) if note is not None)


_DEFAULTS_NOTE = "Nothing was stored for the user and this app: readers got the catalog's defaults."


async def _finish(
    connection: Connection,
    asked: Question,
    at: datetime,
    now: datetime,
    answered: _Answered,
    notes: tuple[str, ...],
) -> Explained:
    verdict = _decode_answer(find_feature(_decode_set(answered.body), asked.feature))
    found = explain(
        answered.facts,
        answered.head.catalog,
        asked.app,
        asked.feature,
        at,
        visible_only=not asked.shows_all,
    )
    if found.verdict != verdict:
        notes = (*notes, _OTHER_RULES_NOTE)
    sources = found.sources
    if asked.shows_all:
        sources = tuple([await _with_operator(connection, asked, one, now) for one in sources])
    return _explained(asked, at, answered, verdict, found, sources, notes)


_OTHER_RULES_NOTE = (
    "This release would answer otherwise from the facts of then: the verdict is what was answered, the rest "
    "is how this release sees it."
)


def _explained(
    asked: Question,
    at: datetime,
    answered: _Answered,
    verdict: Entitlement,
    found: Explanation,
    sources: tuple[SourceOutcome, ...],
    notes: tuple[str, ...],
) -> Explained:
    return Explained(
        project=asked.project,
        app=asked.app,
        user_id=asked.user_id,
        feature=asked.feature,
        at=at,
        as_known=asked.as_known,
        basis=answered.basis,
        version=answered.version,
        catalog_version=answered.head.version,
        cause=answered.cause,
        answered_since=answered.since,
        verdict=verdict,
        rule=applied_rule(verdict),
        sources=sources,
        arithmetic=found.arithmetic,
        default=found.default,
        next_changes=found.next_changes,
        available_in=found.available_in,
        would_change=found.would_change,
        notes=notes,
    )


async def _with_operator(
    connection: Connection, asked: Question, one: SourceOutcome, now: datetime
) -> SourceOutcome:
    """A grant with the words and the name of the operator who gave it."""
    if one.source.kind != "grant":
        return one
    row = await grants.find_grant(connection, asked.project, one.source.id, now)
    if row is None:
        return one
    return msgspec.structs.replace(one, operator_reason=row.reason, actor=row.actor)


def _says_the_same(asked: Question, answered: _Answered, today: _Answered) -> bool:
    stored, fresh = _decode_set(answered.body), _decode_set(today.body)
    return asked.feature in fresh and stored.get(asked.feature) == fresh[asked.feature]


def _stale_note(asked: Question) -> str:
    return (
        "Today's facts or catalog give another answer than the one that is stored: an operator finds the "
        f"broken link with `tollhouse explain <user> --project {asked.project}`."
    )
