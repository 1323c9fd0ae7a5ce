"""Catalogs, and the projects and apps they name."""

from domain.store.session import Connection


async def find_head(connection: Connection, project: str) -> tuple[int, bytes] | None:
    """(version, body) of the catalog in force for a project; None: there is no such project."""
    row = await connection.fetchrow(
        """
        SELECT c.version, c.body FROM projects p
        JOIN catalogs c ON c.project = p.project AND c.version = p.catalog_version
        WHERE p.project = $1
        """,
        project,
    )
    return None if row is None else (row["version"], row["body"].encode())


async def list_apps(connection: Connection) -> list[tuple[str, str]]:
    """(project, app) of every app in force, sorted."""
    rows = await connection.fetch(
        "SELECT project, app FROM apps WHERE removed_at IS NULL ORDER BY project, app"
    )
    return [(row["project"], row["app"]) for row in rows]
