"""The simulator as customers, dashboard and banks use it: over HTTP, without our own gateway."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp

Json = dict[str, Any]

#: A call that a fault lets hang must not keep everybody's life waiting.
PATIENCE = aiohttp.ClientTimeout(total=5)


class StripeRefused(Exception):
    """The simulator answered something else than success."""


class Stripe:
    def __init__(self, url: str, secret_key: str, client: aiohttp.ClientSession) -> None:
        self.url = url
        self._key = {"authorization": f"Bearer {secret_key}"}
        self._client = client

    async def get(self, path: str, **query: str) -> Json:
        return await self._call("GET", path, params=query, headers=self._key)

    async def list_all(self, path: str, **query: str) -> list[Json]:
        """Every object of a list, oldest first."""
        found: list[Json] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            page = await self.get(path, limit="100", **query, **after)
            found += page["data"]
            if not page["has_more"]:
                return list(reversed(found))

    async def post(self, path: str, **fields: Any) -> Json:
        headers = {**self._key, "idempotency-key": uuid.uuid4().hex}
        return await self._call("POST", path, data=dict(as_form(fields)), headers=headers)

    async def delete(self, path: str) -> Json:
        return await self._call("DELETE", path, headers=self._key)

    async def control(self, verb: str, **wish: Any) -> Json:
        return await self._call("POST", f"/_sim/{verb}", json=wish)

    async def see(self, verb: str, **query: str) -> Json:
        return await self._call("GET", f"/_sim/{verb}", params=query)

    async def press(self, session_id: str, button: str = "pay") -> None:
        url = f"{self.url}/c/pay/{session_id}/{button}"
        async with self._client.post(url, allow_redirects=False) as answer:
            if answer.status != 303:
                raise StripeRefused(f"{url}: {answer.status} {await answer.text()}")

    async def is_quiet(self) -> bool:
        """Whether every event has been delivered; extra copies may be under way."""
        accounts = (await self.see("state"))["accounts"]
        return not any(rows.get("delivery") for rows in accounts.values())

    async def _call(self, method: str, path: str, **asked: Any) -> Json:
        try:
            async with self._client.request(method, self.url + path, timeout=PATIENCE, **asked) as answer:
                body: Json = await answer.json(content_type=None)
        except TimeoutError as error:
            raise StripeRefused(f"{method} {path}: no answer") from error
        if answer.status != 200:
            raise StripeRefused(f"{method} {path}: {answer.status} {body}")
        return body


def as_form(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested fields in Stripe's form encoding: `items[0][price]`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from as_form(inner, f"{name}[{key}]" if name else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from as_form(inner, f"{name}[{number}]")
    elif isinstance(value, bool):
        yield name, str(value).lower()
    else:
        yield name, "" if value is None else str(value)


class Acknowledged:
    """Who watches the deliveries: which events got a 2xx, and how they were answered otherwise."""

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe
        self._since = 0.0
        self.events: set[str] = set()
        self.answers: dict[str, int] = {}
        self._seen: set[tuple[str, float]] = set()
        #: Seconds of every delivery that was answered.
        self.durations: list[float] = []
        #: Of time.monotonic(): when Stripe was last found to have delivered everything.
        self.quiet_at = 0.0

    async def look(self) -> None:
        """Read what was delivered since the last look; attempts are noted at their end."""
        for attempt in (await self._stripe.see("deliveries", since=str(self._since)))["data"]:
            key = (attempt["event_id"], attempt["started_at"])
            if key in self._seen:
                continue
            self._seen.add(key)
            status = attempt["status"]
            name = str(status) if status is not None else str(attempt["error"]).partition(":")[0]
            self.answers[name] = self.answers.get(name, 0) + 1
            if status is not None:
                self.durations.append(attempt["duration_s"])
            if status is not None and 200 <= status < 300:
                self.events.add(attempt["event_id"])
            # An attempt may take as long as the sender's patience.
            self._since = max(self._since, attempt["started_at"] - 15.0)

    async def watch_until(self, is_over: Callable[[], bool]) -> None:
        """Look now and then: the simulator remembers the last 50,000 attempts only."""
        while not is_over():
            await self.look()
            await asyncio.sleep(1.0)
