"""The one base URL of apps and operators: every door but Stripe's. A new route module is one line here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import Router

from ingress import admin, billing, checkout, health, metrics, pages, portal, read, subscription
from ingress.lifespan import State, lifespan_of
from ingress.middleware import Edge
from ingress.operation import larger_bodies
from workers.bell import Bell

ROUTES = [
    *read.ROUTES,
    *checkout.ROUTES,
    *subscription.ROUTES,
    *portal.ROUTES,
    *billing.ROUTES,
    *metrics.ROUTES,
    *admin.ROUTES,
    *health.ROUTES,
]
OPERATIONS = [door.operation for door in ROUTES]


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[State]:
    """What every door opens, and the bell, for what a caller cannot wait for."""
    async with lifespan_of("api")(app) as opened:
        bell = opened["running"].bell = Bell.of(opened["running"].context.settings)
        bell.start()
        try:
            yield opened
        finally:
            await bell.stop()


_router = Router([*ROUTES, *pages.routes_of(OPERATIONS)], redirect_slashes=False, lifespan=lifespan)
app = Edge(read.Shortcut(_router, read.PATH, read.SET_DOOR), larger=larger_bodies(ROUTES))
