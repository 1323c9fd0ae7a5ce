"""`tollhouse doctor` as an operator reads it and a deploy script calls it."""

import msgspec

from domain.context import Context
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.settings import Settings
from tests.flows.event_path import CATALOG
from tests.ingress.terminal import type_in


async def test_the_exit_code_tells_what_failed_and_the_last_line_what_to_do_first(settings: Settings) -> None:
    said = await type_in(settings, "doctor")
    assert said.exit_code == 1, said.output
    last = said.stdout.strip().splitlines()[-1]
    assert last.startswith("First (catalog): write a catalog file")
    assert "TOLLHOUSE_STRIPE_SECRET_KEY is not set here" in said.stdout
    away = "postgresql://nobody:hidden@127.0.0.1:1/x"
    answered = await type_in(settings, "doctor", "--json", TOLLHOUSE_DATABASE_URL=away)
    assert answered.exit_code == 1
    seen = msgspec.json.decode(answered.stdout)
    assert seen["first"].startswith("First (postgres): start Postgres")
    of = {check["name"]: check["outcome"] for check in seen["checks"]}
    assert (of["postgres"], of["schema"], of["queue"]) == ("failed", "skipped", "ok")
    assert "hidden" not in said.output + answered.output


async def test_warnings_alone_end_with_0(context: Context, settings: Settings) -> None:
    await publish_locally(context, read_catalog(CATALOG.read_text(), file="catalog.toml"))
    said = await type_in(settings, "doctor")
    assert said.exit_code == 0, said.output
    assert "FAILED" not in said.stdout
    assert said.stdout.strip().splitlines()[-1].startswith("Nothing has failed; first (postgres_role): ")
