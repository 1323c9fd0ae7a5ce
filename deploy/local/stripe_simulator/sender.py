"""Sends events to webhook endpoints: signed, concurrently, retried with growing waits.

Never in the way of an API call: `take` only notes what is owed. What is owed are rows of the account,
so an undelivered event survives a restart.
"""

import asyncio
import hashlib
import hmac
import random
import time
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

import aiohttp
import msgspec

from deploy.local.stripe_simulator.settings import SimulatorSettings
from deploy.local.stripe_simulator.stats import Stats
from deploy.local.stripe_simulator.store import Account, Json, Store
from deploy.local.stripe_simulator.versions import default_version, payload, thin

#: `shuffle` and `burst` gather events for a while; then `burst` sends all of them at one moment, in order.
MODES = ("normal", "shuffle", "burst")
#: The longest wait between two attempts, in seconds: one hour, as at Stripe.
RETRY_CAP_S = 3600.0


@dataclass(frozen=True, slots=True)
class DeliveryMode:
    """How new events travel; set by the control plane."""

    mode: str = "normal"
    #: Times each event is sent. Copies beyond the first are sent once and never retried.
    duplicate: int = 1
    #: Probability that an event is never sent. It stays undelivered: `delivery_success=false` lists it.
    drop: float = 0.0
    delay_s: float = 0.0
    #: `shuffle` and `burst`: events are gathered this long, from the first on.
    window_s: float = 0.2
    #: Makes the random choices repeatable.
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """One attempt that is due."""

    account: Account
    delivery_id: str
    event_id: str
    endpoint_id: str
    #: An extra copy: sent even when the delivery itself has already arrived.
    is_copy: bool = False


def parcel_of(account: Account, delivery: Json, *, is_copy: bool = False) -> Parcel:
    return Parcel(account, delivery["id"], delivery["event"], delivery["endpoint"], is_copy)


