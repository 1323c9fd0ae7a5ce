"""`tollhouse explain` as an operator types it: a feature, a whole chain, a repair, and the exit codes."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from domain.context import open_context
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.settings import Settings
from tests.flows.event_path import CATALOG, EventPath, running_path
from tests.ingress.test_cli import answer, call


@pytest.fixture
async def bought(settings: Settings) -> AsyncIterator[EventPath]:
    """u_1 has bought pro, and everything has arrived."""
    async with running_path(settings) as path:
        customer = await path.make_customer()
        await path.buy(customer)
        for event in await path.events():
            await path.deliver(event)
        await path.drain()
        yield path


@pytest.fixture
async def sold(settings: Settings) -> Settings:
    """The sample catalog is applied, and nobody has bought anything."""
    async with open_context("cli", settings) as context:
        await publish_locally(context, read_catalog(CATALOG.read_text(), file="catalog.toml"))
    return settings


def explain(path: EventPath | Settings, *words: str) -> Any:
    settings = path if isinstance(path, Settings) else path.context.settings
    return call(settings, "explain", *words, "--project", "acme")


async def test_a_feature_is_explained_in_words(bought: EventPath) -> None:
    given = answer(
        call(
            bought.context.settings, "grant", "u_1", "--project", "acme", "--feature", "seats",
            "--effect", "add", "--value", "2", "--reason", "a workshop", "--json",
        )
    )  # fmt: skip
    done = explain(bought, "u_1", "seats")
    assert done.returncode == 0, done.stderr
    for text in (
        "granted: 3 (subscription_active)",
        "subscription.active: An active subscription gives",
        "largest of 1 + 2 (grant ",
        "is added: 2",
        "pro/month",
        given["id"],
        "a workshop",
        "Nothing that is known",
    ):
        assert text in done.stdout, text


async def test_a_feature_that_is_not_granted_names_the_plans_that_have_it(bought: EventPath) -> None:
    done = explain(bought, "u_1", "sso", "--app", "editor")
    assert done.returncode == 0, done.stderr
    assert "not granted: false (not_in_plan)" in done.stdout
    assert "A plan that gives it (team), or a grant." in done.stdout
    assert "is about other features than this one" in done.stdout


async def test_json_is_what_the_door_answers_an_operator(bought: EventPath) -> None:
    said = answer(explain(bought, "u_1", "export", "--app", "viewer", "--json"))
    assert (said["app"], said["basis"], said["verdict"]["granted"]) == ("viewer", "answered", True)


async def test_the_past_is_asked_with_at(bought: EventPath) -> None:
    said = answer(explain(bought, "u_1", "seats", "--at", "2020-01-01", "--json"))
    assert (said["at"], said["basis"]) == ("2020-01-01T00:00:00Z", "defaults")
    said = answer(explain(bought, "u_1", "seats", "--at", "30d", "--as-known-now", "--json"))
    assert (said["as_known"], said["verdict"]["value"]) == ("now", 1)
    assert "recomputed from today's facts" in explain(bought, "u_1", "seats", "--as-known-now").stdout


async def test_a_chain_without_a_broken_link_ends_with_0(bought: EventPath) -> None:
    done = explain(bought, "u_1")
    assert done.returncode == 0, done.stderr
    assert "No link is broken." in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[1:11]] == [
        "customer", "checkout", "events", "sync", "mirror", "prices", "catalog", "set", "boundary", "cache",
    ]  # fmt: skip


async def test_a_broken_link_ends_with_1_and_its_command_mends_it(bought: EventPath) -> None:
    await bought.execute("UPDATE subscriptions SET status = 'incomplete'")
    done = explain(bought, "u_1")
    assert done.returncode == 1
    assert "The first broken link is set." in done.stdout
    assert "tollhouse explain u_1 --project acme --repair" in done.stdout
    repaired = explain(bought, "u_1", "--repair")
    assert repaired.returncode == 0, repaired.stdout
    assert "changed for editor, viewer" in repaired.stdout
    assert "Waiting: events." in repaired.stdout
    await bought.drain()
    assert await bought.is_granted()


async def test_a_broken_chain_as_json_says_what_and_how(bought: EventPath) -> None:
    await bought.execute("UPDATE subscriptions SET status = 'incomplete'")
    done = explain(bought, "u_1", "--json")
    assert done.returncode == 1
    said = msgspec.json.decode(done.stdout)
    assert said["first_broken"]["name"] == "set"
    assert len(said["links"]) == 10
    assert said["repaired"] is None


def test_a_user_whom_nobody_knows_ends_with_1(sold: Settings) -> None:
    done = explain(sold, "it's me")
    assert done.returncode == 1
    assert "The first broken link is user." in done.stdout
    assert explain(sold, "it's me", "--repair").returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("u_1", "export"), "export is seen by editor, viewer"),
        (("u_1", "exprt"), "did you mean export"),
        (("u_1", "export", "--app", "edtor"), 'no app "edtor"'),
        (("u_1", "seats", "--at", "yesterday"), "--at: is 'yesterday'"),
        (("u_1", "--at", "2026-11-20"), "name FEATURE"),
        (("u_1", "--as-known-now"), "--as-known-now: explains a feature: name FEATURE"),
        (("u_1", "seats", "--at", "0001-01-01T00:00:00+14:00"), "--at: is '0001-01-01"),
        (("u_1", "export", "--repair"), "leave FEATURE out"),
    ],
)
def test_a_wrong_call_says_what_would_be_right(sold: Settings, words: tuple[str, ...], said: str) -> None:
    done = explain(sold, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_unknown_project_is_refused(sold: Settings) -> None:
    done = call(sold, "explain", "u_1", "--project", "acm")
    assert done.returncode == 2
    assert "did you mean 'acme'" in done.stderr


def test_a_hostile_id_does_not_steer_the_terminal(sold: Settings) -> None:
    done = explain(sold, "u\x1b[2J")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
