"""`catalog status`: the version in force of each project, and the users it has not reached yet."""

from domain.context import Context
from domain.store import catalogs
from domain.store.catalogs import ProjectStatus


async def list_catalogs(context: Context) -> list[ProjectStatus]:
    """By project. Raises Unavailable where Postgres is away."""
    async with context.database.connection() as connection:
        return await catalogs.list_status(connection)
