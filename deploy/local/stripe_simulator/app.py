"""The whole simulator as one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount

from deploy.local.stripe_simulator import (
    catalog,
    charges,
    checkout,
    customers,
    dispute_calls,
    endpoints,
    events,
    invoice_calls,
    invoice_items,
    item_calls,
    pause_calls,
    payment_calls,
    payment_methods,
    payment_pages,
    portal_configurations,
    portal_sessions,
    previews,
    promotions,
    refunds,
    schedule_calls,
    subscription_calls,
    test_clocks,
)
from deploy.local.stripe_simulator.control import control_routes
from deploy.local.stripe_simulator.invoice_page import invoice_routes
from deploy.local.stripe_simulator.operations import Router
from deploy.local.stripe_simulator.pages import page_routes
from deploy.local.stripe_simulator.portal_page import portal_routes
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.wire import Api

NOUNS = (
    catalog,
    charges,
    checkout,
    customers,
    dispute_calls,
    endpoints,
    events,
    invoice_calls,
    invoice_items,
    item_calls,
    pause_calls,
    payment_calls,
    payment_methods,
    payment_pages,
    portal_configurations,
    portal_sessions,
    previews,
    promotions,
    refunds,
    schedule_calls,
    subscription_calls,
    test_clocks,
)


def create_app(simulator: Simulator) -> Starlette:
    """Stripe's API below `/v1`, the hosted pages below `/c` and `/p`, the control plane below `/_sim`."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with simulator.running():
            yield

    router = Router(operation for noun in NOUNS for operation in noun.OPERATIONS)
    pages = [*page_routes(simulator), *invoice_routes(simulator), *portal_routes(simulator, router)]
    routes = [*pages, *control_routes(simulator)]
    return Starlette(routes=[*routes, Mount("/v1", app=Api(simulator, router))], lifespan=lifespan)
