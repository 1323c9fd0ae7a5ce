"""What the state machine of F-14 drives: a simulator and Postgres in one process, and a loop in a thread."""

import asyncio
import random
import threading
import uuid
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
import msgspec

from domain.errors import TollhouseError
from domain.faults import Faults, parse_fault_points
from domain.flows.lookup import Lookup
from domain.flows.sync import Syncer
from domain.settings import Settings
from tests.chaos.checks import differences
from tests.chaos.customers import ACTS, VISA, Customer, Town, subscribe
from tests.chaos.oracle import make_oracle, read_grants
from tests.chaos.stripe import Stripe
from tests.flows.event_path import EventPath, running_path
from tests.flows.interleaving import Rewrite, rewriting

T = TypeVar("T")
APPS = ("editor", "viewer")


class Thread:
    """A loop of its own, because hypothesis calls rules from a place where none runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=120)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Life:
    """One user with a Stripe customer: what Stripe made of it, and what of that was delivered."""

    def __init__(self, path: EventPath, client: aiohttp.ClientSession) -> None:
        self.path = path
        self.stripe = Stripe(path.stripe.url, path.stripe.secret_key, client)
        self.user_id = f"u_{uuid.uuid4().hex[:12]}"
        self.customer = ""
        self.waiting: list[dict[str, Any]] = []
        self._seen = 0

    async def begin(self, *, is_linked: bool) -> None:
        # What others left undelivered is theirs.
        self._seen = len(self.path.stripe.account.rows.get("event", {}))
        self.customer = await self.path.make_customer(self.user_id, linked=is_linked)
        await self.stripe.control(f"customers/{self.customer}/card", card=VISA)
        self._one = Customer(self.user_id, self.customer, uuid.uuid4())
        await subscribe(Town(self.stripe, self.path.context, 0), self._one)

    async def live(self, seed: int, deeds: int) -> None:
        """What the seed says; what Stripe refuses does not happen."""
        town = Town(self.stripe, self.path.context, seed)
        for act in town.dice.choices(ACTS, k=deeds):
            await town.do(act, self._one)

    async def gather_events(self) -> None:
        """New events wait to be delivered."""
        rows = list(self.path.stripe.account.rows.get("event", {}).values())
        self.waiting += rows[self._seen :]
        self._seen = len(rows)

    async def deliver(self, dice: random.Random, *, share: float, copies: int) -> None:
        """Some of what waits, each a few times, in any order; the rest goes on waiting."""
        await self.gather_events()
        chosen = [event for event in self.waiting if dice.random() < share]
        self.waiting = [event for event in self.waiting if event not in chosen]
        parcels = chosen * copies
        dice.shuffle(parcels)
        for event in parcels:
            await self.path.deliver(event)

    async def sync(self, *, crash_at: str = "") -> None:
        """One sweep; with `crash_at` each run dies at that point, as far as it had come."""
        context = self.path.context
        if crash_at:
            faults = Faults(parse_fault_points(f"{crash_at}=raise:1"))
            context = msgspec.structs.replace(context, faults=faults)
        syncer = Syncer(context)
        await syncer.ensure_deployment()
        for target_id in await self.path.owed_targets():
            try:
                await syncer.sync_target(target_id)
            except TollhouseError:
                continue

    async def rest(self, dice: random.Random) -> None:
        """Everything is delivered and worked off; leases and back-off of what crashed are over."""
        await self.deliver(dice, share=1.0, copies=1)
        for _ in range(50):
            await self.path.execute(
                "UPDATE sync_targets SET lease_until = '-infinity' WHERE lease_token IS NOT NULL"
            )
            await self.path.execute(
                "UPDATE sync_targets SET due_at = '-infinity' WHERE dirty_seq > synced_seq"
            )
            owed = await self.path.owed_targets()
            if not owed:
                return
            for target_id in owed:
                await self.path.syncer.sync_target(target_id)
        raise AssertionError(f"still owed: {await self.path.targets()}")

    async def differences(self) -> str:
        """What is served and not the oracle's; "" where they agree."""
        oracle = await make_oracle(self.stripe, self.path.context, customer=self.customer)
        grants = (await read_grants(self.path.context, self.user_id))[self.user_id]
        said = []
        for app in APPS:
            lookup = Lookup(msgspec.structs.replace(self.path.context, cache=None))
            served = msgspec.json.decode((await lookup.find("acme", app, self.user_id)).body)["entitlements"]
            await lookup.close()
            wanted = oracle.answers([self.customer], grants, app, datetime.now(UTC))
            said.append(differences(served, wanted))
        return "; ".join(filter(None, said))


class MachineWorld:
    """Opened once for all examples: each begins a life of its own."""

    def __init__(self, settings: Settings) -> None:
        self.thread = Thread()
        self._opened = running_path(settings)
        self.path = self.thread.run(self._open())

    async def _open(self) -> EventPath:
        self.client = aiohttp.ClientSession()
        return await self._opened.__aenter__()

    def cripple(self, rewrite: Rewrite) -> None:
        """From here on statements reach Postgres as other ones."""
        self.path.context = rewriting(rewrite, self.path.context)
        self.path.syncer = Syncer(self.path.context)

    def close(self) -> None:
        self.thread.run(self._close())
        self.thread.close()

    async def _close(self) -> None:
        await self.client.close()
        await self._opened.__aexit__(None, None, None)
