"""A-07, A-08, A-09: callers who send too much, too slowly, or packed; over real sockets."""

import asyncio
import time
from pathlib import Path

import httpx2

from domain.settings import Settings
from ingress.connection import HEAD_BYTES, MOST_HEADERS
from ingress.webhook import PATH
from tests.attacks.doors import Door, running_door
from tests.attacks.sizes import IS_LONG, chosen
from tests.flows.event_path import sign
from tests.ingress.test_webhook import encoded

HEAD = f"POST {PATH} HTTP/1.1\r\nhost: door\r\n".encode()
#: Production's 10 s, divided where there is no time for them.
ARRIVAL_S = 10.0 if IS_LONG else 1.0


async def test_a_hostile_connection_ends_and_good_traffic_does_not_notice(
    settings: Settings, tmp_path: Path
) -> None:
    async with running_door("webhook", settings, tmp_path / "log", arrival_s=str(ARRIVAL_S)) as door:
        await check_too_large(door)
        await check_no_http(door)
        await check_packed(door)
        good, ended = await under_attack(door, callers=chosen(40, 500))
        assert set(good) == {200}
        assert good
        # Each is ended by the door: one that is not runs into the patience of `torment`.
        assert set(ended) == set(SLOW)
    assert b"Traceback" not in door.log.read_bytes()


async def under_attack(door: Door, *, callers: int) -> tuple[list[int], dict[str, float]]:
    """Statuses of good deliveries meanwhile, and the seconds after which the last of each kind was cut."""
    over = asyncio.Event()

    async def behave(client: httpx2.AsyncClient) -> list[int]:
        statuses: list[int] = []
        while not over.is_set():
            body = encoded(id=f"evt_good{len(statuses)}")
            answer = await client.post(PATH, content=body, headers={"stripe-signature": sign(body).decode()})
            statuses.append(answer.status_code)
        return statuses

    async with httpx2.AsyncClient(base_url=door.url) as client:
        behaving = asyncio.create_task(behave(client))
        kinds = list(SLOW)
        took = await asyncio.gather(*(torment(door, kinds[n % len(kinds)]) for n in range(callers)))
        over.set()
        good = await behaving
    ended: dict[str, float] = {}
    for number, seconds in enumerate(took):
        kind = kinds[number % len(kinds)]
        ended[kind] = max(ended.get(kind, 0), seconds)
    return good, ended


#: How a caller keeps a request from being whole: what is sent first, and what again and again.
SLOW = {
    "slow head": (HEAD, b"x-a: b\r\n"),
    "slow request line": (b"POST ", b"/"),
    "empty lines": (b"\r\n", b"\r\n"),
    "slow body": (HEAD + b"content-length: 5000\r\n\r\n", b"x"),
    "slow chunks": (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a body after its refusal": (HEAD + b"content-length: 999999\r\n\r\n", b"x"),
    "endless lines after a request": (b"GET /live HTTP/1.1\r\nhost: door\r\n\r\n", b"\r\n"),
}

if IS_LONG:
    # Ended by uvicorn's patience with idle connections, which is 5 s.
    SLOW["silence"] = (b"", b"")


async def torment(door: Door, kind: str) -> float:
    """Seconds until the door had enough."""
    first, again = SLOW[kind]
    began = time.monotonic()
    async with await door.connect() as caller:
        caller.send(first)
        reading = asyncio.create_task(caller.read_to_end(within_s=40))
        while not reading.done():
            caller.send(again)
            await asyncio.wait([reading], timeout=0.2)
        said = await reading
    assert b" 500 " not in said
    return time.monotonic() - began


async def check_too_large(door: Door) -> None:
    """Refused by what is declared, by what comes, and by the size of the head."""
    megabyte = b"x" * 1024 * 1024
    assert await status_of(door, HEAD + b"content-length: 1048576\r\n\r\n" + megabyte) == 413
    chunked = b"transfer-encoding: chunked\r\n\r\n100000\r\n" + megabyte
    assert await status_of(door, HEAD + chunked) == 413
    huge = HEAD + b"content-length: 99999999999999999999\r\n\r\n"
    assert await status_of(door, huge) in {400, 413}
    assert await status_of(door, HEAD + b"x-long: " + b"x" * HEAD_BYTES + b"\r\n\r\n") == 431
    assert await status_of(door, b"GET /" + b"x" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n") == 431
    assert await status_of(door, b"GET / HTTP/1.1\r\nx: " + b"x" * 20 * HEAD_BYTES) == 431
    assert await status_of(door, HEAD + b"x: y\r\n" * (MOST_HEADERS + 1) + b"\r\n") == 431


async def check_no_http(door: Door) -> None:
    """Problems, like every other refusal; lengths that contradict each other are no request."""
    both = HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    twice = HEAD + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"
    for sent in (
        both,
        twice,
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: +3\r\n\r\nabc",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET nowhere\r\n\r\n",
    ):
        async with await door.connect() as caller:
            caller.send(sent)
            answer = await caller.read_to_end(within_s=5)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), (sent, answer)
        assert b"application/problem+json" in answer
        assert b'"code":"malformed_http"' in answer


async def check_packed(door: Door) -> None:
    """What claims to be compressed is refused before a byte of it is unpacked."""
    for encoding in (b"gzip", b"br", b"deflate", b"zstd", b"GZIP", b"gzip, identity", b"identity, gzip"):
        packed = b"content-encoding: " + encoding + b"\r\ncontent-length: 3\r\n\r\nabc"
        assert await status_of(door, HEAD + packed) == 415, encoding


async def status_of(door: Door, sent: bytes) -> int:
    async with await door.connect() as caller:
        caller.send(sent)
        return await caller.read_status()
