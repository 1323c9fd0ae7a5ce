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

#: The place of each reason in the order in which the first that applies is said.
RANK = {reason: rank for rank, reason in enumerate(Reason)}


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
    #: How many of the plan: none of it (0) is nothing that an add-on could require.
    quantity: int = 1
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
    """The life ended at `at`, as announced, and refused with `then` from there on; None: as it is."""
    if at is None:
        return life
    before, _ = split(life, at)
    return (*announced(before, at), *refused(then))


def hold(life: Life, until: datetime, then: Reason) -> Life:
    """Like `cut`, at a safety net: an end that nobody announces, because a read will say otherwise first."""
    before, _ = split(life, until)
    return (*before, *refused(then))


def split(life: Life, at: datetime) -> tuple[Life, Life]:
    """What is before `at`, and what is from there on."""
    index = 0
    while (until := life[index].until) is not None and until <= at:
        index += 1
    span = life[index]
    last = Span(until=at, is_live=span.is_live, reason=span.reason, access_ends_at=span.access_ends_at)
    return (*life[:index], last), life[index:]


def announced(life: Life, at: datetime) -> Life:
    """The same life, whose accesses end at `at` unless they end earlier."""
    return tuple([_ending(span, at) if span.is_live else span for span in life])


def without_access(life: Life, reason: Reason) -> Life:
    """The same life without any access, refused for `reason` or for its own one where that is said first."""
    return tuple(
        Span(
            until=span.until,
            is_live=False,
            reason=reason if span.is_live else min(reason, span.reason, key=RANK.__getitem__),
        )
        for span in life
    )


def _ending(span: Span, at: datetime) -> Span:
    known = span.access_ends_at
    ends_at = at if known is None else min(known, at)
    return Span(until=span.until, is_live=True, reason=span.reason, access_ends_at=ends_at)
