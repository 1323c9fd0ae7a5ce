"""Keys over their life: two at most, rotated without a gap, listed, audited, noted when used."""

import asyncio
import sys
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import CodeType, FrameType
from typing import Any

import msgspec
import pytest

from domain.context import Context
from domain.errors import Conflict, Forbidden, Invalid, TooMany, Unauthorized, Unknown
from domain.flows.authenticate import FAILURES_AT_ONCE, KeyRing
from domain.flows.list_keys import list_keys
from domain.flows.manage_keys import CreatedKey, create_key, revoke_key
from domain.flows.note_key_use import note_key_use
from domain.flows.record_action import Operator
from domain.flows.rotate_key import rotate_key
from domain.rules.api_key import format_key, hash_secret, make_key, parse_key
from domain.settings import Secret
from tests.flows.test_manage_keys import count_questions
from tests.seeds import make_catalog, seed_catalog

ANNA = Operator(actor="console:anna", request_id="r1")


@pytest.fixture
async def ready(context: Context) -> Context:
    await seed_catalog(context)
    await seed_catalog(context, make_catalog("globex", "board"))
    return context


async def make_app_key(context: Context, **changes: Any) -> CreatedKey:
    return await create_key(
        context, **{"kind": "app", "project": "acme", "app": "editor", "name": "backend", **changes}
    )


async def audited(context: Context) -> list[dict[str, Any]]:
    async with context.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT actor, action, project, subject_id, reason, details::text, request_id"
            " FROM audit_log ORDER BY id"
        )
    return [{**row, "details": msgspec.json.decode(row["details"])} for row in rows]


async def test_a_rotated_key_and_its_successor_are_both_let_in_until_the_overlap_ends(ready: Context) -> None:
    ring = KeyRing(ready)
    old = await make_app_key(ready, scopes=["entitlements:read"])
    rotated = await rotate_key(ready, old.key_id, operator=ANNA, reason="it was in a chat")
    assert rotated.created.key_id != old.key_id
    assert rotated.created.scopes == ("entitlements:read",)
    left = rotated.replaced_ends_at - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24, seconds=5)
    for key in (old.key, rotated.created.key):
        assert (await ring.authenticate(key)).app == "editor"
    listed = {key.key_id: key for key in (await list_keys(ready, project="acme")).data}
    assert (listed[old.key_id].state, listed[old.key_id].replaced_by) == ("ending", rotated.created.key_id)
    assert listed[old.key_id].ended_by == listed[rotated.created.key_id].created_by == "console:anna"

    with pytest.raises(Conflict, match="replaced by"):
        await rotate_key(ready, old.key_id)
    with pytest.raises(Conflict, match=f"{old.key_id} and {rotated.created.key_id}"):
        await rotate_key(ready, rotated.created.key_id)
    with pytest.raises(Conflict, match="has 2 live keys already"):
        await make_app_key(ready)

    await revoke_key(ready, old.key_id, operator=ANNA)
    at_once = await rotate_key(ready, rotated.created.key_id, overlap=timedelta(0))
    with pytest.raises(Unauthorized):
        await KeyRing(ready).authenticate(rotated.created.key)
    assert (await ring.authenticate(at_once.created.key)).app == "editor"
    with pytest.raises(Conflict, match="expired"):
        await rotate_key(ready, rotated.created.key_id)


