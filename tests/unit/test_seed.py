"""Who `tollhouse seed` makes: the same people for the same number, and every story among them."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from deploy.local.ports import free_port
from deploy.local.processes import ProcessFailed
from deploy.local.seed.calendar import months_before
from deploy.local.seed.plan import count_stories, plan_people
from deploy.local.seed.run import refuse_other_catalogs, run_seed
from deploy.local.seed.settling import Left, stuck
from deploy.local.seed.stories import STORIES
from deploy.local.state import Ready


def test_the_same_number_makes_the_same_people_and_another_makes_others() -> None:
    people = plan_people(300, 7)
    assert people == plan_people(300, 7)
    assert [one.story for one in people] != [one.story for one in plan_people(300, 8)]
    assert len({one.user_id for one in people}) == len({one.dice for one in people}) == 300


def test_more_people_begin_with_the_same_ones_and_every_story_comes_before_any_twice() -> None:
    assert plan_people(300, 7)[:40] == plan_people(40, 7)
    assert [one.story for one in plan_people(len(STORIES), 7)] == list(STORIES)
    assert len(plan_people(1, 7)) == 1


def test_weights_are_shares_of_a_hundred_and_a_thousand_people_follow_them() -> None:
    assert sum(story.weight for story in STORIES.values()) == 100
    counts = {story: count for story, count, _ in count_stories(plan_people(1000, 7))}
    assert sum(counts.values()) == 1000
    for name, story in STORIES.items():
        assert counts[name] == pytest.approx(10 * story.weight, abs=10 + 5 * story.weight), name


@pytest.mark.parametrize(
    ("moment", "months", "before"),
    [
        ("2026-11-23T10:00:00", 1, "2026-10-23T10:00:00"),
        ("2026-01-15T00:00:00", 1, "2025-12-15T00:00:00"),
        ("2026-03-31T12:30:00", 1, "2026-02-28T12:30:00"),
        ("2026-12-05T00:00:00", 12, "2025-12-05T00:00:00"),
        ("2026-12-05T00:00:00", 24, "2024-12-05T00:00:00"),
    ],
)
def test_months_before_is_a_day_that_renewals_fall_on(moment: str, months: int, before: str) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    found = datetime.fromtimestamp(months_before(at.timestamp(), months), UTC)
    assert found == datetime.fromisoformat(before).replace(tzinfo=UTC)


def test_without_a_deployment_or_its_simulator_nothing_is_made_and_it_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"through the Stripe simulator that `make up` starts"):
        run_seed(tmp_path, 10, 1, print)
    nobody = f"http://127.0.0.1:{free_port()}"
    names = [name for name in Ready.__struct_fields__ if name not in {"app_keys", "pids"}]
    ready = Ready(**dict.fromkeys(names, nobody), app_keys={}, pids={})
    (tmp_path / "ready.json").write_bytes(msgspec.json.encode(ready))
    with pytest.raises(ProcessFailed, match="does not answer as the Stripe simulator does"):
        run_seed(tmp_path, 10, 1, print)


def test_another_catalog_than_the_sample_is_refused_before_anything_is_made() -> None:
    names = [name for name in Ready.__struct_fields__ if name not in {"app_keys", "pids"}]
    ready = Ready(**dict.fromkeys(names, ""), app_keys={"acme/editor": "", "acme/viewer": ""}, pids={})
    with pytest.raises(ProcessFailed, match="has no app globex/board"):
        refuse_other_catalogs(ready)


def test_deliveries_that_nobody_takes_are_not_said_to_be_held_up_by_the_service() -> None:
    waiting = Left(deliveries=3, events=0, targets=0, given_up=0)
    assert "a webhook endpoint of the simulated Stripe" in stuck(waiting)
    assert "`tollhouse status` says" in stuck(dataclasses.replace(waiting, targets=1))
