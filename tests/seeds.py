"""Rows that many tests start from: two projects with a catalog, users, stored answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from domain.context import Context
from domain.flows.lead import Leadership
from domain.flows.note_jobs import JobNotes, Turn
from domain.jobs import JOBS
from domain.model import CachedSet, Entitlement, Reason, StoredSegment, StoredSet
from domain.rules.catalog import App, Catalog, Feature, Plan, Price, encode_catalog
from domain.rules.catalog.nouns import GrantValue
from domain.store import entitlements

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def make_catalog(project: str = "acme", *apps: str, default_seats: int = 1) -> Catalog:
    """A small catalog: two features, a recurring plan `pro` (month) and a one-time one `pass` (once)."""
    names = apps or ("editor", "viewer")
    return Catalog(
        project=project,
        name=project.title(),
        apps={
            app: App(key=app, redirect_origins=("https://editor.acme.example", "http://localhost:3000"))
            for app in names
        },
        features={
            "export": Feature(key="export", type="boolean", apps=names),
            "seats": Feature(
                key="seats", type="integer", apps=names[:1], default=GrantValue(value=default_seats)
            ),
        },
        plans={
            "pass": Plan(
                key="pass",
                name="Pass",
                grants={"export": GrantValue(value=True)},
                product_id=f"{project}_pass",
                prices={"once": Price(key="once", duration_days=30, currency="usd", amounts={"usd": 900})},
            ),
            "pro": Plan(
                key="pro",
                name="Pro",
                group="main",
                trial_days=14,
                grants={"export": GrantValue(value=True), "seats": GrantValue(value=5, per_unit=True)},
                product_id=f"{project}_pro",
                prices={
                    "month": Price(
                        key="month", interval="month", currency="usd", amounts={"usd": 1900, "eur": 1900}
                    )
                },
            ),
        },
    )


async def seed_catalog(context: Context, catalog: Catalog | None = None, version: int = 1) -> Catalog:
    """Make `catalog` the head of its project."""
    catalog = catalog or make_catalog()
    async with context.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO catalogs (project, version, body, sha256) VALUES ($1, $2, $3, sha256($4))",
            catalog.project,
            version,
            encode_catalog(catalog).decode(),
            encode_catalog(catalog),
        )
        await connection.execute(
            """
            INSERT INTO projects (project, name, catalog_version) VALUES ($1, $2, $3)
            ON CONFLICT (project) DO UPDATE SET catalog_version = excluded.catalog_version
            """,
            catalog.project,
            catalog.name,
            version,
        )
        await connection.execute(
            "INSERT INTO apps (project, app) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING",
            catalog.project,
            list(catalog.apps),
        )
    return catalog


async def seed_user(context: Context, user_id: str = "u_17", project: str = "acme") -> int:
    """The user_key of a user, made when missing."""
    async with context.database.transaction() as connection:
        user_key: int = await connection.fetchval(
            """
            INSERT INTO users (project, user_id) VALUES ($1, $2)
            ON CONFLICT (project, user_id) DO UPDATE SET user_id = excluded.user_id RETURNING user_key
            """,
            project,
            user_id,
        )
    return user_key


def make_segment(
    begins_at: datetime = LONG_AGO, ends_at: datetime | None = None, *, export: bool = True, seats: int = 5
) -> StoredSegment:
    answers = {
        "export": Entitlement(
            granted=export,
            type="boolean",
            value=export,
            reason=Reason.SUBSCRIPTION_ACTIVE if export else Reason.SUBSCRIPTION_CANCELED,
        ),
        "seats": Entitlement(
            granted=seats > 0,
            type="integer",
            value=seats,
            unlimited=False,
            reason=Reason.SUBSCRIPTION_ACTIVE,
        ),
    }
    return StoredSegment(
        begins_at=begins_at, ends_at=ends_at, entitlements=msgspec.Raw(msgspec.json.encode(answers))
    )


async def seed_set(
    context: Context,
    *segments: StoredSegment,
    user_id: str = "u_17",
    project: str = "acme",
    app: str = "editor",
    version: int = 1,
    clock_at: datetime | None = None,
) -> StoredSet:
    """Store answers as a recompute would, without telling the cache."""
    user_key = await seed_user(context, user_id, project)
    kept = segments or (make_segment(),)
    stored = StoredSet(
        project=project,
        app=app,
        user_key=user_key,
        first_version=version,
        last_version=version + len(kept) - 1,
        catalog_version=1,
        computed_at=datetime.now(UTC),
        clock_at=clock_at,
        segments=kept,
    )
    async with context.database.transaction() as connection:
        if clock_at is not None:
            await connection.execute("UPDATE users SET clock_at = $2 WHERE user_key = $1", user_key, clock_at)
        is_written = await entitlements.save_set(connection, stored, msgspec.json.encode(kept))
    assert is_written
    return stored


def cached(stored: StoredSet, read_at: float) -> CachedSet:
    return CachedSet(stored=stored, read_at=read_at)


async def seed_dead(context: Context) -> None:
    """A dead customer of acme's u_17 and a dead refund of nobody known, an event waiting on each."""
    async with context.database.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO users (project, user_id) VALUES ('acme', 'u_17');
            INSERT INTO stripe_customers (ref, project, user_key, stripe_customer_id, is_primary)
            SELECT gen_random_uuid(), project, user_key, 'cus_1', true FROM users;
            INSERT INTO sync_targets (kind, stripe_id, dirty_seq, state, failures, last_error)
            VALUES ('customer', 'cus_1', 1, 'dead', 8, 'a shape'),
                   ('refund', 're_1', 1, 'dead', 8, 'a shape');
            INSERT INTO webhook_events
                (event_id, source, type, object_kind, object_id, target_kind, target_ref, state)
            VALUES
            ('evt_1', 'stripe', 'customer.updated', 'customer', 'cus_1', 'customer', 'cus_1', 'pending'),
            ('evt_2', 'stripe', 'refund.created', 'refund', 're_1', 'refund', 're_1', 'pending')
            """
        )


@asynccontextmanager
async def led(context: Context, name: str = "here:1") -> AsyncIterator[Leadership]:
    """Somebody leads within the block, and every job has just ended well."""
    leadership = Leadership(context, name, lost=lambda: None)
    notes = JobNotes(context, name, now=lambda: 0.0)
    for job in JOBS:
        notes.add(job.name, Turn(began_at=0.0, ended_at=0.0, done=0))
    await notes.write_all()
    await leadership.look()
    assert leadership.is_leading
    try:
        yield leadership
    finally:
        await leadership.resign()
