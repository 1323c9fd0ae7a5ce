"""Look at Postgres: the server, the way to it, what the role may do, and what the tables hold."""

import asyncio
import time
from collections.abc import Sequence

from domain.context import POOL_SIZE, Context
from domain.errors import TollhouseError
from domain.flows.diagnose.within import skip_all, within
from domain.flows.read_catalog import find_head
from domain.flows.status import read_status
from domain.rules.diagnosis import Check
from domain.rules.diagnosis import here as here_rules
from domain.rules.diagnosis import postgres as rules
from domain.store import api_keys, billing, catalogs, revision, server

#: What rests on a server that answers, and what on a schema that is new enough.
SERVER = (
    "postgres_tls",
    "postgres_pooling",
    "postgres_connections",
    "postgres_role",
    "schema",
    "clock_database",
)
SCHEMA = ("key_pepper", "catalog", "work")


async def examine_postgres(context: Context, limit_s: float) -> list[Check]:
    """The server and the way to it; needs no schema."""
    first = await within(limit_s, "postgres", _look_at_server(context), judge=_away)
    if first[0].outcome == "failed":
        return [*first, *skip_all(SERVER, "Postgres is not ready for it")]
    rest = await asyncio.gather(
        within(limit_s, "postgres_pooling", _look_at_pooling(context), judge=_pooled),
        within(limit_s, "postgres_role", _look_at_role(context)),
        within(limit_s, "schema", _look_at_schema(context)),
        within(limit_s, "clock_database", _compare_clocks(context)),
    )
    return [*first, *(check for checks in rest for check in checks)]


def _away(error: TollhouseError) -> Check:
    return rules.judge_refusal(error.detail)


def _pooled(error: TollhouseError) -> Check:
    return rules.judge_pooling_error(error.detail)


async def _look_at_server(context: Context) -> list[Check]:
    async with context.database.connection() as connection:
        row = await server.read_server(connection)
    return [
        rules.judge_server(row.number, row.version, is_standby=row.is_standby, is_read_only=row.is_read_only),
        rules.judge_tls(context.settings.database_url.reveal(), row.tls),
        rules.judge_connections(
            max_connections=row.max_connections,
            reserved=row.reserved,
            limits=(row.role_limit, row.database_limit),
            used=row.used,
            pools={str(process): size for process, size in POOL_SIZE.items()},
        ),
    ]


async def _look_at_pooling(context: Context) -> list[Check]:
    """Both connections are held all the time: only a pooler gives two of them one server."""
    database = context.database
    async with database.connection() as one, database.connection() as other:
        first = await server.read_backend(one)
        async with other.transaction():
            beside = await server.read_backend(other)
            again = await server.read_backend(one)
    return [rules.judge_pooling(first, beside, again)]


async def _look_at_role(context: Context) -> list[Check]:
    async with context.database.connection() as connection:
        role = await server.read_role(connection)
        held = await server.list_rights(connection, rules.RIGHTS)
    env = context.settings.env
    return [
        rules.judge_role(role.role, schema=role.schema, is_superuser=role.is_superuser, held=held, env=env)
    ]


async def _look_at_schema(context: Context) -> list[Check]:
    async with context.database.connection() as connection:
        current = await revision.find_revision(connection)
    needed = revision.shipped_revisions()[-1]
    return [rules.judge_schema(current, needed, is_enough=revision.is_enough(current))]


async def _compare_clocks(context: Context) -> list[Check]:
    """The middle of the question is when the answer was true, to half of what the question took."""
    async with context.database.connection() as connection:
        await context.now(connection)
        began = time.time()
        theirs = (await context.now(connection)).timestamp()
        took_s = time.time() - began
    skew_s = theirs - (began + took_s / 2)
    return [here_rules.judge_skew("clock_database", "the database's clock", skew_s, took_s / 2)]


async def examine_database(context: Context, server_checks: Sequence[Check], limit_s: float) -> list[Check]:
    """Peppers, catalogs and the state of the work: what only the tables know."""
    schema = next((check for check in server_checks if check.name == "schema"), None)
    if schema is None or schema.outcome != "ok":
        return skip_all(SCHEMA, "there is no schema to ask")
    pepper, catalog, work = await asyncio.gather(
        within(limit_s, "key_pepper", _look_at_peppers(context)),
        within(limit_s, "catalog", _look_at_catalogs(context)),
        within(limit_s, "work", _look_at_work(context)),
    )
    return [*pepper, *catalog, *work]


async def _look_at_peppers(context: Context) -> list[Check]:
    peppers = {version: pepper.reveal() for version, pepper in context.settings.key_peppers}
    if not peppers:
        return skip_all(["key_pepper"], "TOLLHOUSE_KEY_PEPPERS is not set here; read and api need it")
    async with context.database.connection() as connection:
        used = await api_keys.count_by_pepper(connection)
    return [here_rules.judge_peppers(peppers, used)]


async def _look_at_catalogs(context: Context) -> list[Check]:
    versions: dict[str, int] = {}
    unsold: list[str] = []
    async with context.database.snapshot() as connection:
        for project in await catalogs.list_projects(connection):
            head = await find_head(connection, project)
            if head is None:
                continue
            versions[project] = head.version
            plans = head.catalog.plans
            sold = await billing.list_head_prices(connection, project, sorted(plans))
            wanted = [(plan, price) for plan, found in plans.items() for price in found.prices]
            unsold += [".".join((project, *key)) for key in sorted(wanted) if key not in sold]
    return [here_rules.judge_catalogs(versions, unsold)]


async def _look_at_work(context: Context) -> list[Check]:
    """As `tollhouse status` judges it: what it says of Redis stands on lines of its own here."""
    seen = await read_status(context, bells=None)
    parts = [part for part in seen.parts if part.name not in {"queue", "cache"}]
    return here_rules.judge_parts(parts)
