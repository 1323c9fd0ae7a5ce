"""The whole service as its own processes: recordings of any version, purchases while workers are killed."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest
import redis.asyncio as redis

from deploy.local.state import Ready
from tests.e2e.local.processes_seen import children_of
from tests.e2e.local.test_embedded_deployment import running_up
from tests.e2e.post_recordings import run as post_recordings

#: Waits of production divided, so that what a kill leaves behind is taken up within the test.
COMPRESSED = ["--setting=lease_s=3", "--setting=fetch_timeout_s=2.5", "--setting=ring_again_s=1"]

BUYERS = 24


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ready, Path]]:
    state = tmp_path_factory.mktemp("event path") / "state"
    with running_up(state, *COMPRESSED) as (_, ready, ready_file):
        yield ready, ready_file


def recording(type_: str, subject: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    return {"id": "evt_recorded", "object": "event", "type": type_, "data": {"object": subject}, **changes}


RECORDINGS = [
    recording(
        "customer.subscription.updated", {"id": "sub_1", "customer": "cus_1"}, api_version="2016-07-06"
    ),
    recording("customer.subscription.deleted", {"id": "sub_1", "customer": {"id": "cus_1"}}, livemode=False),
    recording("customer.subscription.created", {"id": "sub_2", "customer": None}, api_version="2020-08-27"),
    recording("checkout.session.completed", {"id": "cs_1", "customer": None, "payment_status": "paid"}),
    recording("checkout.session.completed", {"object": "checkout.session"}, api_version="2019-02-19"),
    recording("customer.created", {"id": "cus_2", "email": "somebody@example.com"}, account="acct_other"),
    recording("customer.updated", {"id": "cus_2", "metadata": {"tollhouse_ref": "x"}}),
    recording("customer.deleted", {"id": "cus_2"}, livemode=True),
    recording(
        "invoice.paid", {"id": "in_1", "customer": "cus_1", "subscription": "sub_1"}, api_version="2018-02-28"
    ),
    recording("invoice.payment_succeeded", {"id": "in_2", "customer": None}, api_version="2016-07-06"),
    recording("charge.refunded", {"id": "ch_1", "customer": None}, api_version="2017-12-14"),
    recording("charge.refund.updated", {"id": "re_1", "charge": "ch_1"}, api_version="2020-08-27"),
    recording("charge.dispute.closed", {"object": "dispute", "charge": "ch_2", "status": "won"}),
    recording("charge.dispute.created", {"id": "dp_1", "charge": {"id": "ch_3", "customer": "cus_1"}}),
    recording("payment_intent.payment_failed", {"id": "pi_1", "customer": None}),
    recording("product.updated", {"id": "prod_1"}, api_version="2018-02-28"),
    recording("price.deleted", {"id": "price_gold.1"}),
    recording("test_helpers.test_clock.ready", {"id": "clock_1", "object": "test_helpers.test_clock"}),
    recording("invoice.upcoming", {"customer": "cus_1"}, api_version="2017-12-14"),
    recording("payout.paid", {"id": "po_1"}, created="2016-01-01"),
    recording("charge.succeeded", None),
    {"id": "evt_bare", "type": "plan.created"},
    {
        "id": "evt_thin_used",
        "object": "v2.core.event",
        "type": "v1.refund.updated",
        "created": "2026-11-01T00:00:00.000Z",
        "related_object": {"id": "re_2", "type": "refund"},
    },
    {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-11-01T00:00:00.000Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter"},
    },
]


async def test_recordings_of_any_version_end_in_a_known_state_and_again_change_nothing(
    deployment: tuple[Ready, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, event in enumerate(RECORDINGS):
        (tmp_path / f"{number}.json").write_text(json.dumps(event))
    ready = json.loads(deployment[1].read_text())
    assert await post_recordings(tmp_path, ready) == 0, capsys.readouterr().out


async def test_purchases_while_workers_are_killed_and_redis_forgets_all_arrive(
    deployment: tuple[Ready, Path],
) -> None:
    _, ready_file = deployment
    chance = random.Random(20261122)  # noqa: S311 - a fixed order of faults
    async with Shop.opened(ready_file) as shop:
        await shop.control("deliver", mode="shuffle", duplicate=3, seed=7)
        faults = asyncio.create_task(shop.make_faults(chance))
        for number in range(BUYERS):
            await shop.buy(f"buyer_{number}", "pro" if number % 2 else "pass")
        await faults
        async with asyncio.timeout(45):
            for number in range(BUYERS):
                await shop.until_granted(f"buyer_{number}")
            await shop.until_nothing_is_owed()
        assert await shop.fetch("SELECT 1 FROM sync_targets WHERE state = 'dead'") == []
        assert await shop.fetch("SELECT 1 FROM webhook_events WHERE state IN ('pending', 'failed')") == []


async def test_failed_renewal_is_told_to_the_second_through_whole_processes(
    deployment: tuple[Ready, Path],
) -> None:
    """Bought through our API, then put on a test clock; events thrice, shuffled and of an old version."""
    async with Shop.opened(deployment[1]) as shop, asyncio.timeout(60):
        await shop.control("deliver", mode="shuffle", duplicate=3, seed=7, window_s=0.05)
        await shop.control("render", version="acacia")
        await shop.buy("renewing", "pro")
        await shop.until_told("renewing", "subscription_active", None)
        (row,) = await shop.fetch(
            "SELECT stripe_customer_id FROM stripe_customers c JOIN users u USING (user_key)"
            " WHERE u.user_id = 'renewing'"
        )
        customer = row["stripe_customer_id"]
        frozen = {"customer": customer, "frozen_time": int(time.time())}
        clock = (await shop.stripe("POST", "/v1/test_helpers/test_clocks", **frozen))["id"]
        (subscription,) = (await shop.stripe("GET", f"/v1/subscriptions?customer={customer}"))["data"]
        failing_at = subscription["items"]["data"][0]["current_period_end"] + 3600
        over_at = failing_at + 7 * 86_400

        await shop.control(f"customers/{customer}/card", card="pm_card_chargeCustomerFail")
        await shop.control(f"test_clocks/{clock}/advance", to=failing_at)
        await shop.until_told("renewing", "in_grace", over_at)
        await shop.control(f"test_clocks/{clock}/advance", to=over_at - 1)
        await shop.until_nothing_is_owed()
        assert await shop.told("renewing") == ("in_grace", over_at)
        await shop.control(f"test_clocks/{clock}/advance", to=over_at)
        await shop.until_told("renewing", "payment_past_due", None)
        await shop.control(f"customers/{customer}/card", card="pm_card_visa")
        (unpaid,) = (await shop.stripe("GET", f"/v1/invoices?customer={customer}&status=open"))["data"]
        await shop.stripe("POST", f"/v1/invoices/{unpaid['id']}/pay")
        await shop.until_told("renewing", "subscription_active", None)


class Shop:
    """An app with customers, and whoever pulls plugs meanwhile."""

    def __init__(self, ready_file: Path, client: aiohttp.ClientSession) -> None:
        self._ready_file = ready_file
        self._client = client

    @classmethod
    @asynccontextmanager
    async def opened(cls, ready_file: Path) -> "AsyncIterator[Shop]":
        async with aiohttp.ClientSession() as client:
            yield cls(ready_file, client)

    @property
    def ready(self) -> Ready:
        """As it is now: a restarted worker has another pid."""
        return msgspec.json.decode(self._ready_file.read_bytes(), type=Ready)

    async def buy(self, user_id: str, plan: str) -> None:
        body = {
            "user_id": user_id,
            "items": [{"plan": plan, "price": "once" if plan == "pass" else "month", "quantity": 1}],
            "success_url": "http://localhost:3000/ok",
            "cancel_url": "http://localhost:3000/no",
        }
        url = f"{self.ready.base_url}/api/v1/checkout/session"
        async with self._client.post(url, json=body, headers=self._key()) as answer:
            opened = await answer.json()
            assert answer.status == 201, opened
        page = f"{self.ready.stripe_url}/c/pay/{opened['id']}/pay"
        async with self._client.post(page, allow_redirects=False) as paid:
            assert paid.status == 303

    async def until_granted(self, user_id: str) -> None:
        url = f"{self.ready.base_url}/api/v1/entitlements/export?user_id={user_id}"
        while True:
            async with self._client.get(url, headers=self._key()) as answer:
                if answer.status == 200 and (await answer.json())["granted"]:
                    return
            await asyncio.sleep(0.05)

    async def told(self, user_id: str) -> tuple[str, int | None]:
        """What the app is told about `export`: the reason, and the unix second of its end."""
        url = f"{self.ready.base_url}/api/v1/entitlements/export?user_id={user_id}"
        async with self._client.get(url, headers=self._key()) as answer:
            said = await answer.json()
            assert answer.status == 200, said
        ends_at = said["ends_at"]
        return said["reason"], int(datetime.fromisoformat(ends_at).timestamp()) if ends_at else None

    async def until_told(self, user_id: str, reason: str, ends_at: int | None) -> None:
        while True:
            if await self.told(user_id) == (reason, ends_at):
                return
            await asyncio.sleep(0.05)

    async def stripe(self, method: str, path: str, **form: object) -> Any:
        headers = {"authorization": f"Bearer {self.ready.stripe_secret_key}"}
        url, data = f"{self.ready.stripe_url}{path}", {name: str(value) for name, value in form.items()}
        async with self._client.request(method, url, data=data or None, headers=headers) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            return said

    async def make_faults(self, chance: random.Random) -> None:
        """Kill -9 of workers, children or all, and FLUSHALL, between the purchases."""
        queue = redis.Redis.from_url(self.ready.redis_url)
        for _ in range(5):
            await asyncio.sleep(chance.uniform(0.2, 0.6))
            worker = self.ready.pids["worker"]
            victims = [child for child in children_of(worker) if chance.random() < 0.7]
            if chance.random() < 0.4:
                victims.append(worker)
            for pid in victims:
                _kill(pid)
            if chance.random() < 0.6:
                await queue.flushall()
        await queue.aclose()

    async def control(self, verb: str, **wish: Any) -> None:
        async with self._client.post(f"{self.ready.stripe_url}/_sim/{verb}", json=wish) as answer:
            assert answer.status == 200, await answer.text()

    async def fetch(self, sql: str) -> list[Any]:
        connection = await asyncpg.connect(self.ready.database_url)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    async def until_nothing_is_owed(self) -> None:
        while await self.fetch("SELECT 1 FROM sync_targets WHERE dirty_seq > synced_seq"):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.1)

    def _key(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.ready.app_keys['acme/editor']}"}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        # It ended on its own, or with its parent.
        return
