"""`tollhouse keys` as an operator types it."""

import msgspec

from domain.context import Context, open_context
from domain.errors import Unauthorized
from domain.flows.authenticate import KeyRing
from domain.settings import Settings
from tests.ingress.terminal import type_in
from tests.seeds import seed_catalog


async def test_keys_are_made_listed_rotated_and_revoked_in_a_terminal(settings: Settings) -> None:
    peppers = {"TOLLHOUSE_KEY_PEPPERS": f"1:{settings.key_peppers[0][1].reveal()}"}
    app = ("--project", "acme", "--app", "editor")
    async with open_context("cli", settings) as context:
        await seed_catalog(context)
        made = await type_in(settings, "keys", "create", *app, **peppers)
        assert made.exit_code == 0, made.output
        key = made.stdout.strip()
        assert "only this once" in made.stderr
        assert await is_let_in(context, key)
        key_id = key.split("_")[2]

        rotated = await type_in(settings, "keys", "rotate", key_id, "--overlap", "1h", "--json", **peppers)
        assert rotated.exit_code == 0, rotated.output
        second = msgspec.json.decode(rotated.stdout)["created"]
        assert await is_let_in(context, key)
        assert await is_let_in(context, second["key"])
        assert (await type_in(settings, "keys", "rotate", key_id, **peppers)).exit_code == 2

        table = await type_in(settings, "keys", "list", *app)
        assert table.exit_code == 0, table.output
        for shown in (key_id, second["key_id"], "ending", "live", "app acme/editor", "never"):
            assert shown in table.stdout
        third = await type_in(settings, "keys", "create", *app, **peppers)
        assert (third.exit_code, key_id in third.stderr) == (2, True)

        revoked = await type_in(settings, "keys", "revoke", key_id, "--reason", "leaked")
        assert (revoked.exit_code, revoked.stdout) == (0, f"{key_id} is revoked.\n")
        assert not await is_let_in(context, key)
        ended = await type_in(settings, "keys", "list", "--ended", "--json")
        states = {row["key_id"]: row["state"] for row in msgspec.json.decode(ended.stdout)["data"]}
        assert states == {key_id: "revoked", second["key_id"]: "live"}
        for secret in (key.split("_")[3], second["key"].split("_")[3]):
            assert secret not in table.stdout + ended.stdout + revoked.stdout

        unknown = await type_in(settings, "keys", "revoke", "nosuch")
        assert (unknown.exit_code, "tollhouse keys list" in unknown.stderr) == (2, True)
        assert (await type_in(settings, "keys", "list", "--app", "editor")).exit_code == 2
        for overlap in ("40d", "soon"):
            wrong = await type_in(
                settings, "keys", "rotate", second["key_id"], "--overlap", overlap, **peppers
            )
            assert (wrong.exit_code, "overlap" in wrong.stderr) == (2, True)
    async with open_context("cli", settings) as context, context.database.connection() as connection:
        actors = await connection.fetch("SELECT DISTINCT left(actor, 4) AS actor FROM audit_log")
    assert [row["actor"] for row in actors] == ["cli:"]


async def is_let_in(context: Context, key: str) -> bool:
    try:
        await KeyRing(context).authenticate(key)
    except Unauthorized:
        return False
    return True
