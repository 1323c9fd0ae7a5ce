"""Which schema a database has and whether it is enough, told without loading the migration tool.

Every process asks this at each probe; alembic and SQLAlchemy would cost a reader 25 MB and half its start.
A test keeps this and `schema` of one mind.
"""

from functools import cache
from pathlib import Path

from domain.store.session import Connection

VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"


async def find_revision(connection: Connection) -> str | None:
    """The database's revision; None where no migration ever ran."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    return await connection.fetchval("SELECT version_num FROM alembic_version")  # type: ignore[no-any-return]


def is_enough(current: str | None) -> bool:
    """Whether a database at `current` can serve this build: at its newest revision, or ahead of it.

    A revision we do not ship was made by a newer release; migrations only expand while the previous release
    runs, so ahead is fine. None is a database without a schema.
    """
    shipped = shipped_revisions()
    return current is not None and (current == shipped[-1] or current not in shipped)


@cache
def shipped_revisions() -> tuple[str, ...]:
    """Revisions of this build, oldest first: files are named `{number}_{words}.py`, numbers only rise."""
    return tuple(sorted(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*_*.py")))
