"""A CSV file of grants, read into wishes or refused line by line."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import UNSET

from domain.rules.grant_file import read_grant_file
from domain.rules.new_grant import GrantWish

HEAD = "user_id,target_kind,target,effect,value,starts_at,expires_at,reason\n"


def faults(text: str | bytes, reason: str | None = None) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [f"{one['field']}: {one['detail']}" for one in read_grant_file(data, reason=reason).faults]


def wish(line: str) -> GrantWish:
    file = read_grant_file((HEAD + line).encode())
    assert file.faults == ()
    return file.lines[0].wish


def test_a_whole_line_is_what_the_options_of_a_grant_say() -> None:
    said = "u_17,feature,seats,add,5,2026-12-01,2026-12-31T18:00:00+01:00,workshop\n"
    assert wish(said) == GrantWish(
        effect="add",
        target_kind="feature",
        target="seats",
        value=5,
        starts_at=datetime(2026, 12, 1, tzinfo=UTC),
        expires_at=datetime(2026, 12, 31, 17, tzinfo=UTC),
        reason="workshop",
    )
    bare = wish("u_17,plan,pro,,,,,x")
    assert (bare.effect, bare.value, bare.starts_at, bare.expires_at) == ("allow", UNSET, None, None)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("true", True),
        ("unlimited", None),
        ("null", None),
        ("priority", "priority"),
        ('"[""png"", ""pdf""]"', ["png", "pdf"]),
    ],
)
def test_a_value_is_written_as_on_the_command_line(cell: str, value: Any) -> None:
    assert wish(f"u_17,feature,x,override,{cell},,,x").value == value


def test_columns_stand_in_any_order_may_be_missing_and_share_one_reason() -> None:
    file = read_grant_file(b"\xef\xbb\xbftarget, target_kind ,user_id\r\nexport,feature,u_1\r\n", reason="x")
    assert file.faults == ()
    assert [(one.line, one.user_id, one.wish.target, one.wish.reason) for one in file.lines] == [
        (2, "u_1", "export", "x")
    ]


def test_lines_are_counted_as_an_editor_does() -> None:
    text = HEAD + 'u_1,plan,pro,,,,,"two\nlines"\n\n , ,\nu_2,plan,pro,,,,,x\nu_3,plans,pro,,,,,x\n'
    file = read_grant_file(text.encode())
    assert [one.line for one in file.lines] == [2, 6]
    assert [one["field"] for one in file.faults] == ["line 7, target_kind"]
    assert file.rows == 3


def test_everything_that_is_wrong_is_named_with_its_line_and_column() -> None:
    assert faults(
        HEAD
        + "u_1,featur,export,alow,,soon,30d,\n"
        + ",,,,,,,x\n"
        + "u_1,plan,pro\n"
        + "u_2,plan,pro,,,,,x\n"
        + "u_2,plan,pro,allow,,,,x\n"
    ) == [
        "line 2, target_kind: is 'featur'; did you mean \"feature\"?",
        "line 2, effect: is 'alow'; did you mean \"allow\"?",
        "line 2, starts_at: is 'soon': write a day such as 2026-12-31, or 2026-12-31T18:00:00Z",
        "line 2, expires_at: is '30d': write a day such as 2026-12-31, or 2026-12-31T18:00:00Z",
        "line 2, reason: is empty: say why, or give --reason for every line",
        "line 3, user_id: is empty",
        "line 3, target_kind: is empty",
        "line 3, target: is empty",
        "line 4: has 3 columns, and the first line names 8: quote cells that hold a comma",
        "line 6: is the same as line 5: leave one of them out",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "line 1: is empty: begin with the names user_id,target_kind,target,"),
        (b"user_id;target_kind;target\n", "line 1: separates columns by semicolons"),
        (b"user_id,target\n", "line 1: names no column target_kind"),
        (b"user_id,target_kind,target,valu\n", 'line 1, valu: unknown column; did you mean "value"?'),
        (b"user_id,target_kind,target,target\n", "line 1, target: is named twice"),
        (b"user_id,target_kind,target\nu_1,feature,\xff\n", "line 2: is no UTF-8"),
        (
            b'user_id,target_kind,target\nu_1,feature,"ex\n',
            "file: is no CSV at line 2: unexpected end of data",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(text: bytes, said: str) -> None:
    found = faults(text)
    assert len(found) == 1
    assert found[0].startswith(said)


def test_a_file_has_a_largest_size() -> None:
    lines = b"user_id,target_kind,target,reason\nu_1,plan,pro,x\nu_2,plan,pro,x\nu_3,plan,pro,x\n"
    assert read_grant_file(lines, most=3).faults == ()
    assert [str(one) for one in read_grant_file(lines, most=2).faults] == [
        "{'field': 'line 4', 'detail': 'is one too many: a file has at most 2 grants'}"
    ]
