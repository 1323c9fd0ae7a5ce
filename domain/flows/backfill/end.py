"""End an import, in the transaction of whoever ends it."""

from domain.flows.record_action import Operator, record_action
from domain.store import imports
from domain.store.session import Connection


async def end_import(
    connection: Connection,
    project: str,
    import_id: str,
    operator: Operator,
    *,
    state: str,
    error: str | None = None,
) -> bool:
    """With its audit row; False: it had ended, and nothing is written. `state`: done, failed, abandoned."""
    if not await imports.end_import(connection, project, import_id, state, error):
        return False
    await record_action(
        connection,
        operator,
        action="import.end",
        project=project,
        user_key=None,
        subject=("import", import_id),
        reason=None,
        details={"state": state},
    )
    return True
