"""Begin an import, and say when no more customers are to come: what checkouts of the project go by."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict
from domain.flows.backfill.end import end_import
from domain.flows.backfill.mapping import NO_MAP, ByMap, Mapping, refuse_lines
from domain.flows.backfill.stages import FIRST
from domain.flows.grant import require_head
from domain.flows.record_action import Operator, record_action
from domain.rules.customer_map import Fault, MapLine
from domain.store import import_customers, imports
from domain.store.imports import ImportRow
from domain.store.session import Connection
from domain.telemetry import get_logger

log = get_logger()


class Begun(Struct, frozen=True, kw_only=True):
    import_id: str
    #: An earlier call had begun it; it goes on where that one was.
    is_resumed: bool


class Gate(Struct, frozen=True, kw_only=True):
    """What a checkout does with a user who has no customer yet."""

    project: str
    #: Customers of another system are to come; None: none are, and checkouts make customers.
    pending_since: datetime | None
    #: They make some all the same.
    allows_new: bool


async def begin(
    context: Context,
    project: str,
    mapping: Mapping,
    operator: Operator,
    *,
    allows_new: bool | None = None,
    restart: bool = False,
) -> Begun:
    """Begin an import, or find the one that is running with the same map. One audit row, in its transaction.

    `restart` gives up the running one; what it has linked stays linked.

    Raises:
        Unknown: there is no such project.
        Invalid: a line maps a customer that is another user's or project's.
        Conflict: another import is running.
        Unavailable: Postgres is away.
    """
    async with context.database.transaction() as connection:
        await require_head(connection, project)
        running = await imports.find_running(connection, project)
        if running is not None and not restart:
            return _resumed(running, mapping)
        if isinstance(mapping, ByMap):
            refuse_lines(await find_taken(connection, project, mapping.lines), NO_MAP)
        if running is not None:
            await end_import(connection, project, running.import_id, operator, state="abandoned")
        return await _begin(connection, project, mapping, operator, allows_new=allows_new)


async def _begin(
    connection: Connection,
    project: str,
    mapping: Mapping,
    operator: Operator,
    *,
    allows_new: bool | None,
) -> Begun:
    import_id = f"imp_{uuid.uuid4().hex}"
    await import_customers.forget_customers(connection, project)
    is_new = await imports.insert_import(
        connection, import_id, project, mapping.name, stage=FIRST, actor=operator.actor
    )
    if not is_new:
        raise Conflict(f"Another import of {project} has just begun: look at its end.", code="import_running")
    if isinstance(mapping, ByMap):
        lines = [(one.customer_id, one.user_id, None) for one in mapping.lines]
        await import_customers.add_customers(connection, import_id, lines)
    await imports.await_import(connection, project, allows_new=allows_new)
    await record_action(
        connection,
        operator,
        action="import.start",
        project=project,
        user_key=None,
        subject=("import", import_id),
        reason=None,
        details={
            "mapping": mapping.name,
            "lines": len(mapping.lines) if isinstance(mapping, ByMap) else None,
        },
    )
    log.info("import_started", import_id=import_id, project=project)
    return Begun(import_id=import_id, is_resumed=False)


def _resumed(running: ImportRow, mapping: Mapping) -> Begun:
    if running.mapping != mapping.name:
        raise Conflict(
            f"{running.import_id} is running with another map, at {running.stage}: give the map it began "
            "with to go on, or add --restart to give it up (what it has linked stays linked).",
            code="import_running",
        )
    return Begun(import_id=running.import_id, is_resumed=True)


async def find_taken(connection: Connection, project: str, lines: Sequence[MapLine]) -> list[Fault]:
    """Lines whose customer is another user's or another project's already."""
    owners = await import_customers.list_owners(connection, [one.customer_id for one in lines])
    faults = []
    for one in lines:
        owner = owners.get(one.customer_id)
        if owner is None or (owner.project, owner.user_id) == (project, one.user_id):
            continue
        whose = f"project {owner.project}" if owner.project != project else f"user {owner.user_id!r}"
        faults.append(Fault(line=one.line, said=f"{one.customer_id} belongs to {whose} already"))
    return faults


async def open_project(
    context: Context, project: str, operator: Operator, *, allows_new: bool | None
) -> Gate:
    """Customers of another system are to come: until `complete`, checkouts wait for them.

    Raises: Unknown (project), Unavailable.
    """
    async with context.database.transaction() as connection:
        await require_head(connection, project)
        await imports.await_import(connection, project, allows_new=allows_new)
        gate = await _gate(connection, project)
        await _record(connection, operator, "import.await", project, {"allows_new": gate.allows_new})
    return gate


async def complete(context: Context, project: str, operator: Operator) -> Gate:
    """No more customers are to come: checkouts make customers again. Saying it twice changes nothing.

    What is left of the maps is deleted.

    Raises:
        Unknown: there is no such project. Conflict: an import is running.
        Unavailable: Postgres is away.
    """
    async with context.database.transaction() as connection:
        await require_head(connection, project)
        running = await imports.find_running(connection, project)
        if running is not None:
            raise Conflict(
                f"{running.import_id} is not at its end (it is at {running.stage}): run `tollhouse backfill` "
                "again with its map, which goes on with it.",
                code="import_running",
            )
        was_pending = await imports.complete_import(connection, project)
        await import_customers.forget_customers(connection, project)
        if was_pending:
            await _record(connection, operator, "import.complete", project, {})
        return await _gate(connection, project)


async def _gate(connection: Connection, project: str) -> Gate:
    since, allows_new = await imports.read_pending(connection, project)
    return Gate(project=project, pending_since=since, allows_new=since is None or allows_new)


async def _record(
    connection: Connection, operator: Operator, action: str, project: str, details: dict[str, bool]
) -> None:
    await record_action(
        connection,
        operator,
        action=action,
        project=project,
        user_key=None,
        subject=("project", project),
        reason=None,
        details=details,
    )
