"""How a stored set reads at an instant."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import Raw

from domain.errors import Unknown
from domain.model import StoredSegment, StoredSet
from domain.rules.answer import answer_at

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE = NOON + timedelta(hours=1)
ON, OFF = (
    Raw(b'{"export":{"granted":true},"seats":{"granted":true,"value":5}}'),
    Raw(b'{"export":{"granted":false}}'),
)


def make_set(first_version: int = 42, clock_at: datetime | None = None) -> StoredSet:
    """Granted from noon to one o'clock, then no more."""
    return StoredSet(
        project="acme",
        app="editor",
        user_key=7,
        first_version=first_version,
        last_version=first_version + 1,
        catalog_version=3,
        computed_at=NOON,
        clock_at=clock_at,
        segments=(
            StoredSegment(begins_at=NOON, ends_at=ONE, entitlements=ON),
            StoredSegment(begins_at=ONE, ends_at=None, entitlements=OFF),
        ),
    )


def test_an_answer_reads_as_documented() -> None:
    answer = answer_at(make_set(), 'u "17"', NOON)
    assert answer.body == (
        b'{"project":"acme","app":"editor","user_id":"u \\"17\\"","version":42,'
        b'"as_of":"2026-11-22T12:00:00Z",'
        b'"valid_until":"2026-11-22T13:00:00Z","freshness":"live",'
        b'"entitlements":{"export":{"granted":true},"seats":{"granted":true,"value":5}}}'
    )
    assert answer.etag == '"42"'


def test_a_segment_ends_exactly_at_its_end_and_the_next_has_the_next_version() -> None:
    before = answer_at(make_set(), "u", ONE - timedelta(microseconds=1))
    after = answer_at(make_set(), "u", ONE)
    assert (before.version, after.version) == (42, 43)
    said = msgspec.json.decode(after.body)
    assert said["as_of"] == "2026-11-22T13:00:00Z"
    assert said["valid_until"] is None
    assert said["entitlements"] == {"export": {"granted": False}}


def test_before_the_first_segment_the_first_one_answers() -> None:
    assert answer_at(make_set(), "u", NOON - timedelta(days=1)) == answer_at(make_set(), "u", NOON)


def test_on_a_test_clock_the_clock_chooses_the_segment() -> None:
    assert answer_at(make_set(clock_at=ONE), "u", NOON).version == 43
    assert answer_at(make_set(clock_at=NOON), "u", ONE + timedelta(days=400)).version == 42


def test_equal_versions_are_equal_bytes_whenever_they_are_asked() -> None:
    assert answer_at(make_set(), "u", NOON) == answer_at(make_set(), "u", ONE - timedelta(seconds=1))


def test_a_stale_answer_differs_in_freshness_and_since_when_only() -> None:
    live, stale = answer_at(make_set(), "u", NOON), answer_at(make_set(), "u", NOON, stale_since=NOON)
    said = msgspec.json.decode(stale.body)
    assert said.pop("stale_since") == "2026-11-22T12:00:00Z"
    assert said.pop("freshness") == "stale"
    assert said == {k: v for k, v in msgspec.json.decode(live.body).items() if k != "freshness"}
    assert stale.etag is None


def test_defaults_are_tagged_by_their_catalog() -> None:
    answer = answer_at(make_set(0), "nobody", NOON)
    assert (answer.version, answer.etag) == (0, '"d3"')


def test_one_feature_is_flat() -> None:
    assert msgspec.json.decode(answer_at(make_set(), "u", NOON).one("seats")) == {
        "project": "acme",
        "app": "editor",
        "user_id": "u",
        "version": 42,
        "as_of": "2026-11-22T12:00:00Z",
        "valid_until": "2026-11-22T13:00:00Z",
        "freshness": "live",
        "feature": "seats",
        "granted": True,
        "value": 5,
    }


def test_some_features_are_the_set_without_the_others() -> None:
    answer = answer_at(make_set(), "u", NOON)
    said = msgspec.json.decode(answer.only(["seats"]))
    assert said["entitlements"] == {"seats": {"granted": True, "value": 5}}
    assert said["version"] == 42
    assert answer.only(["export", "seats"]) == answer.body


def test_an_unknown_feature_is_refused_with_the_nearest() -> None:
    answer = answer_at(make_set(), "u", NOON)
    with pytest.raises(Unknown, match=r"no feature 'exprot'.*did you mean export") as refused:
        answer.one("exprot")
    assert refused.value.code == "unknown_feature"
    with pytest.raises(Unknown, match="this app has export, seats"):
        answer.only(["export", "zzz"])
