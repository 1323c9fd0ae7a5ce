"""A deployment and an empty Stripe, for what `catalog apply` makes there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from domain.context import Context, open_context
from domain.flows.apply_catalog import Applied, apply_catalog
from domain.flows.publish_catalog import read_catalog
from domain.flows.verify_catalog import Verified, verify_catalog
from domain.settings import Secret, Settings
from tests.flows.catalog_seeds import CATALOG_TOML

#: Two currencies, and a one-time price beside the two monthly ones.
TEXT = CATALOG_TOML.replace("usd = 1900", "usd = 1900, eur = 1800") + (
    '[projects.acme.plans.pro.prices.once]\nduration = "lifetime"\namounts = { jpy = 9000 }\n'
)


class World:
    """A deployment that has sold nothing yet, and an empty Stripe."""

    def __init__(self, context: Context, stripe: SimulatorHandle) -> None:
        self.context, self.stripe = context, stripe

    async def apply(self, text: str = TEXT, confirmed: str | None = None) -> Applied:
        given = read_catalog(text, file="catalog.toml")
        return await apply_catalog(self.context, given, confirmed=confirmed, on_progress=lambda *_: None)

    async def verify(self) -> Verified:
        return await verify_catalog(self.context)

    def rows(self, kind: str) -> dict[str, dict[str, Any]]:
        return {row["id"]: {**row} for row in self.stripe.account.rows.get(kind, {}).values()}

    def books(self) -> tuple[object, object, int]:
        """Everything that a write at Stripe leaves a trace in."""
        return self.rows("product"), self.rows("price"), len(self.rows("event"))

    def put(self, kind: str, object_id: str, **fields: Any) -> None:
        """As somebody would in the dashboard."""
        account = self.stripe.account
        account.put(kind, {**account.load(kind, object_id), **fields})

    def holder(self, key: str) -> dict[str, Any]:
        (row,) = [row for row in self.rows("price").values() if row["lookup_key"] == key]
        return row

    async def sold(self) -> dict[str, tuple[str, int, list[str]]]:
        async with self.context.database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM prices WHERE is_head")
        return {f"{r['plan']}.{r['price']}": (r["price_id"], r["revision"], r["currencies"]) for r in rows}

    def set(self, **settings: Any) -> "World":
        """The same deployment with other settings, such as `webhook_url`."""
        changed = msgspec.structs.replace(self.context.settings, **settings)
        return World(msgspec.structs.replace(self.context, settings=changed), self.stripe)


@asynccontextmanager
async def running_world(settings: Settings) -> AsyncIterator[World]:
    async with running_simulator() as stripe:
        changed = msgspec.structs.replace(
            settings,
            stripe_secret_key=Secret(stripe.secret_key),
            stripe_api_base=stripe.url,
            stripe_rate=0.0,
        )
        async with open_context("stripe-cli", changed) as context:
            yield World(context, stripe)
