"""What holds after whatever happened to a user: versions, facts, readers, history and feed agree."""

from datetime import UTC, datetime

import msgspec

from domain.context import database_now
from domain.flows.gather_facts import gather_facts
from domain.flows.lookup import Lookup
from domain.flows.read_catalog import find_head
from domain.rules.answer import answer_at
from domain.rules.timeline import decode_timeline, is_same_from, timeline
from domain.store import entitlements
from tests.flows.event_path import EventPath

USER, APPS = "u_1", ("editor", "viewer")

#: Notes every version as it is written, so that one that fell between two looks is seen too.
VERSION_LOG = """
    CREATE TABLE version_log (id bigint GENERATED ALWAYS AS IDENTITY, user_key bigint, app text,
                              first_version bigint, last_version bigint);
    CREATE FUNCTION note_version() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO version_log (user_key, app, first_version, last_version)
        VALUES (new.user_key, new.app, new.first_version, new.last_version);
        RETURN new;
    END $$;
    CREATE TRIGGER note_version AFTER INSERT OR UPDATE ON entitlements
        FOR EACH ROW EXECUTE FUNCTION note_version()
"""


class Stale(AssertionError):
    """What no interleaving may lead to."""


async def check(path: EventPath) -> None:
    await check_versions_never_fell(path)
    for app in APPS:
        stored = await path.stored(USER, app)
        assert stored is not None
        await check_answers_are_of_the_facts(path, app)
        await check_readers_agree(path, app)
        await check_history(path, app)


async def check_versions_never_fell(path: EventPath) -> None:
    fell = await path.rows(
        """
        SELECT * FROM (
            SELECT app, first_version,
                   lag(last_version) OVER (PARTITION BY user_key, app ORDER BY id) AS before
            FROM version_log
        ) v WHERE first_version <= before
        """
    )
    if fell:
        raise Stale(f"a stored version fell: {fell}")


async def check_answers_are_of_the_facts(path: EventPath, app: str) -> None:
    async with path.context.database.connection() as connection:
        stored = await entitlements.find_set(connection, "acme", USER, app)
        head = await find_head(connection, "acme")
        assert stored is not None
        assert head is not None
        facts = await gather_facts(connection, "acme", stored.user_key)
        now = await database_now(connection)
        under = await connection.fetchval(
            "SELECT catalog_version FROM users WHERE user_key = $1", stored.user_key
        )
    of_facts = timeline(facts, head.catalog, app, now)
    if not is_same_from(decode_timeline(msgspec.json.encode(stored.segments)), of_facts, now):
        raise Stale(f"{app}: the stored set is not what the facts give")
    if under != head.version:
        raise Stale(f"computed under catalog {under}, the head is {head.version}")


async def check_readers_agree(path: EventPath, app: str) -> None:
    """Postgres, Redis, a reader behind Redis, and one without: the same bytes."""
    bare = msgspec.structs.replace(path.context, cache=None)
    behind = Lookup(path.context)
    bodies = {
        "postgres": (await Lookup(bare).find("acme", app, USER)).body,
        "reader": (await behind.find("acme", app, USER)).body,
    }
    await behind.close()
    copied = await path.cached(USER, app)
    if copied is not None:
        bodies["redis"] = answer_at(copied, USER, datetime.now(UTC)).body
    if len(set(bodies.values())) != 1:
        raise Stale(f"{app}: readers disagree, {bodies}")


async def check_history(path: EventPath, app: str) -> None:
    """Each version once and in order, in history and feed; what is answered now is kept byte for byte."""
    kept = await path.rows(
        "SELECT version, body::text FROM entitlement_history WHERE app = $1 ORDER BY version", app
    )
    told = await path.rows("SELECT version FROM entitlement_changes WHERE app = $1 ORDER BY id", app)
    if [row["version"] for row in kept] != [row["version"] for row in told]:
        raise Stale(f"{app}: history and feed differ")
    stored = await path.stored(USER, app)
    assert stored is not None
    answer = answer_at(stored, USER, datetime.now(UTC))
    bodies = {row["version"]: row["body"].encode() for row in kept}
    if bodies.get(answer.version) != bytes(answer.segment.entitlements):
        raise Stale(f"{app}: version {answer.version} is kept with other bytes")
