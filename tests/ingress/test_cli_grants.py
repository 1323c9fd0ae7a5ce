"""`tollhouse grant`, `revoke` and `grants` as an operator types them, and what an app then reads."""

import getpass
import os
from typing import Any

import msgspec
import pytest

from domain.cache import cache_key
from domain.context import Context
from domain.flows.lookup import Lookup
from domain.settings import Settings
from tests.ingress.test_cli import answer, call
from tests.seeds import seed_catalog

TO_U17 = ("u_17", "--project", "acme")
WHY = ("--reason", "case 12")


@pytest.fixture
async def ready(context: Context) -> Context:
    await seed_catalog(context)
    return context


async def read(context: Context, feature: str = "export") -> dict[str, Any]:
    """What a fresh reader answers; the cache must already hold it."""
    assert context.cache is not None
    cached = await context.cache.find("acme", cache_key("acme", "u_17", "editor"))
    lookup = Lookup(context)
    found = await lookup.find("acme", "editor", "u_17")
    await lookup.close()
    assert cached is not None
    assert cached.stored.last_version >= found.version
    one: dict[str, Any] = msgspec.json.decode(found.one(feature))
    return one


async def test_a_grant_from_a_terminal_is_what_the_api_gives(ready: Context, settings: Settings) -> None:
    words = ("grant", *TO_U17, "--feature", "export", "--expires", "30d", *WHY, "--json")
    given = answer(call(settings, *words))
    asked = await read(ready)
    assert (asked["granted"], asked["reason"], asked["version"]) == (
        True,
        "grant",
        given["versions"]["editor"],
    )
    assert asked["ends_at"] == given["expires_at"]
    async with ready.database.connection() as connection:
        entry = await connection.fetchrow("SELECT actor, reason, request_id, user_key FROM audit_log")
    assert entry is not None
    assert dict(entry) == {
        "actor": f"cli:{getpass.getuser()}",
        "reason": "case 12",
        "request_id": None,
        "user_key": entry["user_key"],
    }
    revoked = answer(call(settings, "revoke", given["id"], "--project", "acme", *WHY, "--json"))
    assert revoked["revoked"] == [given["id"]]
    assert (await read(ready))["reason"] == "revoked"


async def test_every_effect_target_and_value_can_be_typed(ready: Context, settings: Settings) -> None:
    for words, feature, value in (
        (("--plan", "pro"), "seats", 5),
        (("--feature", "seats", "--value", "unlimited"), "seats", None),
        (("--feature", "seats", "--value", "null"), "seats", None),
        (("--feature", "seats", "--effect", "override", "--value", "3"), "seats", 3),
        (("--feature", "export", "--effect", "override", "--value", "false"), "export", False),
        (("--app", "editor", "--effect", "deny"), "seats", 0),
        (("--whole-project", "--effect", "deny", "--starts", "2020-01-01"), "export", False),
    ):
        done = call(settings, "grant", *TO_U17, *words, *WHY)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("gr_")
        assert "by app and version: editor" in done.stdout
        assert (await read(ready, feature))["value"] == value


async def test_revoking_from_a_terminal_says_what_still_gives_and_what_is_over(
    ready: Context, settings: Settings
) -> None:
    for _ in range(2):
        call(settings, "grant", *TO_U17, "--feature", "export", *WHY)
    first = (answer(call(settings, "grants", *TO_U17, "--json")))["data"][-1]["id"]
    done = call(settings, "revoke", first, "--project", "acme", *WHY)
    assert f"{first}: revoked." in done.stdout
    assert "effect deny" in done.stdout
    done = call(settings, "revoke", *TO_U17, "--feature", "export", *WHY)
    assert f"{first}: already revoked." in done.stdout
    assert "effect deny" not in done.stdout
    again = call(settings, "revoke", first, "--project", "acme", *WHY)
    assert (again.returncode, again.stdout.startswith(f"{first}: already revoked.")) == (0, True)
    assert (await read(ready))["granted"] is False


async def test_grants_are_listed_as_they_are_whatever_their_words(ready: Context, settings: Settings) -> None:
    reasons = ["[/red] of \x1b", "plain", "[bold]loud"]
    for reason in (reasons[1], reasons[2]):
        call(settings, "grant", *TO_U17, "--feature", "seats", "--value", "7", "--reason", reason)
    shown = call(settings, "grants", "--project", "acme")
    assert "[bold]loud" in shown.stdout
    assert "feature seats" in shown.stdout
    first = answer(call(settings, "grants", *TO_U17, "--limit", "1", "--state", "active", "--json"))
    words = ("grants", *TO_U17, "--limit", "1", "--cursor", first["next_cursor"])
    assert "plain" in call(settings, *words).stdout
    assert "--cursor" in call(settings, "grants", "--project", "acme", "--limit", "1").stderr
    assert answer(call(settings, "grants", "u_18", "--project", "acme", "--json"))["data"] == []
    refused = call(settings, "grant", *TO_U17, "--feature", "export", "--reason", reasons[0])
    assert (refused.returncode, "reason: must be text" in refused.stderr) == (2, True)