async def test_an_app_never_has_a_third_live_key_however_many_ask_at_once(ready: Context) -> None:
    made = await asyncio.gather(*(make_app_key(ready) for _ in range(6)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in made) == ["Conflict"] * 4 + ["CreatedKey"] * 2
    other = await asyncio.gather(*(make_app_key(ready, app="viewer") for _ in range(2)))
    assert len(other) == 2
    first = next(one for one in made if isinstance(one, CreatedKey))
    await revoke_key(ready, first.key_id)
    await make_app_key(ready)
    assert len((await list_keys(ready, project="acme", app="editor")).data) == 2
    assert len((await list_keys(ready, project="acme", app="editor", with_ended=True)).data) == 3
    for _ in range(4):
        await create_key(ready, kind="operator", name="ops")


async def test_a_key_with_an_end_is_replaced_by_one_with_the_same_lifetime(ready: Context) -> None:
    month = timedelta(days=30)
    old = await make_app_key(ready, expires_at=datetime.now(UTC) + month)
    rotated = await rotate_key(ready, old.key_id, overlap=timedelta(days=1))
    assert rotated.created.expires_at is not None
    assert abs(rotated.created.expires_at - datetime.now(UTC) - month) < timedelta(minutes=1)
    soon = await make_app_key(ready, app="viewer", expires_at=datetime.now(UTC) + timedelta(minutes=5))
    rotated = await rotate_key(ready, soon.key_id, overlap=timedelta(days=1))
    assert rotated.replaced_ends_at == soon.expires_at


async def test_nobody_gives_scopes_they_lack_nor_touches_keys_of_another_app(ready: Context) -> None:
    wide = await make_app_key(ready)
    mine = frozenset({"entitlements:read", "keys:write"})
    with pytest.raises(Forbidden, match="billing:read") as refused:
        await rotate_key(ready, wide.key_id, may_give=mine)
    assert refused.value.code == "scope_not_yours"
    with pytest.raises(Forbidden, match="admin:write"):
        await make_app_key(ready, scopes=["entitlements:read", "admin:write"], may_give=mine)
    operator = await create_key(ready, kind="operator", name="ops")
    for key_id, within in (
        (wide.key_id, ("acme", "viewer")),
        (wide.key_id, ("globex", "board")),
        (operator.key_id, ("acme", "editor")),
        ("nosuch", ("acme", "editor")),
        ("\0", ("acme", "editor")),
    ):
        with pytest.raises(Unknown):
            await revoke_key(ready, key_id, within=within)
        with pytest.raises(Unknown):
            await rotate_key(ready, key_id, within=within)
    for overlap in (timedelta(seconds=-1), timedelta(days=31)):
        with pytest.raises(Invalid):
            await rotate_key(ready, wide.key_id, overlap=overlap)
    with pytest.raises(Invalid, match="reason"):
        await revoke_key(ready, wide.key_id, reason=" ")
    assert [row["action"] for row in await audited(ready)] == ["key.create", "key.create"]


async def test_each_action_has_one_row_in_the_audit_log_and_never_a_secret(ready: Context) -> None:
    made = await make_app_key(ready, operator=ANNA)
    rotated = await rotate_key(ready, made.key_id, operator=ANNA, reason="yearly")
    for _ in range(2):
        await revoke_key(ready, made.key_id, operator=ANNA, reason="seen in a log")
    rows = await audited(ready)
    assert [(row["action"], row["subject_id"], row["reason"]) for row in rows] == [
        ("key.create", made.key_id, None),
        ("key.rotate", made.key_id, "yearly"),
        ("key.revoke", made.key_id, "seen in a log"),
    ]
    assert {(row["actor"], row["project"], row["request_id"]) for row in rows} == {
        ("console:anna", "acme", "r1")
    }
    assert rows[1]["details"]["replaced_by"] == rotated.created.key_id
    for created in (made, rotated.created):
        assert created.key.split("_")[3] not in str(rows)
        assert created.key.split("_")[3] not in repr(created)


async def test_the_list_is_paged_newest_first_and_shows_no_secret(ready: Context) -> None:
    made = [await create_key(ready, kind="project", project="acme", name=f"k{n}") for n in range(5)]
    await create_key(ready, kind="project", project="globex", name="theirs")
    seen, cursor = [], None
    for _ in range(3):
        page = await list_keys(ready, project="acme", cursor=cursor, limit=2)
        seen += [key.name for key in page.data]
        cursor = page.next_cursor
    assert (seen, cursor) == (["k4", "k3", "k2", "k1", "k0"], None)
    shown = msgspec.json.encode(await list_keys(ready)).decode()
    assert "theirs" in shown
    for created in made:
        key = parse_key(created.key)
        assert key is not None
        assert key.secret not in shown
    for wrong in ("x", "1", "1.", "99999999999999999999999999.x", "1.\0"):
        with pytest.raises(Invalid, match="cursor"):
            await list_keys(ready, cursor=wrong)
    with pytest.raises(Unknown):
        await list_keys(ready, project="acme", app="board")


async def test_uses_are_written_in_one_statement_and_once_a_minute(ready: Context) -> None:
    used, idle = await make_app_key(ready), await make_app_key(ready)
    rings = (KeyRing(ready), KeyRing(ready))
    began = datetime.now(UTC)
    for ring in rings:
        await ring.authenticate(used.key)
        await note_key_use(ready, ring)
    first = {key.key_id: key.last_used_at for key in (await list_keys(ready)).data}
    assert first[idle.key_id] is None
    at = first[used.key_id]
    assert at is not None
    assert began - timedelta(seconds=1) < at < datetime.now(UTC)
    assert rings[0].find_fresh(used.key) is not None
    assert [key_id for key_id, _ in rings[0].take_used()] == [used.key_id]
    assert rings[0].take_used() == []
    assert rings[0].find_fresh(used.key) is not None
    await note_key_use(ready, rings[0])
    assert {key.key_id: key.last_used_at for key in (await list_keys(ready)).data} == first
    async with ready.database.connection() as connection:
        await connection.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '1 minute'")
    assert rings[0].find_fresh(used.key) is not None
    await note_key_use(ready, rings[0])
    later = {key.key_id: key.last_used_at for key in (await list_keys(ready)).data}[used.key_id]
    assert later is not None
    assert later > at


async def test_after_a_gap_in_the_messages_every_key_is_asked_for_again(ready: Context) -> None:
    ring = KeyRing(ready)
    kept, ended = await make_app_key(ready), await make_app_key(ready)
    for key in (kept.key, ended.key):
        await ring.authenticate(key)
    await revoke_key(ready, ended.key_id)
    assert ring.find_fresh(ended.key) is not None
    ring.doubt()
    assert ring.find_fresh(kept.key) is None
    assert (await ring.authenticate(kept.key)).app == "editor"
    with pytest.raises(Unauthorized):
        await ring.authenticate(ended.key)


async def test_a_key_of_the_other_mode_is_told_so_unless_it_is_valid_here(ready: Context) -> None:
    ring = KeyRing(ready)
    live = format_key(make_key("live", b"0" * 10, b"1" * 32))
    for _ in range(2):
        with pytest.raises(Unauthorized, match="live mode, and this deployment is in test mode") as refused:
            await ring.authenticate(live)
        assert refused.value.code == "wrong_mode"
    with pytest.raises(Unauthorized) as refused:
        await ring.authenticate(format_key(make_key("test", b"0" * 10, b"1" * 32)))
    assert refused.value.code == "unauthorized"
    early = await make_app_key(ready)
    async with ready.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO deployment (account_id, mode, env) VALUES ('acct_1', 'live', 'x')"
        )
    assert (await KeyRing(ready).authenticate(early.key)).app == "editor"


