"""The one base URL of apps and operators: every door but Stripe's. A new route module is one line here."""

from starlette.routing import Router

from ingress import admin, billing, checkout, health, metrics, pages, portal, read, subscription
from ingress.lifespan import lifespan_of
from ingress.middleware import Edge
from ingress.operation import larger_bodies

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

_router = Router([*ROUTES, *pages.routes_of(OPERATIONS)], redirect_slashes=False, lifespan=lifespan_of("api"))
app = Edge(read.Shortcut(_router, read.PATH, read.SET_DOOR), larger=larger_bodies(ROUTES))
