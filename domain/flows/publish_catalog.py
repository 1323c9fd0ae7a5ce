"""Publish a catalog: a new immutable version per project that changed; users' answers follow in batches."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct

from domain.context import Context
from domain.errors import Unavailable
from domain.flows.record_action import NOBODY, Operator, record_action
from domain.rules.catalog import (
    Catalog,
    SoldPrice,
    encode_catalog,
    lookup_key,
    parse_catalog_file,
    stripe_objects,
)
from domain.rules.portal_settings import creation_params, portal_names, portal_settings
from domain.store import catalogs, due
from domain.store.catalogs import PriceRow
from domain.store.session import Connection
from domain.telemetry import get_logger

__all__ = [
    "Catalog",
    "Published",
    "PublishedProject",
    "publish_locally",
    "publish_sold",
    "read_catalog",
]

log = get_logger()


class PublishedProject(Struct, frozen=True, kw_only=True):
    version: int
    #: False: the content was already the head.
    is_new: bool
    apps: tuple[str, ...]


class Published(Struct, frozen=True, kw_only=True):
    projects: dict[str, PublishedProject]
    #: The Stripe objects of the catalog under the ids the local Stripe is seeded with.
    stripe: dict[str, list[dict[str, Any]]]
    #: Users whose answers are still those of an older catalog: the scheduler recomputes them in batches.
    behind: int


def read_catalog(text: str, *, file: str) -> dict[str, Catalog]:
    """The catalog in the text of a file, by project; `file` is its name in errors.

    Raises:
        CatalogInvalid: naming file, table and key of everything that is wrong.
    """
    return parse_catalog_file(text, file=file)


async def publish_locally(
    context: Context, given: Mapping[str, Catalog], operator: Operator = NOBODY
) -> Published:
    """`catalog apply --local`: store new versions; create nothing in Stripe and recompute nobody yet.

    Applying the same content twice changes nothing; each new version has its row in the audit log. Every
    project's version, apps and prices appear in one transaction, and with it its users are behind:
    `domain.flows.recompute_due` works them off, here with `--wait` or in the scheduler. Until then each user
    keeps the answer that was stored.

    Raises:
        Unavailable: Postgres is away.
    """
    objects = _local_objects(given, context.settings.env)
    async with context.database.transaction() as connection:
        projects = await _publish_projects(connection, given, operator)
        for price in objects["prices"]:
            await _set_local_price(connection, price)
        behind = await due.count_behind(connection)
    await _announce_new(context, projects)
    return Published(projects=projects, stripe=objects, behind=behind)


def _local_objects(given: Mapping[str, Catalog], env: str) -> dict[str, list[dict[str, Any]]]:
    """With each project's portal as `apply` would make it, or `verify` of a new deployment names it."""
    objects = stripe_objects(given)
    ids = {price["lookup_key"]: str(price["id"]) for price in objects["prices"]}
    portals = []
    for project, catalog in sorted(given.items()):
        sold = {
            (plan.key, price): ids[lookup_key(project, plan.key, price)]
            for plan in catalog.plans.values()
            for price in plan.prices
        }
        portals.append(creation_params(portal_names(project, env), portal_settings(catalog, sold)))
    return {**objects, "portal_configurations": portals}


async def publish_sold(
    context: Context,
    given: Mapping[str, Catalog],
    sold: Iterable[SoldPrice],
    operator: Operator = NOBODY,
) -> dict[str, PublishedProject]:
    """Store new versions and with them the Stripe prices sold from now on; else as `publish_locally`.

    What is stored already is not written again.

    Raises:
        Unavailable: Postgres is away.
    """
    async with context.database.transaction() as connection:
        projects = await _publish_projects(connection, given, operator)
        for price in sold:
            await _set_sold_price(connection, price)
    await _announce_new(context, projects)
    return projects


async def _publish_projects(
    connection: Connection, given: Mapping[str, Catalog], operator: Operator
) -> dict[str, PublishedProject]:
    await catalogs.lock_catalogs(connection)
    return {
        project: await _publish_project(connection, catalog, operator)
        for project, catalog in sorted(given.items())
    }


async def _publish_project(connection: Connection, catalog: Catalog, operator: Operator) -> PublishedProject:
    body = encode_catalog(catalog)
    digest = sha256(body).digest()
    head = await catalogs.find_head(connection, catalog.project)
    apps = tuple(sorted(catalog.apps))
    if head is not None and head.sha256 == digest:
        return PublishedProject(version=head.version, is_new=False, apps=apps)
    version = head.version + 1 if head is not None else 1
    await catalogs.add_version(
        connection, project=catalog.project, name=catalog.name, version=version, body=body, sha256=digest
    )
    await catalogs.set_apps(connection, catalog.project, apps)
    await record_action(
        connection,
        operator,
        action="catalog.apply",
        project=catalog.project,
        user_key=None,
        subject=("catalog", str(version)),
        reason=None,
        details={"version": version, "apps": apps, "plans": sorted(catalog.plans)},
    )
    log.info("catalog_published", project=catalog.project, version=version)
    return PublishedProject(version=version, is_new=True, apps=apps)


async def _set_local_price(connection: Connection, price: dict[str, Any]) -> None:
    """The local Stripe changes amounts in place, so there is one revision of each price."""
    project, plan, key = str(price["lookup_key"]).split(":")
    currencies = (str(price["currency"]), *sorted(price["currency_options"]))
    row = PriceRow(price_id=str(price["id"]), plan=plan, price=key, revision=1, currencies=currencies)
    await catalogs.set_price(connection, project, row)


async def _set_sold_price(connection: Connection, sold: SoldPrice) -> None:
    """A price that Stripe made is a revision of its own, numbered as it is first sold."""
    known = await catalogs.find_price_id(connection, sold.project, sold.plan, sold.price)
    if known is not None and (known.price_id, known.currencies) == (sold.price_id, sold.currencies):
        return
    row = PriceRow(
        price_id=sold.price_id,
        plan=sold.plan,
        price=sold.price,
        revision=await catalogs.find_next_revision(connection, sold.project, sold.plan, sold.price),
        currencies=sold.currencies,
    )
    await catalogs.set_price(connection, sold.project, row)


async def _announce_new(context: Context, projects: Mapping[str, PublishedProject]) -> None:
    for project, published in projects.items():
        if published.is_new:
            await _announce(context, project, published.version)


async def _announce(context: Context, project: str, version: int) -> None:
    """Readers drop defaults of the old head; without the message they re-read it within seconds."""
    if context.cache is None:
        return
    try:
        await context.cache.publish_catalog(project, version)
    except Unavailable as error:
        log.warning("catalog_not_announced", project=project, error=error.detail)
