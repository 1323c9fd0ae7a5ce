"""`tollhouse grants`: a file that is granted, also after a kill in the middle, and what soon ends."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from domain.context import Context
from domain.settings import Settings
from tests.ingress.test_cli import answer, call
from tests.seeds import seed_catalog

ACME = ("--project", "acme")
FILE = """user_id,target_kind,target,effect,value,expires_at,reason
u_1,feature,export,,,,workshop
u_2,feature,seats,add,4,2099-01-01,workshop
u_3,feature,export,,,,workshop
u_1,feature,seats,add,2,,workshop
u_4,plan,pro,,,,workshop
"""


@pytest.fixture
async def ready(context: Context) -> Context:
    await seed_catalog(context)
    return context


async def test_an_import_that_is_killed_goes_on_where_it_ended_and_makes_nothing_twice(
    ready: Context, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "workshop.csv"
    file.write_text(FILE)
    words = ("grants", "import", str(file), *ACME)
    shown = call(settings, *words, "--dry-run")
    assert (shown.returncode, "5 would be created, 0 are already there" in shown.stdout) == (0, True)
    assert "editor seats: 1 (catalog_default) → 5 (grant until 2099-01-01T00:00:00+00:00)" in shown.stdout
    assert await held(ready) == []

    killed = call(settings, *words, TOLLHOUSE_FAULT_POINTS="import.committed@3=kill:1")
    assert killed.returncode == -9
    assert await held(ready) == [("u_1", "export"), ("u_1", "seats"), ("u_2", "seats")]

    done = answer(call(settings, *words, "--json"))
    assert [one["line"] for one in done["created"]] == [4, 6]
    assert [one["line"] for one in done["already_there"]] == [2, 3, 5]
    everything = [("u_1", "export"), ("u_1", "seats"), ("u_2", "seats"), ("u_3", "export"), ("u_4", "pro")]
    assert await held(ready) == everything

    ended = call(settings, "revoke", "u_3", *ACME, "--feature", "export", "--reason", "over")
    assert ended.returncode == 0
    again = call(settings, *words)
    assert "5 lines for 4 users: 0 created, 5 already there, 0 refused" in again.stdout
    assert "1 of those already there are over, such as gr_" in again.stdout
    assert await held(ready) == everything

    # Lines are added under the name of the first import, which its output has said.
    file.write_text(f"{FILE}u_5,feature,export,,,,workshop\n")
    added = call(settings, *words, "--batch", done["batch"])
    assert "6 lines for 5 users: 1 created, 5 already there, 0 refused" in added.stdout


async def test_a_wrong_file_is_refused_whole_with_every_line_and_ends_with_2(
    ready: Context, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "workshop.csv"
    file.write_text(f"{FILE}u_5,feature,exprt,,,,workshop\nu_6,feature,export,,,30d,\n")
    words = ("grants", "import", str(file), *ACME)
    for dry in ((), ("--dry-run",)):
        refused = call(settings, *words, *dry)
        assert refused.returncode == 2
        assert "Nothing was imported: 2 of its 7 lines are refused." in refused.stderr
        assert 'line 7, target: unknown feature; did you mean "export"?' in refused.stderr
        assert "line 8, expires_at: is '30d': write a day" in refused.stderr
        assert "line 8, reason: is empty: say why, or give --reason" in refused.stderr
    as_json = call(settings, *words, "--reason", "x", "--json")
    errors = msgspec.json.decode(as_json.stdout)["error"]["errors"]
    assert [one["field"] for one in errors] == ["line 7, target", "line 8, expires_at"]
    assert await held(ready) == []
    for wrong, said in (
        (("grants", "import", str(file), *ACME, "--batch", "x" * 101), "--batch: 1 to 100 printable"),
        (("grants", "import", str(tmp_path / "none.csv"), *ACME), "No such file"),
        (("grants", "import", str(file)), "Missing option '--project'"),
        (("grants", "list", *ACME, "--expiring", "soon"), "--expiring: is 'soon'"),
        (("grants", "list", *ACME, "--expiring", "2020-01-01"), "write a span to come"),
        (("grants", "list", *ACME, "--expiring", "9000d"), "at most 3660 days"),
        (("grants", "list", *ACME, "--expiring", "1d", "--state", "revoked"), "ends no more"),
        (("grants", "list", *ACME, "--expiring", "1d", "--cursor", "1.gr_1"), "take the next_cursor"),
    ):
        done = call(settings, *wrong)
        assert (done.returncode, said in done.stderr) == (2, True), (wrong, done.stderr)


async def test_what_soon_ends_is_listed_by_its_end(
    ready: Context, settings: Settings, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    lines = [
        f"u_{days},feature,export,,{(now + timedelta(days=days)).isoformat()},x" for days in (20, 3, 13, 1, 9)
    ]
    file = tmp_path / "ends.csv"
    file.write_text("\n".join(["user_id,target_kind,target,value,expires_at,reason", *lines]))
    assert call(settings, "grants", "import", str(file), *ACME).returncode == 0
    assert call(settings, "grant", "u_0", *ACME, "--feature", "export", "--reason", "x").returncode == 0
    assert call(settings, "revoke", "u_9", *ACME, "--feature", "export", "--reason", "x").returncode == 0
    listed = ("grants", "list", *ACME, "--expiring", "14d", "--json")
    page = answer(call(settings, *listed, "--limit", "2"))
    assert [one["user_id"] for one in page["data"]] == ["u_1", "u_3"]
    rest = answer(call(settings, *listed, "--limit", "2", "--cursor", page["next_cursor"]))
    assert ([one["user_id"] for one in rest["data"]], rest["next_cursor"]) == (["u_13"], None)
    assert [one["user_id"] for one in answer(call(settings, *listed[:4], "u_3", *listed[4:]))["data"]] == [
        "u_3"
    ]
    # The user's name may be a verb's, and without a verb it is the list.
    assert answer(call(settings, "grants", "list", "import", *ACME, "--json"))["data"] == []
    assert len(answer(call(settings, "grants", *ACME, "--json"))["data"]) == 6


async def held(context: Context) -> list[tuple[str, str]]:
    """(user, target) of every grant there is, twins twice."""
    async with context.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT user_id, target FROM grants JOIN users USING (user_key) ORDER BY user_id, target"
        )
    return [tuple(row) for row in rows]
