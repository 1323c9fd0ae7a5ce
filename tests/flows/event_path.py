"""The whole event path in one process: a real simulator, Postgres and Redis; no door, no queue, no mocks."""

import hashlib
import hmac
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from domain.cache import cache_key
from domain.context import Context, open_context
from domain.flows.gather_facts import gather_facts
from domain.flows.link import link_customer
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.flows.receive import Received, Receiver
from domain.flows.sync import Synced, Syncer
from domain.model import Facts, StoredSet, TargetRef
from domain.rules.events import internal_event
from domain.settings import Secret, Settings, WebhookSecret
from domain.store import entitlements, inbox, targets

SECRET = "whsec_test"
CATALOG = Path(__file__).resolve().parents[2] / "deploy" / "local" / "catalog.toml"
_refs = itertools.count()


class EventPath:
    """One deployment: acts as Stripe's sender, as the worker and as an app that asks."""

    def __init__(self, context: Context, stripe: SimulatorHandle) -> None:
        self.context = context
        self.stripe = stripe
        self.receiver = Receiver(context)
        self.syncer = Syncer(context)

    # ── what an app and its customer do ──

    async def make_customer(
        self,
        user_id: str = "u_1",
        project: str = "acme",
        *,
        linked: bool = True,
        test_clock: str | None = None,
    ) -> str:
        """A user with a Stripe customer of ours; unlinked: as if the API had died before LINK."""
        ref = uuid.uuid4()
        async with self.context.database.transaction() as connection:
            user_key = await connection.fetchval(
                """
                INSERT INTO users (project, user_id) VALUES ($1, $2)
                ON CONFLICT (project, user_id) DO UPDATE SET user_id = excluded.user_id RETURNING user_key
                """,
                project,
                user_id,
            )
            is_first = not await connection.fetchval(
                "SELECT 1 FROM stripe_customers WHERE user_key = $1 AND is_primary", user_key
            )
            await connection.execute(
                "INSERT INTO stripe_customers (ref, project, user_key, is_primary) VALUES ($1, $2, $3, $4)",
                ref,
                project,
                user_key,
                is_first,
            )
        customer_id = await self.make_stripe_customer(test_clock=test_clock, tollhouse_ref=str(ref))
        if linked:
            async with self.context.database.transaction() as connection:
                await link_customer(connection, customer_id, ref, read_all=False)
        return customer_id

    async def make_stripe_customer(self, *, test_clock: str | None = None, **metadata: str) -> str:
        clock = {} if test_clock is None else {"test_clock": test_clock}
        answer = await self.create("/v1/customers", {"metadata": metadata, **clock})
        return str(answer["id"])

    async def make_clock(self) -> str:
        """A Stripe test clock that stands at the present second."""
        answer = await self.create("/v1/test_helpers/test_clocks", {"frozen_time": int(time.time())})
        return str(answer["id"])

    async def advance(self, clock_id: str, *, days: float) -> None:
        clock = await self.retrieve(f"/v1/test_helpers/test_clocks/{clock_id}")
        await self.stripe.advance(clock_id, clock["frozen_time"] + int(days * 86_400))

    async def make_invoice(self, customer_id: str, *prices: str, **params: Any) -> str:
        """An open invoice by itself, one line per price; answers its id."""
        made = await self.create(
            "/v1/invoices",
            {
                "customer": customer_id,
                "collection_method": "send_invoice",
                "days_until_due": 14,
                "auto_advance": False,
                **params,
            },
        )
        for price in prices:
            await self.create(
                "/v1/invoiceitems",
                {"customer": customer_id, "invoice": made["id"], "pricing": {"price": price}},
            )
        await self.create(f"/v1/invoices/{made['id']}/finalize", {})
        return str(made["id"])

    async def open_checkout(
        self, customer_id: str | None, plan: str = "pro", price: str = "month", quantity: int = 1
    ) -> str:
        is_one_time = price == "once"
        params: dict[str, Any] = {
            "mode": "payment" if is_one_time else "subscription",
            "line_items": [{"price": f"price_acme.{plan}.{price}", "quantity": quantity}],
            "success_url": "http://localhost:3000/ok",
            "cancel_url": "http://localhost:3000/no",
        }
        if customer_id is not None:
            params["customer"] = customer_id
        answer = await self.create("/v1/checkout/sessions", params)
        return str(answer["id"])

    async def buy(
        self, customer_id: str | None, plan: str = "pro", price: str = "month", quantity: int = 1
    ) -> str:
        """Open a checkout and pay it; answers the session's id."""
        session_id = await self.open_checkout(customer_id, plan, price, quantity)
        await self.stripe.pay(session_id)
        return session_id

    async def retrieve(self, path: str) -> dict[str, Any]:
        async def no_reserve() -> None:
            return None

        return await self.context.stripe_or_raise.read(path, no_reserve)

    async def delete_customer(self, customer_id: str) -> None:
        """As somebody would in the dashboard."""
        await self.delete(f"/v1/customers/{customer_id}")

    async def delete(self, path: str) -> None:
        async with (
            aiohttp.ClientSession() as client,
            client.delete(
                f"{self.stripe.url}{path}",
                headers={"authorization": f"Bearer {self.stripe.secret_key}"},
            ) as response,
        ):
            assert response.status == 200, await response.text()

    # ── Stripe's sender ──

    async def events(self, *, types: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The events Stripe has made, oldest first."""

        async def no_reserve() -> None:
            return None

        pages = self.context.stripe_or_raise.read_list("/v1/events", no_reserve)
        found = [event async for event in pages]
        return [event for event in reversed(found) if not types or event["type"] in types]

    async def deliver(self, event: dict[str, Any]) -> Received:
        return await self.deliver_bytes(msgspec.json.encode(event))

    async def deliver_bytes(self, body: bytes) -> Received:
        return await self.receiver.receive(body, sign(body), "req_test")

    async def mark(self, object_kind: str, customer_id: str) -> int:
        """Our own wish to read something of a customer; answers its target."""
        target = TargetRef("customer", customer_id)
        event_id = f"th_{uuid.uuid4().hex}"
        event = internal_event(event_id, "sync", object_kind, customer_id, target, cause="asked")
        async with self.context.database.connection() as connection:
            marked = await inbox.mark(connection, [event])
        return marked.target_ids[0]

    # ── the worker ──

    async def drain(self, *, most: int = 200) -> list[Synced]:
        """Sync whatever is owed and due until nothing is."""
        done: list[Synced] = []
        for _ in range(most):
            owed = await self.owed_targets()
            if not owed:
                return done
            done.extend([await self.syncer.sync_target(target_id) for target_id in owed])
        raise AssertionError(f"still owed after {most} rounds: {await self.targets()}")

    async def owed_targets(self) -> list[int]:
        """Targets owed and due now, in no particular order."""
        return [
            row["id"]
            for row in await self.rows(
                """
                SELECT id FROM sync_targets WHERE dirty_seq > synced_seq AND state = 'active'
                AND due_at <= clock_timestamp() AND (lease_until IS NULL OR lease_until < clock_timestamp())
                """
            )
        ]

    async def count_owed(self) -> int:
        async with self.context.database.connection() as connection:
            return await targets.count_owed(connection)

    async def make_due(self, cause: str) -> None:
        """Bring every waiting timer of this cause to its moment; one that rests is left alone."""
        await self.execute(
            """
            UPDATE timers SET due_at = clock_timestamp() - interval '1 s'
            WHERE cause = $1 AND due_at < 'infinity'
            """,
            cause,
        )

    # ── what can be seen ──

    async def answer(
        self, user_id: str = "u_1", app: str = "editor", project: str = "acme"
    ) -> dict[str, Any]:
        """The stored answer that holds now, as JSON; {} where nothing is stored."""
        stored = await self.stored(user_id, app, project)
        if stored is None:
            return {}
        now = datetime.now(tz=UTC)
        present = next(
            segment for segment in stored.segments if segment.ends_at is None or now < segment.ends_at
        )
        answer: dict[str, Any] = msgspec.json.decode(bytes(present.entitlements))
        return answer

    async def stored(
        self, user_id: str = "u_1", app: str = "editor", project: str = "acme"
    ) -> StoredSet | None:
        async with self.context.database.connection() as connection:
            return await entitlements.find_set(connection, project, user_id, app)

    async def cached(
        self, user_id: str = "u_1", app: str = "editor", project: str = "acme"
    ) -> StoredSet | None:
        assert self.context.cache is not None
        found = await self.context.cache.find(project, cache_key(project, user_id, app))
        return None if found is None else found.stored

    async def is_granted(self, feature: str = "export", user_id: str = "u_1", app: str = "editor") -> bool:
        return bool((await self.answer(user_id, app)).get(feature, {}).get("granted"))

    async def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        async with self.context.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(sql, *values)]

    async def execute(self, sql: str, *values: object) -> None:
        async with self.context.database.connection() as connection:
            await connection.execute(sql, *values)

    async def states(self) -> dict[str, int]:
        """How many events are in which state."""
        rows = await self.rows("SELECT state, count(*) AS n FROM webhook_events GROUP BY 1")
        return {row["state"]: row["n"] for row in rows}

    async def facts(self, user_id: str = "u_1", project: str = "acme") -> Facts:
        async with self.context.database.connection() as connection:
            user_key = await connection.fetchval(
                "SELECT user_key FROM users WHERE project = $1 AND user_id = $2", project, user_id
            )
            return await gather_facts(connection, project, user_key)

    async def targets(self) -> list[dict[str, Any]]:
        return await self.rows("SELECT * FROM sync_targets ORDER BY id")

    async def create(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        return await self.context.stripe_or_raise.create(path, params, idempotency_key=uuid.uuid4().hex)


def sign(body: bytes, secret: str = SECRET, at: int | None = None) -> bytes:
    """A `Stripe-Signature` header for a body, of now or of the unix second `at`."""
    stamp = str(int(time.time()) if at is None else at).encode()
    digest = hmac.new(secret.encode(), stamp + b"." + body, hashlib.sha256).hexdigest()
    return b"t=" + stamp + b",v1=" + digest.encode()


@asynccontextmanager
async def running_path(settings: Settings, **changes: Any) -> AsyncIterator[EventPath]:
    """A deployment with the sample catalog, ready for its first purchase."""
    async with AsyncExitStack() as stack:
        stripe = await stack.enter_async_context(running_simulator())
        own = path_settings(settings, stripe, **changes)
        context = await stack.enter_async_context(open_context("worker", own))
        projects = read_catalog(CATALOG.read_text(), file="catalog.toml")
        published = await publish_locally(context, projects)
        await stripe.seed(products=published.stripe["products"], prices=published.stripe["prices"])
        path = EventPath(context, stripe)
        await path.syncer.ensure_deployment()
        yield path


def path_settings(settings: Settings, stripe: SimulatorHandle, **changes: Any) -> Settings:
    """The settings of a worker of this simulator; no read budget unless a test asks for one."""
    values: dict[str, Any] = {
        "stripe_api_base": stripe.url,
        "stripe_secret_key": Secret(stripe.secret_key),
        "stripe_webhook_secrets": (WebhookSecret(Secret(SECRET)),),
        "stripe_rate": 0.0,
        **changes,
    }
    return msgspec.structs.replace(settings, **values)
