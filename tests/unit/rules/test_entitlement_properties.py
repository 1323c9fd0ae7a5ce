"""What holds for any facts at all."""

from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.model import Facts, Grant, Reason, Subscription
from domain.rules.catalog import decode_catalog, encode_catalog
from domain.rules.entitlements import compute, encode_entitlements
from domain.rules.timeline import (
    boundaries,
    decode_timeline,
    encode_timeline,
    is_same_from,
    segment_at,
    timeline,
)
from tests.unit.rules.any_facts import (
    any_grant,
    any_purchase,
    any_subscription,
    facts,
    instants,
    seeds,
    sizes,
)
from tests.unit.rules.builders import CATALOG

MOMENT = timedelta(microseconds=1)
apps = st.sampled_from(["tool", "viewer"])
giving_sources = (
    seeds.map(lambda seed: any_grant(seed, ["allow", "add"]))
    | seeds.map(any_subscription)
    | seeds.map(any_purchase)
)
#: Enough to meet each rule many times while the whole folder stays under five seconds.
quick = settings(max_examples=40, deadline=None, derandomize=True)


@quick
@given(facts, apps, instants, st.randoms(use_true_random=False))
def test_the_order_of_sources_never_matters(given_facts: Facts, app: str, at: datetime, random) -> None:
    def shuffled(sources):
        return tuple(random.sample(sources, len(sources)))

    other = Facts(
        subscriptions=shuffled(
            [replace(one, items=shuffled(one.items)) for one in given_facts.subscriptions]
        ),
        purchases=shuffled(given_facts.purchases),
        grants=shuffled(given_facts.grants),
    )
    assert encode_timeline(timeline(given_facts, CATALOG, app, at)) == encode_timeline(
        timeline(other, CATALOG, app, at)
    )


@quick
@given(facts, apps, instants, giving_sources)
def test_adding_a_source_that_gives_never_removes_access(given_facts: Facts, app: str, at, source) -> None:
    if isinstance(source, Grant):
        more = replace(given_facts, grants=(*given_facts.grants, replace(source, grant_id="gr_new")))
    elif isinstance(source, Subscription):
        added = replace(source, subscription_id="sub_new")
        more = replace(given_facts, subscriptions=(*given_facts.subscriptions, added))
    else:
        added = replace(source, purchase_id="cs_new/1", object_id="cs_new")
        more = replace(given_facts, purchases=(*given_facts.purchases, added))
    before, after = compute(given_facts, CATALOG, app, at), compute(more, CATALOG, app, at)
    assert [key for key in before if before[key].granted and not after[key].granted] == []


@quick
@given(facts, apps, instants, sizes)
def test_the_same_facts_read_anew_give_the_same_bytes(given_facts: Facts, app: str, at, rounds: int) -> None:
    """Facts that went through history's JSON are what explain recomputes from."""
    again, catalog = given_facts, CATALOG
    for _ in range(rounds + 1):
        again = msgspec.json.decode(msgspec.json.encode(again), type=Facts)
        catalog = decode_catalog(encode_catalog(catalog))
    assert encode_timeline(timeline(again, catalog, app, at)) == encode_timeline(
        timeline(given_facts, CATALOG, app, at)
    )


@quick
@given(facts, apps, instants, seeds.map(lambda seed: any_grant(seed, ["deny"])))
def test_deny_always_wins(given_facts: Facts, app: str, at: datetime, deny: Grant) -> None:
    now = replace(deny, grant_id="gr_new", starts_at=at, expires_at=None, revoked_at=None)
    without = compute(given_facts, CATALOG, app, at)
    denied = compute(replace(given_facts, grants=(*given_facts.grants, now)), CATALOG, app, at)
    for key, answer in denied.items():
        is_meant = (
            (now.target_kind == "feature" and now.target == key)
            or (
                now.target_kind == "plan"
                and now.target in CATALOG.plans
                and CATALOG.plans[now.target].gives(key)
            )
            or (now.target_kind == "app" and now.target == app)
            or now.target_kind == "project"
        )
        assert (answer.reason is Reason.DENIED and not answer.granted) if is_meant else answer == without[key]


@quick
@given(facts, apps, instants, st.lists(instants, max_size=8))
def test_a_timeline_equals_compute_at_every_instant(given_facts: Facts, app: str, now, sampled) -> None:
    """Also exactly at each boundary, merged ones included, and a microsecond before and after it."""
    segments = timeline(given_facts, CATALOG, app, now)
    edges = [segment.begins_at for segment in segments]
    edges += boundaries(given_facts, CATALOG, app, now)
    around = [edge + moment for edge in edges for moment in (-MOMENT, MOMENT)]
    for at in (at for at in [*edges, *around, *sampled] if at >= now):
        _, segment = segment_at(segments, at)
        assert segment.begins_at <= at
        assert segment.entitlements == compute(given_facts, CATALOG, app, at)


@quick
@given(facts, apps, instants)
def test_segments_are_half_open_and_differ_from_their_neighbours(given_facts: Facts, app: str, now) -> None:
    segments = timeline(given_facts, CATALOG, app, now)
    assert (segments[0].begins_at, segments[-1].ends_at) == (now, None)
    for one, following in pairwise(segments):
        assert one.ends_at == following.begins_at > one.begins_at
        assert one.entitlements != following.entitlements


@quick
@given(facts, apps, instants, instants)
def test_a_timeline_made_later_says_the_same(given_facts: Facts, app: str, one, other) -> None:
    now, later = sorted([one, other])
    stored, new = (timeline(given_facts, CATALOG, app, at) for at in (now, later))
    assert is_same_from(stored, new, later)


@quick
@given(facts, apps, instants)
def test_a_timeline_survives_its_json(given_facts: Facts, app: str, now: datetime) -> None:
    segments = timeline(given_facts, CATALOG, app, now)
    data = encode_timeline(segments)
    assert decode_timeline(data) == segments
    assert encode_timeline(decode_timeline(data)) == data


@quick
@given(facts, apps, instants)
def test_an_announced_end_is_never_past_and_access_does_not_outlive_a_lone_source(
    given_facts, app, at
) -> None:
    for key, answer in compute(given_facts, CATALOG, app, at).items():
        assert answer.ends_at is None or (answer.granted and answer.ends_at > at)
        if answer.ends_at is not None:
            then = compute(given_facts, CATALOG, app, answer.ends_at)[key]
            assert then.sources != answer.sources or then.value != answer.value


@quick
@given(facts, apps, instants)
def test_an_answer_is_consistent_in_itself(given_facts: Facts, app: str, at: datetime) -> None:
    answers = compute(given_facts, CATALOG, app, at)
    assert encode_entitlements(answers) == encode_entitlements(dict(answers))
    for answer in answers.values():
        is_nothing = answer.value in (False, 0, [], None) and answer.unlimited is not True
        assert answer.granted is not is_nothing
        assert (answer.type == "integer") is (answer.unlimited in (True, False))
        is_open = answer.reason in (Reason.NOT_IN_PLAN, Reason.NO_SUBSCRIPTION)
        assert is_open is isinstance(answer.available_in, tuple)
