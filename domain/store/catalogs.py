"""Immutable versions of each project's catalog, its apps, and which Stripe price is which of its prices."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from domain.store.session import Connection


class HeadRow(Struct, frozen=True, kw_only=True):
    """The version in force, without its body: enough to know whether a decoded copy is current."""

    project: str
    version: int
    sha256: bytes
    applied_at: datetime


class EarlierVersion(Struct, frozen=True, kw_only=True):
    version: int
    body: bytes
    applied_at: datetime


class PriceRow(Struct, frozen=True, kw_only=True):
    price_id: str
    plan: str
    price: str
    revision: int
    currencies: tuple[str, ...]


class ProjectStatus(Struct, frozen=True, kw_only=True):
    project: str
    #: In force.
    version: int
    applied_at: datetime
    users: int
    #: Users whose answers were computed under an older version.
    behind: int


async def find_head(connection: Connection, project: str) -> HeadRow | None:
    """None: no catalog of this project was ever applied."""
    row = await connection.fetchrow(
        """
        SELECT c.project, c.version, c.sha256, c.applied_at
        FROM projects p JOIN catalogs c ON (c.project, c.version) = (p.project, p.catalog_version)
        WHERE p.project = $1
        """,
        project,
    )
    return None if row is None else HeadRow(**row)


async def find_version(connection: Connection, project: str, version: int) -> HeadRow | None:
    """One version as if it were the head; None: there is no such version."""
    row = await connection.fetchrow(
        "SELECT project, version, sha256, applied_at FROM catalogs WHERE project = $1 AND version = $2",
        project,
        version,
    )
    return None if row is None else HeadRow(**row)


async def find_version_at(connection: Connection, project: str, at: datetime) -> HeadRow | None:
    """The version in force at `at`; before the first one, the first one. None: never applied."""
    row = await connection.fetchrow(
        """
        SELECT project, version, sha256, applied_at FROM catalogs WHERE project = $1
        ORDER BY applied_at <= $2 DESC, CASE WHEN applied_at <= $2 THEN -version ELSE version END LIMIT 1
        """,
        project,
        at,
    )
    return None if row is None else HeadRow(**row)


async def list_versions(connection: Connection, project: str, up_to: int) -> list[EarlierVersion]:
    """Versions 1 to `up_to` with their bodies, oldest first."""
    rows = await connection.fetch(
        """
        SELECT version, body::text AS body, applied_at FROM catalogs
        WHERE project = $1 AND version <= $2 ORDER BY version
        """,
        project,
        up_to,
    )
    return [
        EarlierVersion(version=row["version"], body=row["body"].encode(), applied_at=row["applied_at"])
        for row in rows
    ]


async def load_body(connection: Connection, project: str, version: int) -> bytes:
    """The JSON of one version. Raises LookupError where there is none: versions are never deleted."""
    body = await connection.fetchval(
        "SELECT body::text FROM catalogs WHERE project = $1 AND version = $2", project, version
    )
    if body is None:
        raise LookupError(f"catalog {project} has no version {version}")
    return bytes(body.encode())


async def list_projects(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT project FROM projects ORDER BY project")
    return [row["project"] for row in rows]


async def lock_catalogs(connection: Connection) -> None:
    """One publication at a time; held until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(7405002)")


async def take_apply(connection: Connection) -> bool:
    """Whether this session is the one that applies catalogs at Stripe, until it ends."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock(7405003)"))


async def add_version(
    connection: Connection, *, project: str, name: str, version: int, body: bytes, sha256: bytes
) -> None:
    """Store a version and make it the head."""
    await connection.execute(
        "INSERT INTO catalogs (project, version, body, sha256) VALUES ($1, $2, $3, $4)",
        project,
        version,
        body.decode(),
        sha256,
    )
    await connection.execute(
        """
        INSERT INTO projects (project, name, catalog_version) VALUES ($1, $2, $3)
        ON CONFLICT (project) DO UPDATE
        SET name = excluded.name, catalog_version = excluded.catalog_version
        """,
        project,
        name,
        version,
    )


async def set_apps(connection: Connection, project: str, apps: Sequence[str]) -> None:
    """The apps the head lists; others are kept, with the time at which they were removed."""
    await connection.execute(
        """
        INSERT INTO apps (project, app) SELECT $1, unnest($2::text[])
        ON CONFLICT (project, app) DO UPDATE SET removed_at = NULL
        """,
        project,
        list(apps),
    )
    await connection.execute(
        """
        UPDATE apps SET removed_at = clock_timestamp()
        WHERE project = $1 AND NOT app = ANY($2::text[]) AND removed_at IS NULL
        """,
        project,
        list(apps),
    )


async def set_price(connection: Connection, project: str, row: PriceRow) -> None:
    """Make a Stripe price the revision that new checkouts sell; an older one goes on granting."""
    await connection.execute(
        """
        UPDATE prices SET is_head = false
        WHERE project = $1 AND plan = $2 AND price = $3 AND is_head AND price_id <> $4
        """,
        project,
        row.plan,
        row.price,
        row.price_id,
    )
    await connection.execute(
        """
        INSERT INTO prices (price_id, project, plan, price, revision, is_head, currencies)
        VALUES ($1, $2, $3, $4, $5, true, $6)
        ON CONFLICT (price_id) DO UPDATE SET is_head = true, currencies = excluded.currencies
        """,
        row.price_id,
        project,
        row.plan,
        row.price,
        row.revision,
        list(row.currencies),
    )


async def find_next_revision(connection: Connection, project: str, plan: str, price: str) -> int:
    """1 for a price that has none."""
    found = await connection.fetchval(
        "SELECT max(revision) FROM prices WHERE project = $1 AND plan = $2 AND price = $3",
        project,
        plan,
        price,
    )
    return (found or 0) + 1


async def list_price_ids(connection: Connection, projects: Sequence[str]) -> list[str]:
    """Every Stripe price that was ever sold as one of these projects' prices."""
    rows = await connection.fetch(
        "SELECT price_id FROM prices WHERE project = ANY($1::text[]) ORDER BY price_id", list(projects)
    )
    return [row["price_id"] for row in rows]


async def find_price_id(connection: Connection, project: str, plan: str, price: str) -> PriceRow | None:
    """The Stripe price that new checkouts of a catalog price sell; None: not created in Stripe yet."""
    row = await connection.fetchrow(
        """
        SELECT price_id, plan, price, revision, currencies FROM prices
        WHERE project = $1 AND plan = $2 AND price = $3 AND is_head
        """,
        project,
        plan,
        price,
    )
    if row is None:
        return None
    return PriceRow(**{**row, "currencies": tuple(row["currencies"])})


async def list_status(connection: Connection) -> list[ProjectStatus]:
    """By project."""
    rows = await connection.fetch(
        """
        SELECT p.project, p.catalog_version AS version, c.applied_at, count(u.user_key) AS users,
               count(u.user_key) FILTER (WHERE u.catalog_version < p.catalog_version) AS behind
        FROM projects p
        JOIN catalogs c ON (c.project, c.version) = (p.project, p.catalog_version)
        LEFT JOIN users u ON u.project = p.project
        GROUP BY p.project, p.catalog_version, c.applied_at ORDER BY p.project
        """
    )
    return [ProjectStatus(**row) for row in rows]
