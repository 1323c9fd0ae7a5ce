"""What the engine knows of one source: what it would give, and when it does, over its whole life.

A life is decided once, from the facts alone; an instant only picks a span of it. So no rule can depend on
when we looked, and the ends of the spans are all the boundaries there are.
"""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from domain.model import FeatureValue, Reason, SourceRef
from domain.rules.catalog import Plan


class Span(Struct, frozen=True, kw_only=True):
    """A stretch of a source's life, from the end of the one before it (the first: from ever) to `until`."""

    #: Exclusive; None on the last span.
    until: datetime | None
    #: Whether the source is in force: gives access, or for a deny or override takes its effect.
    is_live: bool
    reason: Reason
    #: Live spans: when the access ends if nothing changes. None: no end is known, also where only a safety
    #: net ends the span (a trial of which Stripe has not told what became of it).
    access_ends_at: datetime | None = None


Life = tuple[Span, ...]


class Source(Struct, frozen=True, kw_only=True):
    ref: SourceRef
    #: How old it is: creation of the subscription or grant, payment of the purchase.
    since: datetime
    #: Distinguishes the items of one subscription and the lines of one invoice.
    part: str
    #: Consecutive spans that cover all time.
    life: Life
    #: By feature key: what it gives while it is live, never "nothing" (an override may: that takes away).
    #: For a deny: what it takes. None is unlimited.
    values: Mapping[str, FeatureValue]
    #: None: a grant of something else than a plan, or a Stripe price that the catalog does not know.
    plan: Plan | None = None
    flags: tuple[str, ...] = ()

    @property
    def is_unmapped(self) -> bool:
        """A Stripe price without a plan: nobody can say which features it was to give."""
        return self.plan is None and self.ref.kind != "grant"


def seniority(source: Source) -> tuple[datetime, str, str]:
    """Older sources first, then by id: the order in which ties are broken and sources are named."""
    return (source.since, source.ref.id, source.part)


def span_at(life: Life, at: datetime) -> Span:
    for span in life[:-1]:
        if span.until is not None and at < span.until:
            return span
    return life[-1]


def refused(reason: Reason) -> Life:
    return (Span(until=None, is_live=False, reason=reason),)


def live(reason: Reason) -> Life:
    return (Span(until=None, is_live=True, reason=reason),)


def cut(life: Life, at: datetime | None, then: Reason) -> Life:
    """The life ended at `at`, refused with `then` from there on; None leaves it as it is."""
    if at is None:
        return life
    kept = []
    for span in life:
        is_whole = span.until is not None and span.until <= at
        kept.append(_ended(span, span.until if is_whole else at, at))
        if not is_whole:
            break
    return (*kept, Span(until=None, is_live=False, reason=then))


def cut_live(life: Life, at: datetime | None, then: Reason) -> Life:
    """Like `cut`, but a life that is refused by `at` keeps its own reason."""
    if at is None or not span_at(life, at).is_live:
        return life
    return cut(life, at, then)


def held(reason: Reason, until: datetime, then: Reason) -> Life:
    """Live up to a safety net, which is no end that anybody announces."""
    return (Span(until=until, is_live=True, reason=reason), *refused(then))


def without_access(life: Life, reason: Reason) -> Life:
    """The same life with every live span refused for `reason`."""
    return tuple(
        Span(until=span.until, is_live=False, reason=reason) if span.is_live else span for span in life
    )


def _ended(span: Span, until: datetime | None, access_ends_at: datetime) -> Span:
    if not span.is_live:
        return Span(until=until, is_live=False, reason=span.reason)
    known = span.access_ends_at
    ends_at = access_ends_at if known is None else min(known, access_ends_at)
    return Span(until=until, is_live=True, reason=span.reason, access_ends_at=ends_at)