async def test_a_user_id_cannot_steer_the_terminal_of_whoever_lists_it(
    ready: Context, settings: Settings
) -> None:
    given = call(settings, "grant", "\x1b[2J[/x]", "--project", "acme", "--feature", "export", *WHY)
    assert "for \\x1b[2J[/x], without an end" in given.stdout
    refused = call(settings, "revoke", "gr_\x1b[2J", "--project", "acme", *WHY)
    assert "There is no grant gr_\\x1b[2J in" in refused.stderr
    shown = call(settings, "grants", "--project", "acme")
    assert shown.returncode == 0
    assert "\\x1b[2J[/x]" in shown.stdout
    assert "\x1b" not in shown.stdout


async def test_a_grant_is_made_once_under_its_key_and_says_what_keeps_it_from_counting(
    ready: Context, settings: Settings
) -> None:
    words = ("grant", *TO_U17, "--feature", "seats", "--effect", "override", *WHY, "--value")
    older = answer(call(settings, *words, "9", "--json"))
    keyed = (*words, "3", "--idempotency-key", "case-12")
    done = call(settings, *keyed)
    assert f"{older['id']} (override on seats, without an end)" in done.stdout
    again = call(settings, *keyed)
    assert again.stdout.splitlines()[1:] == done.stdout.splitlines()
    assert "nothing was made now" in again.stdout
    assert len(answer(call(settings, "grants", *TO_U17, "--json"))["data"]) == 2
    other = call(settings, *words, "4", "--idempotency-key", "case-12")
    assert (other.returncode, "stands for another call" in other.stderr) == (2, True)


async def test_readable_now_is_said_only_where_the_cache_has_the_answers(
    ready: Context, settings: Settings
) -> None:
    away = {"TOLLHOUSE_CACHE_URL": "redis://127.0.0.1:1/0"}
    done = call(settings, "grant", *TO_U17, "--feature", "export", *WHY, **away)
    assert (done.returncode, "Readable now" in done.stdout) == (0, False)
    assert "Stored, by app and version: editor 1" in done.stdout
    assert "for up to 10 s" in done.stderr
    ended = call(settings, "revoke", *TO_U17, "--feature", "export", *WHY, "--json", **away)
    assert answer(ended)["versions"]["editor"] == 2
    assert "for up to 10 s" in ended.stderr


WRONG_CALLS = [
    (("grant", *TO_U17, *WHY), "--feature: name exactly one"),
    (("grant", *TO_U17, "--feature", "export", "--plan", "pro", *WHY), "--feature: name exactly one"),
    (("grant", *TO_U17, "--feature", "exprt", *WHY), 'did you mean "export"?'),
    (("grant", "u_17", "--project", "acne", "--plan", "pro", *WHY), "did you mean 'acme'?"),
    (("grant", *TO_U17, "--plan", "pro", "--value", "5", *WHY), "value: leave it out"),
    (("grant", *TO_U17, "--plan", "pro", "--expires", "soon", *WHY), "--expires: is 'soon': write"),
    (("grant", *TO_U17, "--plan", "pro", "--expires", "9999999d", *WHY), "--expires: is '9999999d'"),
    (("grant", *TO_U17, "--plan", "pro", "--expires", "2020-01-01", *WHY), "--expires: is in the past"),
    (("grant", *TO_U17, "--plan", "pro", "--expires", "9999-12-31T23:00:00-14:00", *WHY), "--expires: is"),
    (("grant", *TO_U17, "--plan", "pro", "--effect", "give", *WHY), "'give' is not one of"),
    (("grant", *TO_U17, "--plan", "pro"), "Missing option '--reason'"),
    (("grant", *TO_U17, "--plan", "pro", "--idempotency-key", "é", *WHY), "--idempotency-key: 1 to 255"),
    (("grant", "u_17", "--plan", "pro", *WHY), "Missing option '--project'"),
    (("revoke", *TO_U17, *WHY), "name a grant (gr_"),
    (("revoke", "gr_1", "--project", "acme", "--effect", "deny", *WHY), "name a grant (gr_"),
    (("revoke", "gr_1", "--project", "acme", *WHY), "There is no grant gr_1"),
    (("revoke", *TO_U17, "--feature", "export", *WHY), "has no user 'u_17'"),
    (("grants", "--project", "acme", "--cursor", "x"), "cursor: take the next_cursor"),
]


async def test_a_wrong_call_says_what_is_wrong_and_ends_with_2(ready: Context, settings: Settings) -> None:
    for words, said in WRONG_CALLS:
        done = call(settings, *words)
        assert (done.returncode, said in done.stderr) == (2, True), (words, done.stderr)


async def test_bytes_that_are_no_text_are_refused(ready: Context, settings: Settings) -> None:
    done = call(settings, "grant", os.fsdecode(b"u\xff"), "--project", "acme", "--plan", "pro", *WHY)
    assert (done.returncode, "no UTF-8" in done.stderr) == (2, True), done.stderr


def test_a_database_that_is_away_is_said_so(settings: Settings) -> None:
    away = "postgresql://nobody@127.0.0.1:1/x"
    done = call(settings, "grant", *TO_U17, "--plan", "pro", *WHY, TOLLHOUSE_DATABASE_URL=away)
    assert done.returncode == 3
