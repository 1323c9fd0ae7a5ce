"""Grants from a file, against real Postgres and Redis: all or nothing, each once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain.errors import Invalid, Unknown
from domain.flows.erase_user import EraseWish, erase_user
from domain.flows.grant import GrantWish, Operator, grant
from domain.flows.import_grants import Imported, import_grants
from domain.flows.preview_grants import preview_grants
from domain.flows.revoke import ByGrant, revoke
from domain.rules.grant_file import GrantFile, read_grant_file
from tests.flows.event_path import EventPath

ANNA = Operator(actor="cli:anna")
HEAD = "user_id,target_kind,target,effect,value,starts_at,expires_at\n"


def file_of(*lines: str) -> GrantFile:
    return read_grant_file((HEAD + "\n".join(lines)).encode(), reason="workshop")


async def imports(path: EventPath, *lines: str, batch: str = "b-1") -> Imported:
    return await import_grants(path.context, "acme", file_of(*lines), ANNA, batch=batch)


async def counts(path: EventPath) -> tuple[int, int, int]:
    """(grants, audit rows, users)."""
    [row] = await path.rows(
        """
        SELECT (SELECT count(*) FROM grants) AS g, (SELECT count(*) FROM users) AS u,
               (SELECT count(*) FROM audit_log WHERE user_key IS NOT NULL) AS a
        """
    )
    return row["g"], row["a"], row["u"]


async def test_a_file_is_granted_once_however_often_and_with_lines_added_moved_and_removed(
    path: EventPath,
) -> None:
    lines = ("u_1,feature,sso,,,,", "u_2,plan,team,,,,", "u_1,feature,seats,add,4,,")
    done = await imports(path, *lines)
    assert [one.line for one in done.created] == [2, 3, 4]
    assert (done.lines, done.users, done.already_there, done.is_published) == (3, 2, (), True)
    assert await counts(path) == (3, 3, 2)
    assert (await path.answer())["seats"]["value"] == 5
    assert await path.stored() == await path.cached()
    stored = await path.stored()
    assert stored is not None
    assert stored.last_version == 1, "two grants of one user are one recompute"

    again = await imports(path, *lines)
    assert (again.created, [one.id for one in again.already_there]) == ((), [one.id for one in done.created])
    more = await imports(path, lines[2], "u_3,feature,sso,,,,", lines[0])
    assert [one.line for one in more.created] == [3]
    assert await counts(path) == (4, 4, 3)

    await revoke(path.context, "acme", ByGrant(done.created[0].id), "over", ANNA)
    kept = (await imports(path, *lines)).already_there
    assert [one.state for one in kept] == ["revoked", "active", "active"]
    assert len((await imports(path, *lines, batch="b-2")).created) == 3
    entries = await path.rows(
        "SELECT details->>'batch' AS batch FROM audit_log WHERE action = 'grant.create'"
    )
    assert sorted(entry["batch"] for entry in entries) == ["b-1"] * 4 + ["b-2"] * 3


async def test_one_wrong_line_and_nothing_is_written_and_every_wrong_one_is_named(path: EventPath) -> None:
    past, now = "2020-01-01", datetime.now(UTC)
    frozen = now - timedelta(days=9000)
    await imports(path, "u_clock,feature,sso,,,,")
    await path.execute("UPDATE users SET clock_at = $1 WHERE user_id = 'u_clock'", frozen)
    before = await counts(path)
    with pytest.raises(Invalid) as refused:
        await imports(
            path,
            "u_1,feature,sso,,,,",
            "u_1,feature,ssso,,,,",
            f"{'x' * 256},feature,seats,add,-1,,",
            "u_2,plans,pro,,,,",
            f"u_2,feature,sso,,,,{past}",
            f"u_clock,feature,export,,,,{past}",
            "a\0b,app,editor,override,1,,",
        )
    assert refused.value.detail == "Nothing was imported: 5 of its 7 lines are refused."
    assert [one["field"] for one in refused.value.errors] == [
        "line 3, target",
        "line 4, user_id",
        "line 4, value",
        "line 5, target_kind",
        "line 6, expires_at",
        "line 8, user_id",
        "line 8, effect",
    ]
    assert await counts(path) == before
    await erase_user(path.context, "acme", "u_clock", EraseWish(reason="asked to"), ANNA)
    with pytest.raises(Invalid) as refused:
        await imports(path, "u_1,feature,sso,,,,", "u_clock,feature,export,,,,")
    assert [one["field"] for one in refused.value.errors] == ["line 3, user_id"]
    assert "was erased" in refused.value.errors[0]["detail"]
    assert (await counts(path))[0] == before[0]
    with pytest.raises(Invalid, match="no line to import"):
        await imports(path)
    with pytest.raises(Unknown, match="did you mean 'acme'"):
        await import_grants(path.context, "acne", file_of("u_1,plan,pro,,,,"), ANNA, batch="b")


async def test_of_two_overrides_in_one_file_the_first_line_stands_and_the_second_says_so(
    path: EventPath,
) -> None:
    for number in range(8):
        user = f"u_{number}"
        done = await imports(path, f"{user},feature,seats,override,7,,", f"{user},feature,seats,override,3,,")
        assert (await path.answer(user))["seats"]["value"] == 7
        first, second = done.created
        assert (first.hint, first.id in str(second.hint)) == (None, True)


async def test_two_runs_of_one_batch_at_once_make_each_grant_once(path: EventPath) -> None:
    lines = [f"u_{number % 7},feature,seats,add,{number + 1},," for number in range(35)]
    both = await asyncio.gather(*(imports(path, *lines) for _ in range(3)))
    assert sum(len(done.created) for done in both) == 35
    lines_told = [
        sorted([one.line for one in done.created] + [one.line for one in done.already_there]) for done in both
    ]
    assert lines_told == [list(range(2, 37))] * 3, "each says of every line what became of it"
    assert await counts(path) == (35, 35, 7)


async def test_more_lines_of_one_user_than_one_transaction_takes_are_as_many_recomputes_as_needed(
    path: EventPath,
) -> None:
    file = file_of(*(f"u_1,feature,seats,add,{number},," for number in range(1, 6)))
    done = await import_grants(path.context, "acme", file, ANNA, batch="b", at_once=2)
    stored = await path.stored()
    assert stored is not None
    assert (len(done.created), stored.last_version) == (5, 3)
    assert (await path.answer())["seats"]["value"] == 1 + 15


async def test_a_dry_run_says_what_each_line_would_change_and_writes_nothing(path: EventPath) -> None:
    wish = GrantWish(effect="deny", target_kind="feature", target="export", reason="x")
    denied = (await grant(path.context, "acme", "u_2", wish, ANNA)).given
    there = (await imports(path, "u_9,feature,sso,,,,")).created[0]
    before = await path.rows("SELECT * FROM users ORDER BY user_key")
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    file = file_of(
        "u_1,feature,seats,add,4,,",
        "u_1,feature,seats,add,2,,",
        "u_1,feature,seats,,3,,",
        f"u_1,feature,sso,,,{later.isoformat()},",
        "u_2,feature,export,,,,",
        "u_9,feature,sso,,,,",
    )
    preview = await preview_grants(path.context, "acme", file, batch="b-1")
    shown: dict[int, Any] = {
        one.line: [(c.app, c.feature, c.before.value, c.after.value) for c in one.changes]
        for one in preview.would_create
    }
    assert shown == {
        2: [("editor", "seats", 1, 5)],
        3: [("editor", "seats", 5, 7)],
        4: [("editor", "seats", 7, 9)],
        5: [("editor", "sso", False, True), ("viewer", "sso", False, True)],
        6: [],
    }
    assert preview.would_create[3].at == later
    assert denied.id in str(preview.would_create[4].hint)
    assert [(one.line, one.id) for one in preview.already_there] == [(7, there.id)]
    assert await path.rows("SELECT * FROM users ORDER BY user_key") == before
    assert await counts(path) == (2, 2, 2)
    # The dry run was right.
    await import_grants(path.context, "acme", file, ANNA, batch="b-1")
    assert (await path.answer())["seats"]["value"] == 9
    assert msgspec.structs.asdict(preview)["lines"] == 6
