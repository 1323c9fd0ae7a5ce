"""The answer from now on: consecutive half-open segments up to every boundary that is already known."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from domain.model import EntitlementSet, Facts, Segment, Timeline
from domain.rules.catalog import Catalog
from domain.rules.entitlements import evaluate, refuse_unknown_app
from domain.rules.moment import read_sources
from domain.rules.sources import Source

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Timeline)


def timeline(facts: Facts, catalog: Catalog, app: str, now: datetime) -> Timeline:
    """`compute` at `now` and at every later boundary, equal neighbours merged: at least one segment.

    `now` is aware UTC; the first segment begins with it, the last one has no end. Raises Unknown where the
    catalog has no such app.
    """
    refuse_unknown_app(catalog, app)
    sources = read_sources(facts, catalog, app)
    instants = [now, *_edges(sources, now)]
    return _segments([(at, evaluate(sources, catalog, app, at)) for at in instants])


def boundaries(facts: Facts, catalog: Catalog, app: str, now: datetime) -> list[datetime]:
    """The instants later than `now`, ascending, at which an answer of this app may change by itself."""
    refuse_unknown_app(catalog, app)
    return _edges(read_sources(facts, catalog, app), now)


def segment_at(segments: Timeline, at: datetime) -> tuple[int, Segment]:
    """The segment whose answer holds at `at`, with its index; the first one also before it begins."""
    for index, segment in enumerate(segments):
        if segment.ends_at is None or at < segment.ends_at:
            return index, segment
    return len(segments) - 1, segments[-1]


def is_same_from(stored: Timeline, new: Timeline, at: datetime) -> bool:
    """Whether both give the same answers from `at` on; since when they have given them does not matter."""
    return _answers_from(stored, at) == _answers_from(new, at)


def encode_timeline(segments: Timeline) -> bytes:
    """Its JSON: equal timelines are equal bytes."""
    return _encoder.encode(segments)


def decode_timeline(data: bytes) -> Timeline:
    """Raises msgspec.ValidationError where `data` is not the JSON of a timeline."""
    return _decoder.decode(data)


def _edges(sources: Iterable[Source], now: datetime) -> list[datetime]:
    ends = {span.until for source in sources for span in source.life}
    return sorted(end for end in ends if end is not None and end > now)


def _segments(answers: list[tuple[datetime, EntitlementSet]]) -> Timeline:
    changes = [
        (at, answer)
        for index, (at, answer) in enumerate(answers)
        if index == 0 or answer != answers[index - 1][1]
    ]
    ends: list[datetime | None] = [at for at, _ in changes[1:]]
    return tuple(
        Segment(begins_at=at, ends_at=ends_at, entitlements=answer)
        for (at, answer), ends_at in zip(changes, [*ends, None], strict=True)
    )


def _answers_from(segments: Timeline, at: datetime) -> list[tuple[datetime | None, EntitlementSet]]:
    first, _ = segment_at(segments, at)
    return [(segment.ends_at, segment.entitlements) for segment in segments[first:]]
