"""`tollhouse events` where it takes a while: following what arrives, and a replay that is stopped."""

import asyncio
import os
import re
import signal

import msgspec

from domain.settings import Settings
from tests.flows.event_path import EventPath, running_path
from tests.ingress.forked import forked
from tests.ingress.terminal import answer_in, type_in


def environ_of(settings: Settings) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLHOUSE_")}
    return {
        **kept,
        "TOLLHOUSE_DATABASE_URL": settings.database_url.reveal(),
        "TOLLHOUSE_REDIS_URL": settings.redis_url.reveal(),
        "TOLLHOUSE_CACHE_URL": settings.cache_url.reveal(),
        "TOLLHOUSE_ENV": settings.env,
    }


async def audited(path: EventPath) -> int:
    (row,) = await path.rows("SELECT count(*) AS n FROM audit_log WHERE action LIKE '%replay%'")
    return int(row["n"])


async def test_tail_shows_what_arrives_once_and_only_what_was_asked_for(settings: Settings) -> None:
    async with running_path(settings) as path:
        for user_id in ("u_1", "u_2"):
            await path.buy(await path.make_customer(user_id))
        events = await path.events()
        await path.deliver(events[0])
        wanted = [one for one in events[1:] if one["type"] == "checkout.session.completed"]
        words = ["--type", "checkout.session.completed", "--every", "0.05", "--count", str(len(wanted))]
        with forked(["events", "tail", *words, "--json"], environ_of(settings)) as (running, wait):
            following = asyncio.create_task(asyncio.to_thread(wait))
            while not following.done():
                # It begins to look a moment after it is started: what came before that comes again, and with
                # an id of its own, since an event is stored once.
                for one in wanted:
                    await path.deliver({**one, "id": f"{one['id']}_{len(await path.rows(_INBOX))}"})
                await asyncio.sleep(0.1)
            assert await following == 0, running.err.read_text("utf-8")
            shown = [msgspec.json.decode(line) for line in running.out.read_text("utf-8").splitlines()]
    assert len({one["event_id"] for one in shown}) == len(shown) == len(wanted) > 0
    assert {one["type"] for one in shown} == {"checkout.session.completed"}


_INBOX = "SELECT event_id FROM webhook_events"


async def test_a_replay_that_is_stopped_says_where_it_goes_on_and_misses_nothing(settings: Settings) -> None:
    async with running_path(settings) as path:
        await path.buy(await path.make_customer("u_1"))
        for event in await path.events():
            await path.deliver(event)
        await path.drain()
        listed = [one["event_id"] for one in (await answer_in(settings, "events", "list"))["data"]]
        words = ["events", "replay", "--all", "--rate", "2", "--json"]
        with forked(words, environ_of(settings)) as (running, wait):
            async with asyncio.timeout(20):
                while await audited(path) < 2:  # noqa: ASYNC110 - a page of another process, seen in its audit row
                    await asyncio.sleep(0.01)
            os.kill(running.pid, signal.SIGINT)
            code = await asyncio.to_thread(wait)
            said = running.err.read_text("utf-8")
        assert code != 0
        told = re.search(r"go on with --cursor (\S+)", said)
        assert told is not None, said
        pages = await audited(path)
        assert 2 * pages < len(listed), "it was stopped before its end"
        rest = await answer_in(settings, "events", "replay", "--all", "--cursor", told[1])
        # The list is newest first, and so is the replay, two events a page. Who is stopped between a page's
        # commit and its own next step has that page again, which is harmless; nothing is passed over.
        begun = len(listed) - len(rest["event_ids"]) - len(rest["skipped"])
        assert begun in (2 * pages, 2 * (pages - 1))
        assert sorted([*rest["event_ids"], *rest["skipped"]]) == sorted(listed[begun:])


async def test_a_cursor_that_no_list_gave_is_refused(settings: Settings) -> None:
    for cursor in ("x", "1.", "99999999999999999999.evt"):
        for words in (["list"], ["replay", "--all"]):
            done = await type_in(settings, "events", *words, "--cursor", cursor)
            assert done.exit_code == 2
            assert "next_cursor" in done.output
