"""Migrate: bring the schema to what this build needs. Ten at once are harmless."""

from msgspec import Struct

from domain.settings import Settings
from domain.store import schema


class Migrated(Struct, frozen=True, kw_only=True):
    #: Revision before; None: the database was empty.
    before: str | None
    after: str
    #: What this build needs.
    required: str


async def migrate(settings: Settings) -> Migrated:
    """Raises: Unavailable, where Postgres is away."""
    before, after = await schema.upgrade(settings.database_url.reveal())
    return Migrated(before=before, after=after, required=schema.required_revision())
