"""`tollhouse dead` as an operator types it."""

import pytest

from domain.context import Context
from domain.settings import Settings
from tests.ingress.terminal import answer_in, type_in
from tests.ingress.test_cli import call
from tests.seeds import seed_catalog, seed_dead


@pytest.fixture
async def ready(context: Context) -> Context:
    await seed_catalog(context)
    await seed_dead(context)
    return context


async def test_the_list_names_the_user_the_error_and_what_to_do(ready: Context, settings: Settings) -> None:
    said = (await type_in(settings, "dead", "list")).stdout
    assert all(
        text in said for text in ("cus_1", "dead customer", "u_17 (acme)", "re_1", "unknown", "a shape")
    )
    assert "tollhouse dead retry ID" in said
    shown = (await type_in(settings, "dead", "show", "cus_1")).stdout
    assert all(
        text in shown for text in ("tollhouse dead retry cus_1", "evt_1", "customer.updated", "pending")
    )
    assert [
        one["id"] for one in (await answer_in(settings, "dead", "list", "--project", "acme"))["data"]
    ] == ["cus_1"]
    assert (await answer_in(settings, "dead", "show", "re_1"))["dead"]["user_id"] is None


async def test_all_that_gave_up_is_retried_and_one_is_discarded(ready: Context, settings: Settings) -> None:
    retried = await answer_in(settings, "dead", "retry", "--all", "--project", "acme", "--reason", "repaired")
    assert [one["id"] for one in retried["retried"]] == ["cus_1"]
    done = await type_in(settings, "dead", "discard", "re_1", "--reason", "not ours")
    assert (done.exit_code, done.stdout) == (0, "re_1: given up; 1 events are ignored.\n")
    assert "Nothing gave up" in (await type_in(settings, "dead", "list")).stdout
    assert "nothing to retry" in (await type_in(settings, "dead", "retry", "--all")).stdout
    async with ready.database.connection() as connection:
        rows = await connection.fetch("SELECT actor, action, reason FROM audit_log ORDER BY id")
    assert [(row["action"], row["reason"]) for row in rows] == [
        ("dead.retry", "repaired"),
        ("dead.discard", "not ours"),
    ]
    assert rows[0]["actor"].startswith("cli:")


async def test_a_call_that_does_not_say_what_to_do_is_wrong(ready: Context, settings: Settings) -> None:
    for words in (("retry",), ("retry", "--all", "cus_1"), ("discard", "cus_1"), ("show", "cus_none")):
        assert (await type_in(settings, "dead", *words)).exit_code == 2, words


def test_retry_works_as_a_process_of_its_own(ready: Context, settings: Settings) -> None:
    done = call(settings, "dead", "retry", "cus_1")
    assert (done.returncode, done.stdout) == (0, "cus_1: goes on; 0 failed events are pending again.\n")
