"""One run's reads: each object at most once, however many events and closures name it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from domain.errors import Broken, ObjectMissing
from domain.flows.fetch.fetched import Fetched, ObjectKey
from domain.rules.closure import watched_fields
from domain.stripe_gateway import PAGE, JsonObject, Reserve, StripeGateway

#: Reads at once for one target: enough for a purchase, far below what Stripe limits.
AT_ONCE = 8

T = TypeVar("T")
U = TypeVar("U")
Part = Callable[["Reading", str], Awaitable[None]]


class Reading:
    """Reads parts. A part follows only parts further down (session → invoice → charge), never in a circle."""

    def __init__(
        self, stripe: StripeGateway, reserve: Reserve, parts: dict[str, Part], *, page: int = PAGE
    ) -> None:
        self.fetched = Fetched()
        #: Objects of a customer's list that one run reads.
        self.page = page
        self._stripe = stripe
        self._reserve = reserve
        self._parts = parts
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[tuple[str, ObjectKey], asyncio.Task[None]] = {}

    async def end(self) -> None:
        """Whatever ended the reading, none of its calls may go on behind the back of the lease."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def part(self, kind: str, stripe_id: str) -> None:
        """Read one object with what belongs to it; a second wish for it waits for the first one's read."""
        await self.once("part", (kind, stripe_id), lambda: self._parts[kind](self, stripe_id))

    async def once(self, role: str, key: ObjectKey, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work for a key once; whoever wishes it again waits for its end."""
        if (role, key) not in self._tasks:
            self._tasks[role, key] = asyncio.create_task(self.guard(key, work))
        await self._tasks[role, key]

    async def follow(self, root: ObjectKey, *parts: ObjectKey | None) -> None:
        """Read what belongs to `root`; what is None does not exist."""
        wanted = [part for part in parts if part is not None]
        self.fetched.closure.setdefault(root, set()).update(wanted)
        await gather(self.part(*part) for part in wanted)

    async def guard(self, key: ObjectKey, work: Callable[[], Awaitable[None]]) -> None:
        """Note what Stripe does not have and what cannot be understood; the others go on."""
        kind, stripe_id = key
        try:
            await work()
        except ObjectMissing:
            self.fetched.missing.add(key)
        except Broken as error:
            # Set aside by its own: the protocol counts tries per event, so that one bad object of a
            # customer does not hold back the others.
            self.fetched.broken[key] = error.detail
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            # An answer of a shape nobody foresaw is as broken as one that a rule refuses.
            self.fetched.broken[key] = f"{kind} {stripe_id}: {type(error).__name__}: {error}"

    async def get(self, path: str, **params: object) -> JsonObject:
        async with self._at_once:
            return await self._stripe.read(path, self._reserve, **params)

    async def list_all(self, path: str, **params: object) -> list[JsonObject]:
        """Every object of a list, paged to its end."""
        async with self._at_once:
            return [found async for found in self._stripe.read_list(path, self._reserve, **params)]

    async def whole(self, nested: Any, path: str, **params: object) -> list[JsonObject]:
        """A nested list paged to its end: Stripe nests ten of its objects, the rest has a path of its own."""
        if nested.get("has_more"):
            return await self.list_all(path, **params)
        found: list[JsonObject] = nested["data"]
        return found

    def watch(self, kind: str, answer: JsonObject) -> None:
        self.fetched.watched[kind, str(answer["id"])] = watched_fields(kind, answer)


async def gather(work: Iterable[Awaitable[T]]) -> list[T]:
    """Do all of it at once. When one part fails, the others are ended before this raises."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:  # also a cancellation: no call may go on behind the back of whoever gave up
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """As `gather`, for two answers of different kinds."""
    one: Awaitable[T | U] = first
    other: Awaitable[T | U] = second
    answers = await gather((one, other))
    return answers[0], answers[1]  # type: ignore[return-value]
