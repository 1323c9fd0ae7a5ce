"""`python -m tests.chaos.killed_door FILE`: a webhook process for each event of a file, killed after COMMIT.

Forks instead of starting an interpreter each: a thousand deaths take half a minute. Prints how many died by
the fault point, between the commit and the bell; exit code 1 when one ended otherwise.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from deploy.local.stripe_simulator.sender import signature
from domain.context import open_context
from domain.flows.receive import Receiver
from domain.settings import Settings, load_settings

AT_ONCE = 4


def main() -> int:
    settings = load_settings("webhook")
    bodies = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[msgspec.Raw])
    running: set[int] = set()
    ends: list[int] = []
    for body in bodies:
        running.add(fork_one(settings, bytes(body)))
        while len(running) >= AT_ONCE:
            ends.append(reap_one(running))
    while running:
        ends.append(reap_one(running))
    killed = sum(os.WIFSIGNALED(end) and os.WTERMSIG(end) == signal.SIGKILL for end in ends)
    sys.stdout.write(str(killed))
    return 0 if killed == len(bodies) else 1


def fork_one(settings: Settings, body: bytes) -> int:
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(deliver(settings, body))
        finally:
            # Not reached where the fault point did its work.
            os._exit(3)
    return child


def reap_one(running: set[int]) -> int:
    pid, status = os.waitpid(-1, 0)
    running.discard(pid)
    return status


async def deliver(settings: Settings, body: bytes) -> None:
    """As the door does it, up to the answer that nobody gets."""
    async with open_context("webhook", settings) as context:
        secret = settings.stripe_webhook_secrets[0].secret.reveal()
        signed = signature(secret, body, int(time.time())).encode()
        await Receiver(context).receive(body, signed, "req_chaos")


if __name__ == "__main__":
    sys.exit(main())
