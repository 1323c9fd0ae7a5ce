"""`GET /api/v1/catalog`: what an app may offer, for its pricing page."""

from math import ceil

from starlette.responses import Response

from domain.flows.show_catalog import ShownCatalog
from ingress.etag import is_held
from ingress.operation import Call, Example, operation
from ingress.wire import QueryStruct, UserId


class CatalogQuery(QueryStruct, frozen=True):
    #: Given: each plan has its `relation` to what this user has.
    user_id: UserId | None = None


@operation(
    "GET",
    "/api/v1/catalog",
    summary="The plans and features an app may offer",
    says="While Postgres is away the page for everybody is what it last was, for 15 minutes: without an "
    "ETag, and with its `Age` in seconds.",
    scope="entitlements:read",
    of="app",
    answers={200: ShownCatalog, 304: None},
    refuses=("unknown_project", "unknown_app"),
    example=Example(query={"user_id": "u_example"}),
)
async def get_catalog(call: Call[CatalogQuery, None]) -> Response:
    """200, or 304 where the caller holds this version."""
    page = await call.running.catalogs.show(call.project, call.app, call.query.user_id)
    if page.stale_for_s is not None:
        # As with entitlements: what is stale has no tag and is kept by nobody.
        return call.answer(page.body, headers={"age": str(ceil(page.stale_for_s)), "vary": "Authorization"})
    headers = {"etag": page.etag, "cache-control": "private, must-revalidate", "vary": "Authorization"}
    if is_held(call.request.scope, page.etag.encode()):
        return call.answer(b"", 304, headers)
    return call.answer(page.body, headers=headers)


ROUTES = [get_catalog]
