"""FETCH: each distinct object the events name, and its closure, once; no transaction is open meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from msgspec import Struct, field

from domain.context import Context
from domain.errors import Broken, ObjectMissing, Throttled, Unavailable
from domain.rules.closure import Watched, watched_fields
from domain.rules.shapes import (
    MirroredCustomer,
    MirroredSession,
    MirroredSubscription,
    parse_customer,
    parse_session,
    parse_subscription,
)
from domain.store import deployment as deployments
from domain.stripe_gateway import JsonObject, Reserve, SlowDown, StripeGateway
from domain.telemetry import get_logger

log = get_logger()

ObjectKey = tuple[str, str]

#: Reads at once for one target: enough for a purchase, far below what Stripe limits.
AT_ONCE = 8
#: After a 429 the shared budget runs at half its rate for so long.
SLOW_S = 60.0


class Fetched(Struct, kw_only=True):
    """What Stripe says now. Keys are (kind, Stripe id)."""

    customers: dict[str, MirroredCustomer] = field(default_factory=dict)
    subscriptions: dict[str, MirroredSubscription] = field(default_factory=dict)
    sessions: dict[str, MirroredSession] = field(default_factory=dict)
    #: The fields compared with payloads, as read.
    watched: dict[ObjectKey, Watched] = field(default_factory=dict)
    #: Stripe says that these do not exist.
    missing: set[ObjectKey] = field(default_factory=set)
    #: Objects that could not be understood, with the error.
    broken: dict[ObjectKey, str] = field(default_factory=dict)
    #: What was read because of an object, so that a broken part sets the whole aside.
    closure: dict[ObjectKey, set[ObjectKey]] = field(default_factory=dict)

    def error_of(self, key: ObjectKey) -> str | None:
        """Why this object or a part of its closure is Broken; None: it is whole."""
        parts = {key, *self.closure.get(key, ())}
        return next((self.broken[part] for part in sorted(parts) if part in self.broken), None)


async def fetch(context: Context, objects: Iterable[ObjectKey], *, max_wait_s: float) -> Fetched:
    """Read every object and its closure from Stripe, within the read budget and `fetch_timeout_s` in all.

    Raises:
        Throttled: the budget has no slot within `max_wait_s`.
        Unavailable: Stripe is away, slow or refuses our key.
    """
    reading = _Reading(context.stripe_or_raise, budget_of(context, max_wait_s))
    try:
        async with asyncio.timeout(context.settings.fetch_timeout_s):
            await reading.read_all(sorted(set(objects)))
    except TimeoutError as error:
        raise Unavailable("Stripe answered too slowly for one sync") from error
    except SlowDown:
        async with context.database.connection() as connection:
            await deployments.slow_down(connection, for_s=SLOW_S)
        raise
    return reading.fetched


def budget_of(context: Context, max_wait_s: float) -> Reserve:
    """A function that waits for the next slot of the shared read budget, or raises Throttled."""
    rate = context.stripe_or_raise.rate

    async def reserve() -> None:
        if rate == 0:
            return
        async with context.database.connection() as connection:
            wait_s = await deployments.reserve_slot(connection, rate=rate, max_wait_s=max_wait_s)
        if wait_s is None:
            raise Throttled("The read budget for Stripe has no slot now.")
        await asyncio.sleep(wait_s)

    return reserve


class _Reading:
    """One run's reads: each object at most once, however many events and closures name it."""

    def __init__(self, stripe: StripeGateway, reserve: Reserve) -> None:
        self.fetched = Fetched()
        self._stripe = stripe
        self._reserve = reserve
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[ObjectKey, asyncio.Task[None]] = {}

    async def read_all(self, keys: Iterable[ObjectKey]) -> None:
        try:
            await asyncio.gather(*(self._read(key) for key in keys))
        except BaseException:
            # Whatever ended the reading, none of its calls may go on behind the back of the lease.
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            raise

    async def _read(self, key: ObjectKey) -> None:
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._read_once(key))
        await self._tasks[key]

    async def _read_once(self, key: ObjectKey) -> None:
        kind, stripe_id = key
        try:
            await self._readers[kind](self, stripe_id)
        except ObjectMissing:
            self.fetched.missing.add(key)
        except Broken as error:
            # Set aside by its own: the protocol counts tries per event, so that one bad object of a
            # customer does not hold back the others.
            self.fetched.broken[key] = error.detail
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            # An answer of a shape nobody foresaw is as broken as one that a rule refuses.
            self.fetched.broken[key] = f"{kind} {stripe_id}: {type(error).__name__}: {error}"

    async def _get(self, path: str, **params: object) -> JsonObject:
        async with self._at_once:
            return await self._stripe.read(path, self._reserve, **params)

    async def _list(self, path: str, **params: object) -> list[JsonObject]:
        async with self._at_once:
            return [found async for found in self._stripe.read_list(path, self._reserve, **params)]

    async def _follow(self, root: ObjectKey, *parts: ObjectKey) -> None:
        self.fetched.closure.setdefault(root, set()).update(parts)
        await asyncio.gather(*(self._read(part) for part in parts))

    async def _read_customer(self, customer_id: str) -> None:
        answer = await self._get(f"/v1/customers/{customer_id}")
        self._watch("customer", customer_id, answer)
        self.fetched.customers[customer_id] = parse_customer(answer)

    async def _read_subscription(self, subscription_id: str) -> None:
        answer = await self._get(f"/v1/subscriptions/{subscription_id}")
        if answer["items"].get("has_more"):
            items = await self._list("/v1/subscription_items", subscription=subscription_id)
            answer["items"] = {**answer["items"], "data": items, "has_more": False}
        self._watch("subscription", subscription_id, answer)
        self.fetched.subscriptions[subscription_id] = parse_subscription(answer)

    async def _read_session(self, session_id: str) -> None:
        path = f"/v1/checkout/sessions/{session_id}"
        answer, lines = await asyncio.gather(
            self._get(path, expand=["payment_intent.latest_charge"]), self._list(f"{path}/line_items")
        )
        self._watch("checkout.session", session_id, answer)
        session = parse_session(answer, lines)
        self.fetched.sessions[session_id] = session
        if session.subscription_id is not None:
            await self._follow(("checkout.session", session_id), ("subscription", session.subscription_id))

    async def _read_customer_and_all(self, customer_id: str) -> None:
        """Everything of a customer: what a link, a sync or an adoption asks for."""
        subscriptions, sessions = await asyncio.gather(
            self._list("/v1/subscriptions", customer=customer_id, status="all"),
            # Others hold no purchase, and a customer may have left hundreds of them open.
            self._list("/v1/checkout/sessions", customer=customer_id, status="complete"),
        )
        await self._follow(
            ("customer_all", customer_id),
            ("customer", customer_id),
            *(("subscription", str(found["id"])) for found in subscriptions),
            *(("checkout.session", str(found["id"])) for found in sessions),
        )

    def _watch(self, kind: str, stripe_id: str, answer: JsonObject) -> None:
        self.fetched.watched[kind, stripe_id] = watched_fields(kind, answer)

    _readers: dict[str, Callable[["_Reading", str], Awaitable[None]]] = {  # noqa: RUF012 - never changed
        "customer": _read_customer,
        "subscription": _read_subscription,
        "checkout.session": _read_session,
        "customer_all": _read_customer_and_all,
    }
