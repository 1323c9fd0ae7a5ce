"""`python -m tests.e2e.checkout_door API_KEY CALLS POINT…`: the api process, killed at each fault point.

For every point a process of its own gets CALLS times the same call under one Idempotency-Key, and dies at the
point. Then one that nobody kills gets the same calls, sent again until each is answered. Prints as JSON, by
point: how the first process ended, and the different answers of the second. Forks instead of starting an
interpreter each.
"""

import asyncio
import os
import signal
import sys
import time
from typing import Any

import httpx2
import msgspec

from domain.faults import parse_fault_points
from domain.settings import Settings, load_settings
from ingress import api
from ingress.lifespan import open_running
from tests.ingress.doors import client_of

PATH = "/api/v1/checkout/session"
WITHIN_S = 120.0
#: Calls that are no crowd.
FEW = 20


def main() -> int:
    settings = load_settings("api")
    key, calls, *points = sys.argv[1:]
    # One crowd at a time: it is to be in its own call's way, and not in another's.
    ends = {point: see_killed(settings, key, int(calls), point) for point in points}
    answers = {point: asyncio.run(send_all(settings, key, int(calls), point)) for point in points}
    sys.stdout.buffer.write(
        msgspec.json.encode(
            {
                point: {"is_killed": is_killed(ends[point]), "answers": sorted(answers[point])}
                for point in points
            }
        )
    )
    return 0


def is_killed(end: int) -> bool:
    return os.WIFSIGNALED(end) and os.WTERMSIG(end) == signal.SIGKILL


def see_killed(settings: Settings, key: str, calls: int, point: str) -> int:
    """How a process ended that was to die at this point, as waitpid says it."""
    child = os.fork()
    if child == 0:
        try:
            faulty = msgspec.structs.replace(settings, fault_points=parse_fault_points(f"{point}=kill:1"))
            asyncio.run(send_all(faulty, key, calls, point))
        finally:
            # Not reached where the fault point did its work.
            os._exit(3)
    return os.waitpid(child, 0)[1]


async def send_all(settings: Settings, key: str, calls: int, point: str) -> set[tuple[int, str]]:
    async with open_running("api", settings) as running, client_of(api.app, running, key) as client:
        # Clients wait as long as they are told to; few of them are in nobody's way, and need not.
        hurry = 1.0 if calls > FEW else 0.1
        answers = await asyncio.gather(*(send(client, point, hurry) for _ in range(calls)))
    return {(answer.status_code, answer.text) for answer in answers}


async def send(client: httpx2.AsyncClient, point: str, hurry: float) -> httpx2.Response:
    """As a client does that wants its answer: again, after what the refusal says, until there is one."""
    until = time.monotonic() + WITHIN_S
    while True:
        answer = await client.post(PATH, json=body_of(point), headers={"Idempotency-Key": f"order {point}"})
        if answer.is_success or "retry-after" not in answer.headers:
            return answer
        if time.monotonic() > until:
            return answer
        await asyncio.sleep(hurry * float(answer.headers["retry-after"]))


def body_of(point: str) -> dict[str, Any]:
    return {
        "user_id": f"user {point}",
        "items": [{"plan": "pro", "price": "month", "quantity": 5}],
        "success_url": "https://editor.acme.example/ok",
        "cancel_url": "https://editor.acme.example/no",
        "customer": {"email": "a@acme.example"},
    }


if __name__ == "__main__":
    sys.exit(main())
