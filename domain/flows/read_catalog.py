"""The catalog in force, decoded once per version and kept: versions are immutable."""

from collections import OrderedDict
from itertools import pairwise

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
    row = await catalogs.find_head(connection, project)
    if row is None:
        return None
    catalog = _kept.get(row)
    if catalog is None:
        catalog = await _load(connection, row)
        _kept[row] = catalog
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return Head(row.version, catalog)


async def _load(connection: Connection, row: HeadRow) -> Catalog:
    head = decode_catalog(await catalogs.load_body(connection, row.project, row.version))
    if not any(plan.grandfather for plan in head.plans.values()):
        return head
    versions = await catalogs.list_versions(connection, row.project, row.version)
    return with_older_grants(
        head,
        [
            (decode_catalog(earlier.body), earlier.applied_at, later.applied_at)
            for earlier, later in pairwise(versions)
        ],
    )
