"""The catalog in force, decoded once per version and kept: versions are immutable."""

from collections import OrderedDict
from datetime import datetime

from msgspec import Struct

from domain.rules.catalog import Catalog, decode_catalog, with_older_grants
from domain.store import catalogs
from domain.store.catalogs import HeadRow
from domain.store.session import Connection

#: More projects than one company has; each is a few kilobytes.
MOST_KEPT = 64

_kept: OrderedDict[HeadRow, Catalog] = OrderedDict()


class Head(Struct, frozen=True):
    version: int
    catalog: Catalog


async def find_head(connection: Connection, project: str) -> Head | None:
    """The head of a project with what grandfathered plans granted before; None: never applied."""
    return await _decoded(connection, await catalogs.find_head(connection, project))


async def list_heads(connection: Connection) -> dict[str, Head]:
    """By project: every catalog in force."""
    heads = {
        project: await find_head(connection, project) for project in await catalogs.list_projects(connection)
    }
    return {project: head for project, head in heads.items() if head is not None}


async def find_version(connection: Connection, project: str, version: int) -> Head | None:
    """One version as it was when it was the head; None: there is no such version."""
    return await _decoded(connection, await catalogs.find_version(connection, project, version))


async def find_version_at(connection: Connection, project: str, at: datetime) -> Head | None:
    """The version in force at `at`; before the first one, the first one. None: never applied."""
    return await _decoded(connection, await catalogs.find_version_at(connection, project, at))


async def _decoded(connection: Connection, row: HeadRow | None) -> Head | None:
    if row is None:
        return None
    catalog = _kept.get(row)
    if catalog is None:
        catalog = await _load(connection, row)
        _kept[row] = catalog
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return Head(row.version, catalog)


async def find_successor(
    connection: Connection, head: Head, catalog: Catalog, applied_at: datetime
) -> Catalog:
    """`catalog` as it would be the head if it were applied at `applied_at` after `head`."""
    return await _with_history(connection, catalog, head.version, applied_at)


async def _load(connection: Connection, row: HeadRow) -> Catalog:
    head = decode_catalog(await catalogs.load_body(connection, row.project, row.version))
    return await _with_history(connection, head, row.version - 1, row.applied_at)


async def _with_history(
    connection: Connection, catalog: Catalog, up_to: int, applied_at: datetime
) -> Catalog:
    """`catalog`, applied at `applied_at`, with what its grandfathered plans gave in versions 1 to `up_to`."""
    if not any(plan.grandfather for plan in catalog.plans.values()):
        return catalog
    versions = await catalogs.list_versions(connection, catalog.project, up_to)
    ends = [*(version.applied_at for version in versions[1:]), applied_at]
    return with_older_grants(
        catalog,
        [
            (decode_catalog(version.body), version.applied_at, end)
            for version, end in zip(versions, ends, strict=False)
        ],
    )