class Sender:
    """Owns the HTTP client and the queue of due attempts; runs between `start` and `stop`."""

    def __init__(self, settings: SimulatorSettings, store: Store, stats: Stats) -> None:
        self._settings = settings
        self._store = store
        self._stats = stats
        self.set_mode(DeliveryMode())
        self._queue: list[tuple[float, int, Parcel]] = []
        self._numbers = count()
        self._gathered: list[Parcel] = []
        self._gather_until = 0.0
        self._wake = asyncio.Event()
        #: Set while nothing is owed: nothing queued, gathered or under way.
        self.idle = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._pump: asyncio.Task[None] | None = None

    def set_mode(self, mode: DeliveryMode) -> None:
        self.mode = mode
        # Not for secrets: a seed makes a test's disorder repeatable.
        self._random = random.Random(mode.seed)  # noqa: S311

    async def start(self) -> None:
        """Begin sending; what an earlier run still owed is due at its stored moment."""
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.delivery_timeout_s),
            connector=aiohttp.TCPConnector(limit=self._settings.max_concurrency),
            auto_decompress=False,
        )
        for account in self._store.accounts.values():
            for row in account.rows.get("delivery", {}).values():
                self._push(parcel_of(account, row), row["due_at"])
        self._pump = asyncio.create_task(self._run(), name="webhook-sender")

    async def stop(self) -> None:
        """End at once; attempts under way are cut, and owed again after the next start."""
        tasks = [*self._running, *([self._pump] if self._pump else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def take(self, outgoing: list[tuple[Account, str]]) -> None:
        """Send these deliveries by the mode of now."""
        if not outgoing:
            return
        self.idle.clear()
        now = time.time()
        for account, delivery_id in outgoing:
            delivery = account.find("delivery", delivery_id)
            if delivery is None:
                continue
            if self.mode.drop and self._random.random() < self.mode.drop:
                self._drop(account, delivery)
                continue
            copies = [parcel_of(account, delivery, is_copy=n > 0) for n in range(self.mode.duplicate)]
            if self.mode.mode != "normal":
                self._gather(copies, now)
            else:
                for parcel in copies:
                    self._push(parcel, now + self.mode.delay_s)
        self._store.commit()
        self._wake.set()

    async def _run(self) -> None:
        """The loop: start what is due, then sleep until the next is, or until something new comes."""
        while True:
            now = time.time()
            if self._gathered and self._gather_until <= now:
                self._release_gathered(now)
            while self._queue and self._queue[0][0] <= now and self._has_room():
                _due, _number, parcel = heappop(self._queue)
                task = asyncio.create_task(self._attempt(parcel))
                self._running.add(task)
                task.add_done_callback(self._end)
            if not (self._queue or self._gathered or self._running):
                self.idle.set()
            moments = [self._queue[0][0]] if self._queue and self._has_room() else []
            moments += [self._gather_until] if self._gathered else []
            await self._sleep_until(min(moments) if moments else None)

    async def _sleep_until(self, moment: float | None) -> None:
        timeout = None if moment is None else max(0.0, moment - time.time())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _has_room(self) -> bool:
        return len(self._running) < self._settings.max_concurrency

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()
        if not task.cancelled():
            # A defect in an attempt must be heard: without this it would only be logged at collection.
            task.result()

    def _gather(self, parcels: list[Parcel], now: float) -> None:
        if not self._gathered:
            self._gather_until = now + self.mode.window_s
        self._gathered += parcels

    def _release_gathered(self, now: float) -> None:
        if self.mode.mode != "burst":
            self._random.shuffle(self._gathered)
        for parcel in self._gathered:
            self._push(parcel, now + self.mode.delay_s)
        self._gathered = []

    def _push(self, parcel: Parcel, due_at: float) -> None:
        heappush(self._queue, (due_at, next(self._numbers), parcel))

    def _drop(self, account: Account, delivery: Json) -> None:
        event, endpoint = account.find("event", delivery["event"]), delivery["endpoint"]
        if event is not None:
            entry = attempt_entry(event, account.find("webhook_endpoint", endpoint), endpoint, 1)
            self._stats.count_attempt({**entry, "error": "dropped"}, "dropped")
        account.remove("delivery", delivery["id"])

    async def _attempt(self, parcel: Parcel) -> None:
        """One POST. The rows may be gone: the account was reset, or the endpoint deleted."""
        account = parcel.account
        delivery = account.find("delivery", parcel.delivery_id)
        event = account.find("event", parcel.event_id)
        endpoint = account.find("webhook_endpoint", parcel.endpoint_id)
        secret = account.find("endpoint_secret", parcel.endpoint_id)
        if event is None or endpoint is None or secret is None or (delivery is None and not parcel.is_copy):
            if delivery is not None:
                account.remove("delivery", delivery["id"])
                self._store.commit()
            return
        number = delivery["attempts"] + 1 if delivery else 1
        entry = attempt_entry(event, endpoint, parcel.endpoint_id, number)
        body = msgspec.json.encode(shown_to(account, event, endpoint, secret))
        status, error = await self._post(endpoint["url"], secret["secret"], body)
        is_ok = status is not None and 200 <= status < 300  # noqa: PLR2004 (HTTP's range of success)
        entry |= {"status": status, "error": error, "duration_s": time.time() - entry["started_at"]}
        self._stats.count_attempt(entry, "ok" if is_ok else "failed")
        if not parcel.is_copy:
            self._settle(account, parcel.delivery_id, is_ok=is_ok)

    async def _post(self, url: str, secret: str, body: bytes) -> tuple[int | None, str | None]:
        """The endpoint's status, or None and why there was none. Redirects are not followed, as at Stripe."""
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature(secret, body, int(time.time())),
        }
        try:
            async with self._client.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await response.read()
                return response.status, None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return None, f"{type(error).__name__}: {error}"

    def _settle(self, account: Account, delivery_id: str, *, is_ok: bool) -> None:
        """Write what the attempt means: delivered, due again later, or given up."""
        delivery = account.find("delivery", delivery_id)
        if delivery is None:
            return
        delivery["attempts"] += 1
        if is_ok:
            event = account.load("event", delivery["event"])
            event["pending_webhooks"] -= 1
            account.put("event", event)
            account.remove("delivery", delivery_id)
        elif delivery["attempts"] >= self._settings.max_attempts:
            account.remove("delivery", delivery_id)
        else:
            wait_s = self._settings.retry_base_s * 2.0 ** min(delivery["attempts"] - 1, 32)
            delivery["due_at"] = time.time() + min(RETRY_CAP_S, wait_s)
            account.put("delivery", delivery)
            self._push(parcel_of(account, delivery), delivery["due_at"])
        self._store.commit()


def shown_to(account: Account, event: Json, endpoint: Json, secret: Json) -> Json:
    """The event as this endpoint gets it: thin, or in its own API version."""
    if secret.get("payload") == "thin":
        return thin(event)
    return payload(account, event, endpoint["api_version"] or default_version(account))


def attempt_entry(event: Json, endpoint: Json | None, endpoint_id: str, number: int) -> Json:
    """A line of the log of attempts; what came out of it is filled in afterwards."""
    subject = event["data"]["object"]
    return {
        "event_id": event["id"],
        "type": event["type"],
        "object_id": subject.get("id"),
        "customer": subject.get("id") if subject.get("object") == "customer" else subject.get("customer"),
        "endpoint": endpoint_id,
        "url": endpoint["url"] if endpoint else None,
        "attempt": number,
        "started_at": time.time(),
        "duration_s": None,
        "status": None,
        "error": None,
    }


def signature(secret: str, body: bytes, timestamp: int) -> str:
    """The `Stripe-Signature` header: HMAC-SHA256 of `{t}.{body}`, in real time."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"
