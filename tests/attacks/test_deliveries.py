"""A-01, A-04, A-05, A-06: what strangers, and thieves of a secret, send to Stripe's door."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import stripe

from domain.flows.receive import Receiver
from domain.rules.events import USED
from domain.settings import Secret, Settings, WebhookSecret
from ingress.lifespan import open_running
from ingress.webhook import PATH, app
from tests.attacks.asking import Headers, Said, ask
from tests.attacks.conftest import Line, broken
from tests.attacks.mutations import spoil, spoil_signature
from tests.attacks.sizes import chance, chosen
from tests.conftest import with_settings
from tests.flows.event_path import SECRET, EventPath, running_path, sign
from tests.ingress.test_webhook import EVENT
from tests.workers.test_bell import make_stub
from workers.bell import Bell

THIN = {
    "id": "evt_2",
    "object": "v2.core.event",
    "type": "v1.customer.updated",
    "created": "2026-11-22T00:00:00Z",
    "related_object": {"id": "cus_1", "type": "customer"},
    "context": "acct_1",
}
#: A used type of each kind, an unused one, and a thin event.
EVENTS: tuple[dict[str, Any], ...] = (
    EVENT,
    {**EVENT, "type": "charge.refunded", "data": {"object": {"id": "ch_1", "customer": None}}},
    {**EVENT, "type": "product.updated", "data": {"object": {"id": "prod.with.dots"}}},
    {**EVENT, "type": "tax.settings.updated", "data": {"object": {"object": "tax.settings"}}},
    THIN,
)


@asynccontextmanager
async def open_door(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """The state of a webhook process; its bell rings nowhere."""
    own = with_settings(
        settings, stripe_webhook_secrets=(WebhookSecret(Secret(SECRET)),), stripe_secret_key=Secret("")
    )
    bell = Bell(make_stub())
    bell.start()
    async with open_running("webhook", own) as running:
        yield {"running": running, "receiver": Receiver(running.context), "bell": bell}
    await bell.stop()


async def deliver(state: dict[str, Any], body: bytes, signatures: list[bytes], **more: Any) -> Said:
    headers: Headers = [(b"stripe-signature", signature) for signature in signatures]
    return await ask(app, state, "POST", PATH, [*headers, *more.pop("headers", ())], body, **more)


def is_accepted_by_sdk(body: bytes, signatures: list[bytes]) -> bool:
    """By Stripe's own code with its tolerance, at the same moment."""
    header = b",".join(signatures).decode("latin-1")
    try:
        return bool(stripe.WebhookSignature.verify_header(body.decode(), header, SECRET, tolerance=300))
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        return False


async def test_nothing_is_accepted_that_stripes_own_code_refuses_and_nothing_breaks(
    settings: Settings, logged: list[Line]
) -> None:
    draw = chance()
    answers: Counter[int] = Counter()
    accepted: Counter[bool] = Counter()
    async with open_door(settings) as state:
        for _ in range(chosen(800, 100_000)):
            body, signatures, headers = draw_delivery(draw)
            said = await deliver(
                state, body, signatures, headers=headers, chunk=draw.choice((7_000, 1 << 20))
            )
            answers[said.status] += 1
            if said.status == 200:
                accepted[is_accepted_by_sdk(body, signatures)] += 1
            else:
                assert said.headers[b"content-type"] == b"application/problem+json"
            assert not broken(logged), (body, signatures, broken(logged)[-1])
            logged.clear()
    assert answers.keys() <= {200, 400, 413, 415}, answers
    assert accepted[False] == 0
    # Enough of them came in to have met the parser, and enough were refused.
    assert min(accepted[True], answers[400]) > sum(answers.values()) // 10, answers


def draw_delivery(draw: random.Random) -> tuple[bytes, list[bytes], Headers]:
    """One delivery with something wrong in its body, its signature, its headers, or nowhere."""
    event = {**draw.choice(EVENTS), "id": f"evt_{draw.randrange(10**9)}"}
    is_body_spoiled = draw.random() < 0.6
    body = spoil(draw, event) if is_body_spoiled else json.dumps(event).encode()
    now = int(time.time())
    signatures = [sign(body, at=now)]
    if not is_body_spoiled or draw.random() < 0.2:
        signatures = spoil_signature(draw, body, now)
    headers = draw.choice(
        (
            *([],) * 20,
            [
                (
                    b"content-encoding",
                    draw.choice((b"gzip", b"br", b"identity", b"\xff", b"", b"identity,gzip")),
                )
            ],
            [(b"content-type", draw.choice((b"", b"text/html", b"application/json; charset=utf-16")))],
            [(b"content-length", draw.choice((b"999999999", b"-1", b"1e9", b"\xb2", b"0")))],
            [(b"x-request-id", draw.choice((b"a\r\nb", b"\xff", b"x" * 5_000, b'"}', b"")))],
        )
    )
    return body, signatures, headers


