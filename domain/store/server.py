"""What the Postgres server and the role of this connection are like. Reads only."""

from collections.abc import Sequence

from msgspec import Struct

from domain.store.session import Connection


class ServerRow(Struct, frozen=True, kw_only=True):
    #: As `server_version_num`: 15 is 150000.
    number: int
    version: str
    is_standby: bool
    is_read_only: bool
    max_connections: int
    #: Of those, kept for superusers and roles like them.
    reserved: int
    #: Most connections of this role, and of this database; -1: no limit.
    role_limit: int
    database_limit: int
    #: Sessions of all databases.
    used: int
    #: Of this connection, such as TLSv1.3; None: it is not encrypted.
    tls: str | None


class RoleRow(Struct, frozen=True, kw_only=True):
    role: str
    is_superuser: bool
    #: Where tables are looked for; None: the role may use no schema of its search path.
    schema: str | None


async def read_server(connection: Connection) -> ServerRow:
    row = await connection.fetchrow(
        """
        SELECT current_setting('server_version_num')::int AS number,
               current_setting('server_version') AS version, pg_is_in_recovery() AS is_standby,
               current_setting('default_transaction_read_only')::bool AS is_read_only,
               current_setting('max_connections')::int AS max_connections,
               current_setting('superuser_reserved_connections')::int
                   + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
               (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
               (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
               (SELECT coalesce(sum(numbackends), 0)::int FROM pg_stat_database) AS used,
               (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS tls
        """
    )
    return ServerRow(**row)


async def read_backend(connection: Connection) -> int:
    """The process id of the server behind this connection."""
    return await connection.fetchval("SELECT pg_backend_pid()")  # type: ignore[no-any-return]


async def read_role(connection: Connection) -> RoleRow:
    row = await connection.fetchrow(
        """
        SELECT rolname AS role, rolsuper AS is_superuser, current_schema() AS schema
        FROM pg_roles WHERE rolname = current_user
        """
    )
    return RoleRow(**row)


async def list_rights(connection: Connection, rights: Sequence[str]) -> dict[str, list[str]]:
    """By table of the current schema: which of `rights` (`SELECT`, `INSERT`, …) the role has."""
    rows = await connection.fetch(
        """
        SELECT c.relname, array_remove(array_agg(
                   CASE WHEN has_table_privilege(c.oid, r.name) THEN r.name END), NULL) AS held
        FROM pg_class c CROSS JOIN unnest($1::text[]) AS r(name)
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        GROUP BY c.relname
        """,
        list(rights),
    )
    return {row["relname"]: row["held"] for row in rows}
