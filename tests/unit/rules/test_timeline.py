"""The timeline: segments, their bounds, the reader's choice, comparison and bytes."""

from typing import Any

import msgspec
import pytest

from domain.errors import Unknown
from domain.model import Facts, Timeline
from domain.rules.entitlements import compute
from domain.rules.timeline import (
    boundaries,
    decode_timeline,
    encode_timeline,
    is_same_from,
    segment_at,
    timeline,
)
from tests.unit.rules.builders import (
    CATALOG,
    NOW,
    day,
    facts_of,
    make_grant,
    make_item,
    make_purchase,
    make_subscription,
)

LATE = make_subscription("past_due", first_failure_at=day(-2), cancel_at=day(9))


def of(*sources: Any, now=NOW) -> Timeline:
    return timeline(facts_of(*sources), CATALOG, "tool", now)


def bounds(segments: Timeline) -> list[object]:
    return [segment.begins_at for segment in segments] + [segments[-1].ends_at]


def test_without_sources_there_is_one_open_segment() -> None:
    (segment,) = of()
    assert (segment.begins_at, segment.ends_at) == (NOW, None)
    assert segment.entitlements == compute(Facts(), CATALOG, "tool", NOW)


def test_a_renewing_subscription_makes_no_boundary() -> None:
    assert bounds(of(make_subscription())) == [NOW, None]


def test_segments_are_consecutive_and_the_last_one_is_open() -> None:
    segments = of(LATE)
    assert bounds(segments) == [NOW, day(5), day(9), None]
    assert [segment.ends_at for segment in segments[:-1]] == [s.begins_at for s in segments[1:]]


def test_each_segment_is_what_compute_says_when_it_begins() -> None:
    for segment in of(LATE):
        assert segment.entitlements == compute(facts_of(LATE), CATALOG, "tool", segment.begins_at)


def test_equal_neighbours_are_one_segment() -> None:
    invisible = make_grant("allow", "formats", expires_at=day(3))
    assert boundaries(facts_of(invisible), CATALOG, "tool", NOW) == [day(3)]
    assert bounds(of(invisible)) == [NOW, None]


def test_boundaries_are_later_than_now() -> None:
    assert boundaries(facts_of(LATE), CATALOG, "tool", day(5)) == [day(9)]


def test_purchases_that_follow_each_other_make_a_boundary_between_them() -> None:
    first = make_purchase(paid_at=day(-10))
    second = make_purchase(purchase_id="cs_2/1", object_id="cs_2", paid_at=day(-5))
    assert bounds(of(first, second)) == [NOW, day(20), day(50), None]


def test_an_add_on_changes_when_its_required_plan_ends() -> None:
    addon = make_subscription(subscription_id="sub_2", items=(make_item("extra"),))
    values = [
        segment.entitlements["seats"].value for segment in of(make_subscription(cancel_at=day(3)), addon)
    ]
    assert values == [15, 0]


def test_an_app_that_the_catalog_does_not_know_is_refused() -> None:
    with pytest.raises(Unknown):
        timeline(Facts(), CATALOG, "toool", NOW)


# ── choosing ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("at", "index"), [(-1, 0), (0, 0), (4.99, 0), (5, 1), (8.99, 1), (9, 2), (99, 2)])
def test_a_reader_takes_the_segment_of_its_clock(at: float, index: int) -> None:
    segments = of(LATE)
    assert segment_at(segments, day(at)) == (index, segments[index])


# ── comparing ───────────────────────────────────────────────────────────────────────────────────────


def test_a_timeline_made_later_from_the_same_facts_is_the_same_from_then() -> None:
    for later in (0, 1, 5, 6, 9, 50):
        assert is_same_from(of(LATE), of(LATE, now=day(later)), day(later))


def test_another_answer_now_is_not_the_same() -> None:
    assert not is_same_from(of(LATE), of(make_subscription()), NOW)


def test_another_later_answer_is_not_the_same() -> None:
    denied = make_grant("deny", "export", starts_at=day(30))
    assert not is_same_from(of(LATE), of(LATE, denied), NOW)


def test_another_end_is_not_the_same() -> None:
    ending, renewing = of(make_subscription(cancel_at=day(3))), of(make_subscription())
    assert not is_same_from(ending, renewing, NOW)
    assert not is_same_from(ending, of(make_subscription(cancel_at=day(4))), NOW)


def test_differences_that_are_over_do_not_count() -> None:
    without_grace = make_subscription("past_due", cancel_at=day(9))
    assert not is_same_from(of(LATE), of(without_grace), day(4))
    assert is_same_from(of(LATE), of(without_grace), day(5))


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_timeline_survives_its_json() -> None:
    segments = of(LATE, make_purchase(), make_grant("deny", "sso", expires_at=day(2)))
    data = encode_timeline(segments)
    assert decode_timeline(data) == segments
    assert encode_timeline(decode_timeline(data)) == data


def test_json_of_something_else_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_timeline(b'[{"begins_at": "soon"}]')
