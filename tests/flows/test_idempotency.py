"""The seam of `Idempotency-Key`: one effect and one answer, however often, at once, and over deaths."""

import asyncio

import msgspec
import pytest

from domain.context import Context
from domain.errors import Conflict, Invalid, Rejected, Unavailable
from domain.flows import idempotency
from domain.flows.idempotency import Answered, Attempt, KeyedCall, prune_keys, run_once
from tests.waiting import until

CALL = KeyedCall(project="acme", caller="app:acme/editor", route="POST /x", key="k-1", asked={"a": 1})


def call(**changes: object) -> KeyedCall:
    return msgspec.structs.replace(CALL, **changes)


class Work:
    """Counts its effects in Postgres, each in the transaction that keeps its answer."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.ids: list[object] = []
        #: Raised instead of working.
        self.error: BaseException | None = None
        #: An attempt waits here before its effect.
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, attempt: Attempt) -> object:
        self.ids.append(attempt.id)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        async with self.context.database.transaction() as connection:
            await connection.execute(
                "INSERT INTO users (project, user_id) VALUES ('acme', gen_random_uuid())"
            )
            count = await connection.fetchval("SELECT count(*) FROM users")
            await attempt.keep(connection, {"effect": count})
        return {"never": "sent"}

    async def effects(self) -> int:
        async with self.context.database.connection() as connection:
            return await connection.fetchval("SELECT count(*) FROM users")  # type: ignore[no-any-return]


@pytest.fixture
async def work(context: Context) -> Work:
    async with context.database.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO catalogs (project, version, body, sha256) VALUES ('acme', 1, '{}', '');
            INSERT INTO projects (project, name, catalog_version) VALUES ('acme', 'Acme', 1)
            """
        )
    return Work(context)


async def test_a_call_is_done_once_and_answered_the_same_for_each_caller_route_and_key(
    context: Context, work: Work
) -> None:
    first = await run_once(context, CALL, work, status=201)
    assert first == Answered(status=201, body=b'{"effect":1}')
    assert await run_once(context, CALL, work, status=201) == Answered(
        status=201, body=b'{"effect":1}', is_replayed=True
    )
    with pytest.raises(Invalid) as refused:
        await run_once(context, call(asked={"a": 2}), work)
    assert refused.value.code == "idempotency_key_reused"
    others = [call(caller="app:acme/viewer"), call(route="POST /y"), call(key="k-2"), None, None]
    answers = [await run_once(context, other, work) for other in others]
    assert [answer.is_replayed for answer in answers] == [False] * 5
    assert await work.effects() == 6
    assert len(set(work.ids)) == 6


async def test_while_a_call_is_under_way_it_is_refused_for_a_moment_and_then_replayed(
    context: Context, work: Work
) -> None:
    work.gate.clear()
    first = asyncio.create_task(run_once(context, CALL, work))
    await until(lambda: len(work.ids) == 1)
    refused = await asyncio.gather(*(run_once(context, CALL, work) for _ in range(5)), return_exceptions=True)
    assert [(error.code, error.retry_after_s) for error in refused if isinstance(error, Conflict)] == [
        ("idempotency_in_flight", 1)
    ] * 5
    with pytest.raises(Invalid):
        await run_once(context, call(asked=None), work)
    work.gate.set()
    assert (await first).body == (await run_once(context, CALL, work)).body
    assert await work.effects() == 1


#: What an attempt may end with, and whether its key is free afterwards.
ENDS: list[tuple[BaseException, bool]] = [
    (Rejected("no", code="no"), True),
    (Conflict("later", code="later", retry_after_s=1), False),
    (Unavailable("away"), False),
    (RuntimeError("a defect"), False),
    (asyncio.CancelledError(), False),
]


async def test_only_a_refusal_frees_the_key_and_everything_else_goes_on_with_the_same_id(
    context: Context, work: Work
) -> None:
    for number, (error, is_freed) in enumerate(ENDS):
        named = call(key=f"k{number}")
        work.error, work.ids = error, []
        with pytest.raises(type(error)):
            await run_once(context, named, work)
        work.error = None
        if not is_freed:
            with pytest.raises(Invalid):
                await run_once(context, msgspec.structs.replace(named, asked="else"), work)
        assert msgspec.json.decode((await run_once(context, named, work)).body) == {"effect": number + 1}
        assert (work.ids[0] != work.ids[1]) is is_freed, error


async def test_a_holder_that_is_overtaken_commits_nothing(context: Context, work: Work) -> None:
    work.gate.clear()
    stalled = asyncio.create_task(run_once(context, CALL, work))
    await until(lambda: len(work.ids) == 1)
    async with context.database.transaction() as connection:
        await connection.execute("UPDATE idempotency_keys SET lease_until = now() - interval '1 s'")
    second = asyncio.create_task(run_once(context, CALL, work))
    await until(lambda: len(work.ids) == 2)
    work.gate.set()
    ended = await asyncio.gather(stalled, second, return_exceptions=True)
    assert isinstance(ended[0], Conflict)
    assert ended[1] == Answered(status=200, body=b'{"effect":1}')
    assert work.ids[0] == work.ids[1]
    assert await work.effects() == 1


async def test_keys_are_forgotten_after_a_day_in_batches(context: Context, work: Work) -> None:
    await run_once(context, CALL, work)
    await run_once(context, call(key="k-2"), work)
    assert await prune_keys(context) == 0
    async with context.database.transaction() as connection:
        kept = await connection.fetchval("SELECT min(expires_at - created_at) FROM idempotency_keys")
        assert kept.total_seconds() >= idempotency.KEPT_S - 1
        await connection.execute(
            "UPDATE idempotency_keys SET expires_at = now() - interval '1 s' WHERE created_at ="
            " (SELECT min(created_at) FROM idempotency_keys)"
        )
    assert await prune_keys(context) == 1
    assert not (await run_once(context, CALL, work)).is_replayed
    assert (await run_once(context, call(key="k-2"), work)).is_replayed
