"""The answers of a user nobody knows: the defaults of the catalog head, as a stored set of version 0."""

from collections import OrderedDict

from msgspec import Raw

from domain.errors import Unknown
from domain.flows.read_catalog import find_head
from domain.model import Facts, StoredSegment, StoredSet
from domain.rules.entitlements import compute, encode_entitlements
from domain.store import catalogs
from domain.store.catalogs import HeadRow
from domain.store.session import Connection

#: Apps of every project, and a few versions of each during a change.
KEPT_AT_MOST = 1_000

_kept: OrderedDict[tuple[HeadRow, str], StoredSet] = OrderedDict()


async def find_defaults(connection: Connection, project: str, app: str) -> StoredSet:
    """One endless segment. `computed_at` is when the catalog was applied: equal versions are equal bytes.

    Raises:
        Unknown: the project has no catalog, or its catalog no such app.
    """
    while True:
        row = await catalogs.find_head(connection, project)
        if row is None:
            raise Unknown(f"There is no project {project!r}.", code="unknown_project")
        if (known := _kept.get((row, app))) is not None:
            return known
        head = await find_head(connection, project)
        if head is not None and head.version == row.version:
            break
    body = encode_entitlements(compute(Facts(), head.catalog, app, row.applied_at))
    defaults = StoredSet(
        project=project,
        app=app,
        user_key=0,
        first_version=0,
        last_version=0,
        catalog_version=row.version,
        computed_at=row.applied_at,
        segments=(StoredSegment(begins_at=row.applied_at, ends_at=None, entitlements=Raw(body)),),
    )
    _kept[row, app] = defaults
    if len(_kept) > KEPT_AT_MOST:
        _kept.popitem(last=False)
    return defaults
