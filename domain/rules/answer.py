"""An answer as bytes: which segment of a stored set holds at an instant, and how it reads.

Equal versions are equal bytes: nothing here depends on when or by whom an answer is read, except for a stale
one, which differs in `freshness` and `stale_since` only.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from domain.errors import Unknown
from domain.model import StoredSegment, StoredSet

Found = TypeVar("Found")

_encode = msgspec.json.Encoder().encode
_decode_features = msgspec.json.Decoder(dict[str, Raw]).decode


class Answer(Struct, frozen=True, kw_only=True):
    """What one user may use in one app, while one segment holds."""

    version: int
    #: `"42"`, for defaults `"d{catalog version}"`; None: stale, so nobody may keep it by a tag.
    etag: str | None
    #: The whole set as JSON, ready to send.
    body: bytes
    #: Where `entitlements` begins in `body`: what is before it is the same in every form of this answer.
    head_length: int
    #: The segment this is made of; `ends_at` is the answer's `valid_until`.
    segment: StoredSegment

    def only(self, features: Sequence[str]) -> bytes:
        """The set with these features alone, in the given order.

        Raises:
            Unknown: a feature that the app does not have, with the nearest ones.
        """
        found = _features(self)
        return _with(self, {feature: find_feature(found, feature) for feature in features})

    def one(self, feature: str) -> bytes:
        """The answer for one feature, flat; errors as `only`."""
        fields = bytes(find_feature(_features(self), feature))
        return self.body[: self.head_length] + b'"feature":' + _encode(feature) + b"," + fields[1:]


def only_of_all(answers: Sequence[Answer], features: Sequence[str]) -> list[bytes]:
    """Each of these answers with these features alone, in the given order.

    A feature that is younger than an answer is left out of it: after a catalog change users are recomputed
    one after the other, and those behind must not spoil the others' answers.

    Raises:
        Unknown: a feature that none of them has, with the nearest ones.
    """
    found = [_features(answer) for answer in answers]
    for feature in features:
        if answers and not any(feature in have for have in found):
            find_feature(found[0], feature)
    return [
        _with(answer, {feature: have[feature] for feature in features if feature in have})
        for answer, have in zip(answers, found, strict=True)
    ]


def answer_at(stored: StoredSet, user_id: str, at: datetime, stale_since: datetime | None = None) -> Answer:
    """The answer of a stored set at `at`; for a user on a test clock, at the clock's time instead.

    `at` is aware UTC. Before the first segment (a reader whose clock is behind) the first one answers.
    `stale_since` None: live.
    """
    index = _index_at(stored.segments, stored.clock_at or at)
    segment = stored.segments[index]
    version = stored.first_version + index
    names = _encode({"project": stored.project, "app": stored.app, "user_id": user_id, "version": version})
    times = _encode(
        {
            "as_of": stored.computed_at if index == 0 else segment.begins_at,
            "valid_until": segment.ends_at,
            "freshness": "live" if stale_since is None else "stale",
            **({} if stale_since is None else {"stale_since": stale_since}),
        }
    )
    head = names[:-1] + b"," + times[1:-1] + b","
    tag = f'"{version}"' if version else f'"d{stored.catalog_version}"'
    return Answer(
        version=version,
        etag=tag if stale_since is None else None,
        body=head + b'"entitlements":' + bytes(segment.entitlements) + b"}",
        head_length=len(head),
        segment=segment,
    )


def _features(answer: Answer) -> dict[str, Raw]:
    return _decode_features(answer.segment.entitlements)


def _with(answer: Answer, chosen: dict[str, Raw]) -> bytes:
    return answer.body[: answer.head_length] + b'"entitlements":' + _encode(chosen) + b"}"


def _index_at(segments: Sequence[StoredSegment], at: datetime) -> int:
    for index, segment in enumerate(segments):
        if segment.ends_at is None or at < segment.ends_at:
            return index
    return len(segments) - 1


def find_feature(found: Mapping[str, Found], feature: str) -> Found:
    """What `found` holds of this feature. Raises: Unknown, with the nearest names."""
    answer = found.get(feature)
    if answer is not None:
        return answer
    near = get_close_matches(feature, found, n=3)
    hint = "did you mean " + " or ".join(near) if near else "this app has " + (", ".join(found) or "none")
    raise Unknown(f"There is no feature {feature!r} for this app; {hint}.", code="unknown_feature")
