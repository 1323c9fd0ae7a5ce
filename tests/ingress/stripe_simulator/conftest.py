"""One simulator for the session, emptied for each test; the real SDK; a webhook receiver."""

from collections.abc import AsyncIterator, Callable

import pytest
import stripe

from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from tests.ingress.stripe_simulator.receiver import Receiver, receiving

PRODUCTS = [{"id": "acme_pro", "name": "Pro"}, {"id": "acme_pass", "name": "Pass"}]
PRICES = [
    {
        "id": "price_month",
        "product": "acme_pro",
        "currency": "usd",
        "unit_amount": 1900,
        "currency_options": {"eur": {"unit_amount": 1800}},
        "recurring": {"interval": "month"},
        "lookup_key": "acme:pro:month",
    },
    {
        "id": "price_year",
        "product": "acme_pro",
        "currency": "usd",
        "unit_amount": 19000,
        "recurring": {"interval": "year"},
    },
    {"id": "price_once", "product": "acme_pass", "currency": "usd", "unit_amount": 500},
]


@pytest.fixture(scope="session")
async def shared_simulator() -> AsyncIterator[SimulatorHandle]:
    async with running_simulator(retry_base_s=0.02, max_attempts=4, delivery_timeout_s=1.0) as handle:
        yield handle


@pytest.fixture
async def sim(shared_simulator: SimulatorHandle) -> SimulatorHandle:
    """An empty Stripe with three prices."""
    await shared_simulator.reset()
    await shared_simulator.seed(products=PRODUCTS, prices=PRICES)
    return shared_simulator


@pytest.fixture
async def connect(shared_simulator: SimulatorHandle) -> AsyncIterator[Callable[..., stripe.StripeClient]]:
    """Makes SDK clients, by default with the first account's key; they are closed after the test."""
    transports = []

    def make(key: str | None = None, retries: int = 0) -> stripe.StripeClient:
        transport = stripe.AIOHTTPClient(timeout=10)
        transports.append(transport)
        return stripe.StripeClient(
            key or shared_simulator.secret_key,
            base_addresses={"api": shared_simulator.url},
            max_network_retries=retries,
            http_client=transport,
        )

    is_telling = stripe.enable_telemetry
    stripe.enable_telemetry = False
    yield make
    stripe.enable_telemetry = is_telling
    for transport in transports:
        await transport.close_async()


@pytest.fixture
def client(sim: SimulatorHandle, connect: Callable[..., stripe.StripeClient]) -> stripe.StripeClient:
    return connect()


@pytest.fixture
async def receiver(sim: SimulatorHandle) -> AsyncIterator[Receiver]:
    """A webhook endpoint that wants everything."""
    async with receiving() as running:
        endpoint = {"url": running.url, "secret": "whsec_test", "enabled_events": ["*"]}
        await sim.seed(webhook_endpoints=[endpoint])
        yield running
        await sim.reset()