async def test_invented_keys_cost_an_address_a_few_questions_and_others_nothing(ready: Context) -> None:
    ring = KeyRing(ready)
    known, new = await make_app_key(ready), await make_app_key(ready)
    await ring.authenticate(known.key, "10.0.0.1")
    ring.doubt()
    invented = [format_key(make_key("test", b"%010d" % n, b"1" * 32)) for n in range(300)]
    wrong_sums = [text[:-1] + ("0" if text[-1] != "0" else "1") for text in invented]
    refusals = await asyncio.gather(
        *(ring.authenticate(text, "10.0.0.1") for text in wrong_sums), return_exceptions=True
    )
    assert {type(one) for one in refusals} == {Unauthorized}
    assert await count_questions(ready, ring, invented[0]) == 1
    refusals = await asyncio.gather(
        *(ring.authenticate(text, "10.0.0.1") for text in invented[1:]), return_exceptions=True
    )
    asked = sum(isinstance(one, Unauthorized) for one in refusals)
    assert FAILURES_AT_ONCE <= asked <= FAILURES_AT_ONCE + 4
    assert sum(isinstance(one, TooMany) for one in refusals) == len(refusals) - asked
    limited = next(one for one in refusals if isinstance(one, TooMany))
    assert (limited.code, limited.retry_after_s) == ("too_many_failed_logins", 1)
    # Who was let in before stays in, from there too; who comes from elsewhere notices nothing.
    assert (await ring.authenticate(known.key, "10.0.0.1")).app == "editor"
    assert (await ring.authenticate(new.key, "10.0.0.2")).app == "editor"


async def test_an_unknown_id_is_compared_with_an_hmac_like_a_wrong_secret(ready: Context) -> None:
    created = await make_app_key(ready)
    key = parse_key(created.key)
    assert key is not None
    wrong = format_key(msgspec.structs.replace(key, secret=key.secret[::-1]))
    unknown = format_key(make_key("test", b"0" * 10, b"1" * 32))
    ring = KeyRing(ready)
    counts = [await calls_of(hash_secret.__code__, ring.authenticate(text)) for text in (wrong, unknown)]
    assert counts == [1, 1]


async def calls_of(code: CodeType, running: Awaitable[object]) -> int:
    """How often a function of ours is called while `running` runs, whatever its outcome."""
    calls = 0

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code is code

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        with suppress(Unauthorized):
            await running
    finally:
        sys.setprofile(before)
    return calls


async def test_every_pepper_that_is_set_verifies_and_new_keys_use_the_newest(ready: Context) -> None:
    old = await make_app_key(ready)
    peppers = ((2, Secret("cd" * 32)), (1, ready.settings.key_peppers[0][1]))
    both = msgspec.structs.replace(
        ready, settings=msgspec.structs.replace(ready.settings, key_peppers=peppers)
    )
    rotated = await rotate_key(both, old.key_id)
    newest_only = msgspec.structs.replace(
        ready, settings=msgspec.structs.replace(ready.settings, key_peppers=peppers[:1])
    )
    assert (await KeyRing(both).authenticate(old.key)).app == "editor"
    assert (await KeyRing(newest_only).authenticate(rotated.created.key)).app == "editor"
    with pytest.raises(Unauthorized):
        await KeyRing(newest_only).authenticate(old.key)