async def test_one_delivery_a_thousand_times_at_once_is_one_row_and_at_most_two_recomputes(
    settings: Settings, logged: list[Line]
) -> None:
    async with running_path(settings) as path:
        customer = await path.make_customer()
        await path.buy(customer)
        (event,) = await path.events(types=["customer.subscription.created"])
        async with open_door(path.context.settings) as state:
            body = json.dumps(event).encode()
            over = asyncio.Event()
            recomputing = asyncio.create_task(drain_until(path, over))
            signature = sign(body)
            said = await asyncio.gather(*(deliver(state, body, [signature]) for _ in range(1_000)))
            over.set()
            await recomputing
        assert Counter(one.status for one in said) == {200: 1_000}
        assert sum(not one.json["duplicate"] for one in said) == 1
        assert await path.states() == {"processed": 1}
        assert 1 <= sum(line["event"] == "entitlements_recomputed" for line in logged) <= 2
        assert await path.is_granted()
        assert not broken(logged)


async def drain_until(path: EventPath, over: asyncio.Event) -> None:
    """Work off what comes, and what is left at the end."""
    while not over.is_set():
        await path.drain()
        await asyncio.wait([asyncio.ensure_future(over.wait())], timeout=0.05)
    await path.drain()


@pytest.mark.parametrize("has_bought", [False, True])
async def test_who_has_the_secret_can_neither_give_nor_take_access(
    settings: Settings, logged: list[Line], *, has_bought: bool
) -> None:
    """Every used type, saying of every object that it is active, paid, deleted or canceled."""
    async with running_path(settings) as path:
        customer = await path.make_customer()
        if has_bought:
            await path.buy(customer)
            await path.buy(customer, "pass", "once")
            for event in await path.events():
                await path.deliver(event)
        await path.drain()
        before = granted(await path.answer())
        real = await known_objects(path, customer)
        for number, type_ in enumerate(USED):
            for lie in lies(type_, customer, real):
                await path.deliver({**lie, "id": f"evt_forged_{number}_{lie['data']['object']['id']}"})
        await path.drain(most=2_000)
        assert await path.is_granted() is has_bought
        assert granted(await path.answer()) == before
        assert bool(before) is has_bought
        assert await path.rows("SELECT 1 FROM sync_targets WHERE state = 'dead'") == []
        assert not broken(logged)


def granted(answer: dict[str, Any]) -> dict[str, Any]:
    """What somebody's purchase or an operator gives; without an answer, as with one of defaults: nothing."""
    is_bought = [(key, said) for key, said in answer.items() if said["granted"]]
    return {key: said for key, said in is_bought if said["reason"] != "catalog_default"}


async def known_objects(path: EventPath, customer: str) -> dict[str, list[str]]:
    """What Stripe has, by kind, so that lies can be told about it."""
    found: dict[str, list[str]] = {"customer": [customer]}
    for kind, table in (("subscription", "subscriptions"), ("invoice", "invoices")):
        rows = await path.rows(f"SELECT stripe_{kind}_id AS id FROM {table}")
        found[kind] = [row["id"] for row in rows]
    return found


def lies(type_: str, customer: str, real: dict[str, list[str]]) -> list[dict[str, Any]]:
    kind = USED[type_].object_kind
    forged = {
        "object": kind, "customer": customer, "status": "canceled" if "deleted" in type_ else "active",
        "deleted": True, "paid": True, "payment_status": "paid", "livemode": False, "ended_at": 1,
        "amount_refunded": 10**9, "metadata": {"tollhouse_user": "u_1", "tollhouse_project": "acme"},
        "items": {"data": [{"id": "si_forged", "price": {"id": "price_acme.pro.month"}, "quantity": 999}]},
    }  # fmt: skip
    event = {"object": "event", "type": type_, "livemode": False, "created": 1}
    ids = [*real.get(kind, []), f"{kind[:2]}_forged"]
    return [{**event, "data": {"object": {**forged, "id": id_}}} for id_ in ids]
