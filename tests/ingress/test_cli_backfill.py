"""`tollhouse backfill` as an operator types it: files in, files out, sentences and exit codes."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from domain.context import Context
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.settings import Settings
from tests.flows.event_path import CATALOG
from tests.ingress.terminal import type_in


@pytest.fixture
async def stripe(context: Context) -> AsyncIterator[SimulatorHandle]:
    """An account with 30 customers, whose metadata names their users, and one that is nobody's."""
    async with running_simulator() as running:
        published = await publish_locally(context, read_catalog(CATALOG.read_text(), file="catalog.toml"))
        await running.seed(products=published.stripe["products"], prices=published.stripe["prices"])
        sold = {"price": "price_acme.pro.month", "one_time_price": "price_acme.pass.once"}
        await running.post("populate", customers=30, metadata_key="account", **sold)
        await running.post("populate", customers=1, first=30, **sold)
        yield running


async def test_the_whole_way_from_a_dry_run_to_the_end_of_the_import(
    stripe: SimulatorHandle, settings: Settings, tmp_path: Path
) -> None:
    environ = {
        "TOLLHOUSE_STRIPE_SECRET_KEY": stripe.secret_key,
        "TOLLHOUSE_STRIPE_API_BASE": stripe.url,
        "TOLLHOUSE_STRIPE_RATE": "0",
    }

    async def tell(*words: str, code: int = 0) -> str:
        done = await type_in(settings, "backfill", *words, **environ)
        assert done.exit_code == code, done.output
        return done.output

    by_metadata = ("--project", "acme", "--user-from", "metadata.account")
    left, answers = tmp_path / "left.csv", tmp_path / "answers.csv"
    said = await tell(*by_metadata, "--dry-run", "--unmapped", str(left))
    assert "Nothing was written. 30 of 31 customers would be linked, to 30 users; 1 would not" in said
    assert "No plan knows" not in said
    nobody = left.read_text().splitlines()[1]
    assert nobody.endswith(",,its metadata has no account")
    assert "checkouts for users without a customer answer 409" in await tell("await", "--project", "acme")
    said = await tell(*by_metadata, "--unmapped", str(left))
    assert "30 customers linked, 0 were their user's before" in said
    assert f"1 of 31 customers were not linked; {left} says why" in said
    # The file of the unmapped is a map once a user is filled in.
    left.write_text(left.read_text().replace(",,", ",u_30,"))
    done = msgspec.json.decode(await tell("--project", "acme", "--map", str(left), "--json"))
    assert (done["counts"]["linked"], done["counts"]["unmapped"]) == (1, 0)
    assert set(done) == {"import_id", "project", "state", "stage", "counts", "error"}
    answers.write_text("user_id,feature,granted\nu_1,export,true\nu_7,export,true\nu_30,export,true\n")
    said = await tell("compare", str(answers), "--project", "acme", code=1)
    assert "3 answers of 3 users: 2 differ. 0 users are unknown here." in said
    assert "subscription_canceled" in said
    answers.write_text("user_id,feature,granted\nu_1,export,true\nu_7,export,false\n")
    await tell("compare", str(answers), "--project", "acme")
    assert "acme waits for no import" in await tell("complete", "--project", "acme")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--project: name one"),
        (("--project", "acme"), "give one of them"),
        (("--project", "acme", "--user-from", "account"), "--user-from: metadata.KEY"),
        (("--project", "acme", "--map", "/nowhere.csv"), "--map: /nowhere.csv: No such file"),
        (("--project", "acme", "--user-from", "metadata.a", "--unmapped", "/no/x.csv"), "no directory /no"),
        (("--project", "acme", "--user-from", "metadata.a", "--unmapped", "/"), "--unmapped: / cannot be"),
        (("compare", "/nowhere.csv", "--project", "acme"), "ANSWERS.csv: /nowhere.csv: No such file"),
    ],
)
async def test_what_a_call_lacks_is_named_before_anything_is_read(
    settings: Settings, words: tuple[str, ...], said: str
) -> None:
    done = await type_in(settings, "backfill", *words)
    assert done.exit_code == 2
    assert said in done.output


async def test_wrong_lines_of_a_map_are_named_by_their_numbers(settings: Settings, tmp_path: Path) -> None:
    given = tmp_path / "users.csv"
    given.write_bytes(b"\xef\xbb\xbfstripe_customer_id,user_id\r\ncus_1,u_1\r\ncus_1,u_2\r\ncus_3,\r\n")
    done = await type_in(settings, "backfill", "--project", "acme", "--map", str(given))
    assert done.exit_code == 2
    assert "2 wrong lines: nothing was imported" in done.output
    assert "line 3: cus_1 is another user's in line 2: a customer is named once" in done.output
    assert "line 4: names no user" in done.output
    given.write_text("stripe_customer_id,user_id\ncus_1,u_1\n")
    words = (
        "--project",
        "acme",
        "--map",
        str(given),
        "--dry-run",
        "--unmapped",
        str(tmp_path / "." / "users.csv"),
    )
    done = await type_in(settings, "backfill", *words)
    assert (done.exit_code, "is the file of --map" in done.output) == (2, True), done.output
    assert "cus_1" in given.read_text()
