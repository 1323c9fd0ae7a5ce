"""A simulator inside the current event loop, for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from deploy.local.stripe_simulator.serving import address_of, bind, serving
from deploy.local.stripe_simulator.settings import SimulatorSettings
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Account, Json, Store


class SimulatorHandle:
    """A running simulator: its address, its state, and its control plane as methods."""

    def __init__(self, simulator: Simulator, url: str, client: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.url = url
        self._client = client

    @property
    def secret_key(self) -> str:
        return self.simulator.settings.secret_key

    @property
    def account_id(self) -> str:
        return self.simulator.settings.account_id

    @property
    def state(self) -> Store:
        """Direct access; put a row again after changing it."""
        return self.simulator.store

    @property
    def account(self) -> Account:
        return self.simulator.first

    async def pay(self, session_id: str) -> str:
        """Press Pay; returns where the page leads, or raises AssertionError with what it says instead."""
        return await self._press(session_id, "pay")

    async def pay_later(self, session_id: str) -> str:
        """Pay by a bank transfer; `settle` ends it."""
        return await self._press(session_id, "pay-later")

    async def decline(self, session_id: str) -> str:
        return await self._press(session_id, "decline")

    async def authenticate(self, session_id: str) -> str:
        """Pay with a card whose bank asks the customer first; `pay` or `decline` follows."""
        return await self._press(session_id, "authenticate")

    async def cancel(self, session_id: str) -> str:
        return await self._press(session_id, "cancel")

    async def settle(self, session_id: str, outcome: str = "succeeded") -> Json:
        return await self.post(f"checkout/{session_id}/settle", outcome=outcome)

    async def settled(self, timeout: float = 5.0) -> None:
        """Until every event has been delivered or given up, retries included; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await self.simulator.sender.idle.wait()

    async def reset(self, **wish: Any) -> Json:
        return await self.post("reset", **wish)

    async def deliver(self, **wish: Any) -> Json:
        return await self.post("deliver", **wish)

    async def read_lag(self, seconds: float, **wish: Any) -> Json:
        """Let reads answer the state of this many seconds ago; 0 ends it."""
        return await self.post("read_lag", seconds=seconds, **wish)

    async def render(self, **wish: Any) -> Json:
        """Write events in another API `version`, or as thin ones; for one `endpoint`, or for all."""
        return await self.post("render", **wish)

    async def fail(self, path_pattern: str, **wish: Any) -> Json:
        return await self.post("fail", path_pattern=path_pattern, **wish)

    async def clear_faults(self) -> Json:
        return await self.post("fail", clear=True)

    async def seed(self, **wish: Any) -> Json:
        return await self.post("seed", **wish)

    async def emit(self, event_type: str, subject: Json, **wish: Any) -> Json:
        """Emit an event of any type about any object."""
        return await self.post("events", type=event_type, object=subject, **wish)

    async def change_subscription(self, subscription_id: str, **fields: Any) -> Json:
        return await self.post(f"subscriptions/{subscription_id}", fields=fields)

    async def advance(self, clock_id: str, to: int) -> Json:
        """Move a test clock any distance ahead, to a moment in seconds since 1970."""
        return await self.post(f"test_clocks/{clock_id}/advance", to=to)

    async def change_card(self, customer_id: str, card: str) -> Json:
        """Charge the customer's subscriptions to another test card, `pm_card_…`, from now on."""
        return await self.post(f"customers/{customer_id}/card", card=card)

    async def billing(self, **settings: Any) -> Json:
        """Set what the dashboard sets about unpaid invoices, see `BillingSettings`."""
        return await self.post("billing", settings=settings)

    async def settle_intent(self, intent_id: str, outcome: str = "succeeded") -> Json:
        """The customer authenticates, or the bank transfer arrives; or neither (`failed`)."""
        return await self.post(f"payment_intents/{intent_id}/settle", outcome=outcome)

    async def dispute(self, payment: str, **wish: Any) -> Json:
        """The bank disputes a charge, payment intent, invoice, session or subscription."""
        return await self.post("disputes", payment=payment, **wish)

    async def move_dispute(self, dispute_id: str, status: str) -> Json:
        return await self.post(f"disputes/{dispute_id}", status=status)

    async def move_refund(self, refund_id: str, status: str) -> Json:
        return await self.post(f"refunds/{refund_id}", status=status)

    async def fail_refund(self, refund_id: str, **wish: Any) -> Json:
        return await self.post(f"refunds/{refund_id}/fail", **wish)

    async def save_portal(self, **wish: Any) -> Json:
        """Save the portal's settings in the dashboard; without features, the common ones."""
        return await self.post("portal", **wish)

    async def portal(self, session_url: str, action: str = "", **form: str) -> str:
        """Look at the portal page, or submit one of its forms and look where that leads.

        Raises AssertionError with what the page says when it refuses.
        """
        address = f"{session_url}/{action}" if action else session_url
        method = "POST" if action else "GET"
        async with self._client.request(method, address, data=form, allow_redirects=False) as response:
            said = await response.text()
            if response.status not in {200, 303}:
                raise AssertionError(f"the page answered {response.status}: {said}")
            return response.headers.get("location", said)

    async def add_account(self, secret_key: str, account_id: str) -> Json:
        return await self.post("accounts", secret_key=secret_key, account_id=account_id)

    async def stats(self) -> Json:
        return await self.get("stats")

    async def deliveries(self, **query: str) -> list[Json]:
        """Attempts so far, oldest first; the query filters by any of their fields."""
        found: list[Json] = (await self.get("deliveries", **query))["data"]
        return found

    async def post(self, verb: str, **wish: Any) -> Json:
        """POST /_sim/{verb}; raises AssertionError with the answer when it is refused."""
        async with self._client.post(f"{self.url}/_sim/{verb}", data=msgspec.json.encode(wish)) as response:
            return await read(response)

    async def get(self, verb: str, **query: str) -> Json:
        async with self._client.get(f"{self.url}/_sim/{verb}", params=query) as response:
            return await read(response)

    async def _press(self, session_id: str, button: str) -> str:
        address = f"{self.url}/c/pay/{session_id}/{button}"
        async with self._client.post(address, allow_redirects=False) as response:
            said = await response.text()
            if response.status != 303:  # noqa: PLR2004 (HTTP's "see other")
                raise AssertionError(f"the page answered {response.status}: {said}")
            return response.headers["location"]


async def read(response: aiohttp.ClientResponse) -> Json:
    body: Json = msgspec.json.decode(await response.read())
    if response.status != 200:  # noqa: PLR2004 (HTTP's success)
        raise AssertionError(f"{response.url.path} answered {response.status}: {body}")
    return body


@asynccontextmanager
async def running_simulator(**settings: Any) -> AsyncIterator[SimulatorHandle]:
    """Serve on a free loopback port while inside; settings as in `SimulatorSettings`."""
    simulator = Simulator(SimulatorSettings(**settings))
    listener = bind("127.0.0.1", 0)
    async with serving(simulator, listener), aiohttp.ClientSession() as client:
        yield SimulatorHandle(simulator, address_of(listener), client)
