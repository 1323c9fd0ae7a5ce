"""The lead: one scheduler has it, and whatever happens to that one, another takes it within moments."""

import asyncio

import pytest

from domain.context import Context, open_context
from domain.flows.lead import Leadership
from domain.settings import Secret, Settings
from domain.store import jobs
from tests.conftest import with_settings
from tests.proxy import proxied


class Candidate:
    """A scheduler, as far as the lead is concerned."""

    def __init__(self, context: Context, name: str, *, silent_s: float = 10.0, look_s: float = 4.0) -> None:
        self.lost = asyncio.Event()
        self.leadership = Leadership(context, name, lost=self.lost.set, silent_s=silent_s, look_s=look_s)

    async def leads(self) -> bool:
        await self.leadership.look()
        return self.leadership.is_leading

    async def until_it_leads(self) -> None:
        async with asyncio.timeout(10):
            while not await self.leads():  # noqa: ASYNC110 - a state of the server
                await asyncio.sleep(0.01)


async def leader_of(context: Context) -> str | None:
    async with context.database.connection() as connection:
        found = await jobs.find_leader(connection)
    return None if found is None else found.name


async def execute(context: Context, statement: str) -> None:
    async with context.database.connection() as connection:
        await connection.execute(statement)


async def test_one_leads_until_it_resigns_and_then_another_does_at_once(context: Context) -> None:
    first, second = Candidate(context, "a:1"), Candidate(context, "b:2")
    assert await leader_of(context) is None
    assert [await first.leads(), await second.leads(), await first.leads()] == [True, False, True]
    assert await leader_of(context) == "a:1"
    await first.leadership.resign()
    assert first.lost.is_set()
    assert not first.leadership.is_leading
    assert await leader_of(context) is None
    assert await second.leads()
    assert await leader_of(context) == "b:2"
    assert not await first.leads(), "it may come back as one of those who wait"
    await first.leadership.resign()
    assert await second.leads(), "who only waited has nothing to give up"
    await second.leadership.resign()


async def test_a_leader_whose_session_postgres_ends_is_told_without_asking(context: Context) -> None:
    first, second = Candidate(context, "a:1"), Candidate(context, "b:2")
    assert await first.leads()
    async with asyncio.timeout(10):
        await execute(context, "SELECT pg_terminate_backend(backend_pid) FROM scheduler_leader")
        await first.lost.wait()
    assert not first.leadership.is_leading
    await second.until_it_leads()
    assert not await first.leads()
    await asyncio.gather(first.leadership.resign(), second.leadership.resign())


async def test_who_looks_before_it_is_told_that_its_session_has_ended_leads_no_more(
    context: Context,
) -> None:
    """As a process that goes on after it was stopped: the next session has no lock, and must not lead."""
    first = Candidate(context, "a:1")
    assert await first.leads()
    session = first.leadership._session
    assert session is not None
    session.cut()
    # Nothing stands between the end and the look in which anybody could be told.
    await first.leadership.look()
    assert first.lost.is_set()
    if first.leadership.is_leading:
        assert await leader_of(context) == "a:1", "it has taken the lock again"
    await first.leadership.resign()


async def test_a_leader_that_says_nothing_loses_the_lead(context: Context) -> None:
    """As one that was stopped, or whose machine stands still."""
    silent, other = Candidate(context, "a:1", silent_s=0.2), Candidate(context, "b:2")
    assert await silent.leads()
    await other.until_it_leads()
    async with asyncio.timeout(10):
        await silent.lost.wait()
    await asyncio.gather(silent.leadership.resign(), other.leadership.resign())


@pytest.mark.parametrize("how", ["cut", "stall"])
async def test_a_leader_that_is_cut_off_leads_no_more(settings: Settings, context: Context, how: str) -> None:
    async with proxied(settings.database_url.reveal()) as proxy:
        far = with_settings(settings, database_url=Secret(proxy.url))
        async with open_context("scheduler", far) as there:
            cut_off, other = Candidate(there, "a:1", silent_s=0.2, look_s=0.2), Candidate(context, "b:2")
            assert await cut_off.leads()
            if how == "cut":
                await proxy.cut()
                async with asyncio.timeout(10):
                    await cut_off.lost.wait()
            else:
                proxy.stall()
            await other.until_it_leads()
            assert not await cut_off.leads()
            assert cut_off.lost.is_set()
            await asyncio.gather(cut_off.leadership.resign(), other.leadership.resign())
