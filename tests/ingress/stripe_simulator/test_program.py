"""The simulator as its own process: what a supervisor and a restart see."""

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import stripe

from deploy.local.stripe_simulator.journal import FILE_NAME
from tests.ingress.stripe_simulator.clocks import (
    DAY,
    HOUR,
    NEW_YEAR,
    advance,
    invoices_of,
    new_clock,
    subscribe_on,
)
from tests.ingress.stripe_simulator.conftest import PRICES, PRODUCTS
from tests.ingress.stripe_simulator.receiver import receiving
from tests.ingress.stripe_simulator.sdk import Json, ask

KEY = "sk_test_program"


class Program:
    def __init__(self, process: asyncio.subprocess.Process, ready: str) -> None:
        self.process = process
        self.ready = ready
        self.url = next((word for word in ready.split() if word.startswith("http")), "")

    async def control(self, verb: str, body: bytes) -> Json:
        async with aiohttp.ClientSession() as http, http.post(f"{self.url}/_sim/{verb}", data=body) as answer:
            assert answer.status == 200, await answer.text()
            decoded: Json = await answer.json()
            return decoded


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Program]:
    command = [sys.executable, "-m", "deploy.local.stripe_simulator", "--secret-key", KEY, *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    ready = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    try:
        yield Program(process, ready)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def sdk(running: Program) -> AsyncIterator[stripe.StripeClient]:
    transport = stripe.AIOHTTPClient(timeout=10)
    yield stripe.StripeClient(KEY, base_addresses={"api": running.url}, http_client=transport)
    await transport.close_async()


async def test_sigterm_ends_it_in_time_with_exit_code_0_even_with_a_stalled_call(tmp_path: Path) -> None:
    async with program("--port", "0", "--state", str(tmp_path)) as running:
        assert running.ready.startswith("stripe-simulator ready on http://127.0.0.1:")
        await running.control("fail", b'{"path_pattern": "/v1/account", "stall": true}')
        async with sdk(running) as client:
            stalled = asyncio.create_task(ask(client, "get", "/v1/account"))
            await asyncio.sleep(0.1)
            begin = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            assert await running.process.wait() == 0
            assert time.monotonic() - begin < 2
            assert isinstance((await asyncio.gather(stalled, return_exceptions=True))[0], stripe.StripeError)


async def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    async with program("--port", "0", "--state", str(tmp_path)) as running, sdk(running) as client:
        made = await ask(client, "post", "/v1/customers", email="a@example.com", key="k1")
        running.process.kill()
    async with program("--port", "0", "--state", str(tmp_path)) as running, sdk(running) as client:
        assert await ask(client, "get", f"/v1/customers/{made['id']}") == made
        assert await ask(client, "post", "/v1/customers", email="a@example.com", key="k1") == made
        assert len((await ask(client, "get", "/v1/events"))["data"]) == 1


async def test_undelivered_event_survives_kill_9_and_arrives_after_the_restart(tmp_path: Path) -> None:
    state = ("--port", "0", "--state", str(tmp_path), "--retry-base-s", "0.3")
    async with receiving() as receiver:
        receiver.statuses = [500]
        async with program(*state) as running, sdk(running) as client:
            endpoint = f'{{"url": "{receiver.url}", "secret": "whsec_a"}}'
            await running.control("seed", f'{{"webhook_endpoints": [{endpoint}]}}'.encode())
            made = await ask(client, "post", "/v1/customers")
            await receiver.wait_for(1)
            await asyncio.sleep(0.1)
            running.process.kill()
        async with program(*state) as running:
            await receiver.wait_for(2)
            assert [event["data"]["object"]["id"] for event in receiver.events] == [made["id"]] * 2


async def test_damaged_state_ends_with_one_sentence_and_reset_begins_anew(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database " * 1000)
    async with program("--port", "0", "--state", str(tmp_path)) as running:
        _, said = await running.process.communicate()
        assert running.process.returncode == 1
        assert b"--reset" in said
        assert said.count(b"\n") == 1
    async with program("--port", "0", "--state", str(tmp_path), "--reset") as running:
        assert running.url


async def test_busy_port_ends_with_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with program("--port", port) as running:
            _, said = await running.process.communicate()
            assert running.process.returncode == 1
            assert port.encode() in said
            assert b"--port" in said


async def test_kill_9_stops_no_clock(tmp_path: Path) -> None:
    catalog = {"products": PRODUCTS, "prices": PRICES}
    async with program("--port", "0", "--state", str(tmp_path)) as running, sdk(running) as client:
        await running.control("seed", msgspec.json.encode(catalog))
        clock = await new_clock(client)
        made = await subscribe_on(client, clock, "price_month")
        await advance(client, clock, NEW_YEAR + 31 * DAY)
        running.process.kill()
    async with program("--port", "0", "--state", str(tmp_path)) as again, sdk(again) as client:
        assert [row["status"] for row in await invoices_of(client, made)] == ["draft", "paid"]
        await advance(client, clock, NEW_YEAR + 59 * DAY + HOUR)
        assert [row["status"] for row in await invoices_of(client, made)] == ["paid"] * 3
