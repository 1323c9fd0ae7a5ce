"""Two projects on one deployment: acme, whose every word is a canary, and globex, who wants to read it."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from deploy.local.stripe_simulator.testing import SimulatorHandle, running_simulator
from domain.flows.manage_keys import SCOPES
from domain.flows.publish_catalog import publish_locally
from domain.rules.api_key import ID_BYTES, SECRET_BYTES, format_key, hash_secret, make_key
from domain.rules.catalog import Catalog, Feature
from domain.settings import Settings
from domain.store import api_keys
from domain.store.api_keys import KeyKind
from ingress import api
from ingress.lifespan import Running, open_running
from tests.conftest import PEPPER
from tests.flows.event_path import EventPath, path_settings
from tests.ingress.doors import client_of
from tests.seeds import make_catalog, seed_dead

#: In every name, reason and title of acme; no request of globex's says it.
CANARY = "canary"


class Role(Struct, frozen=True):
    """A key, by what it may."""

    name: str
    kind: KeyKind
    project: str | None
    app: str | None


#: Who asks. globex's keys are the strangers; acme has two apps, so that one is strange to the other.
STRANGERS = (
    Role("app of globex", "app", "globex", "board"),
    Role("project globex", "project", "globex", None),
    Role("operator of globex", "operator", "globex", None),
)
OWNERS = (
    Role("app of acme", "app", "acme", "editor"),
    Role("other app of acme", "app", "acme", "viewer"),
    Role("project acme", "project", "acme", None),
    Role("operator of acme", "operator", "acme", None),
    Role("operator of all", "operator", None, None),
)


class World(Struct, frozen=True):
    running: Running
    stripe: SimulatorHandle
    client: httpx2.AsyncClient
    #: Every id of acme's that a request could name.
    ids: tuple[str, ...]

    async def send(self, key: str | None, request: "Request") -> httpx2.Response:
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        body = {} if request.body is None else {"json": request.body}
        return await self.client.request(
            request.method, request.path, params=request.query, headers=headers, **body
        )


class Request(Struct, frozen=True, kw_only=True):
    method: str
    #: Filled in.
    path: str
    query: dict[str, str]
    body: Any


@asynccontextmanager
async def two_tenants(settings: Settings) -> AsyncIterator[World]:
    """acme with a paying user, a grant, keys and something dead; globex with a catalog alone."""
    async with running_simulator() as stripe:
        own = path_settings(settings, stripe, read_rate=0.0, write_rate=0.0, failed_login_rate=0.0)
        async with open_running("api", own) as running:
            catalogs = {"acme": _canary_catalog(), "globex": make_catalog("globex", "board")}
            published = await publish_locally(running.context, catalogs)
            await stripe.seed(**published.stripe)
            await seed_dead(running.context)
            async with client_of(api.app, running) as client:
                ids = await _give_acme_something(running, stripe)
                yield World(running, stripe, client, ids)


async def plant_key(
    running: Running, role: Role, scopes: Sequence[str] = SCOPES, *, state: str = "live"
) -> str:
    """A key of this role with exactly these scopes; `state`: live, expired or revoked."""
    key = make_key("test", secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    expires_at = datetime.now(UTC) - timedelta(seconds=1) if state == "expired" else None
    async with running.context.database.transaction() as connection:
        await api_keys.insert_key(
            connection,
            key_id=key.key_id,
            kind=role.kind,
            project=role.project,
            app=role.app,
            name=f"{CANARY} {role.name}" if role.project == "acme" else role.name,
            scopes=scopes,
            secret_hmac=hash_secret(bytes.fromhex(PEPPER), key.secret),
            pepper_version=1,
            expires_at=expires_at,
            created_by="test",
        )
        if state == "revoked":
            await connection.execute("UPDATE api_keys SET revoked_at = now() WHERE key_id = $1", key.key_id)
    return format_key(key)


async def everything_of_acme(running: Running) -> list[str]:
    """Every row that says it is acme's, as text; without what only says when a key was used."""
    async with running.context.database.connection() as connection:
        tables = await connection.fetch(
            "SELECT table_name FROM information_schema.columns "
            "WHERE column_name = 'project' AND table_schema = 'public' AND table_name <> 'api_keys' "
            "ORDER BY table_name"
        )
        found = []
        for (table,) in tables:
            rows = await connection.fetch(
                f'SELECT row_to_json(t)::text FROM "{table}" t WHERE project = $1 ORDER BY 1',
                "acme",
            )
            found += [f"{table}: {row[0]}" for row in rows]
    return found


def _canary_catalog() -> Catalog:
    catalog = make_catalog("acme")
    plans = {
        key: msgspec.structs.replace(plan, name=f"{CANARY} {plan.name}")
        for key, plan in catalog.plans.items()
    }
    features = {
        **catalog.features,
        "vault": Feature(key="vault", type="boolean", apps=tuple(catalog.apps)),
    }
    return msgspec.structs.replace(catalog, name=f"{CANARY} Acme", plans=plans, features=features)


async def _give_acme_something(running: Running, stripe: SimulatorHandle) -> tuple[str, ...]:
    operator = await plant_key(running, Role("operator", "operator", "acme", None))
    path = EventPath(running.context, stripe)
    await path.syncer.ensure_deployment()
    async with client_of(api.app, running, operator) as client:
        opened = await _post(
            client,
            "/api/v1/checkout/session?app=editor",
            {
                "user_id": "u_rich",
                "items": [{"plan": "pro", "price": "month"}],
                "success_url": "http://localhost:3000/ok",
                "cancel_url": "http://localhost:3000/no",
                "metadata": {"note": CANARY},
                "customer": {"email": f"{CANARY}@acme.example", "name": CANARY},
            },
        )
        await stripe.pay(opened["id"])
        for event in await path.events():
            await path.deliver(event)
        await path.drain()
        grant = await _post(
            client,
            "/api/v1/admin/grant",
            {"user_id": "u_rich", "effect": "add", "target": {"feature": "seats"}, "value": 77,
             "reason": f"{CANARY} reason"},
        )  # fmt: skip
        key = await _post(client, "/api/v1/admin/apps/viewer/keys", {"name": CANARY})
    [customer] = await path.rows(
        "SELECT stripe_customer_id AS id FROM stripe_customers WHERE NOT (stripe_customer_id = 'cus_1')"
    )
    [subscription] = await path.rows("SELECT stripe_subscription_id AS id FROM subscriptions")
    return (
        opened["id"], opened["ref"], grant["id"], key["key_id"], customer["id"], subscription["id"],
        "cus_1", "evt_1", "re_1", "vault", "editor", "acme", "u_rich", "u_17",
    )  # fmt: skip


async def _post(client: httpx2.AsyncClient, path: str, body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()
