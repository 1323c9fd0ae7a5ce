"""Post recorded Stripe events at a running deployment, and see that each ends in a known state.

    tollhouse local up --ready-file ready.json &
    python -m tests.e2e.post_recordings FOLDER --ready-file ready.json

FOLDER holds one event per `*.json` file, of any API version and type. Each gets a fresh id, is signed with
the deployment's secret and posted twice; the second round must change nothing. Exit 1 says what did not hold.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

KNOWN_ENDS = {"processed", "ignored", "foreign"}
#: A recheck of an object that Stripe does not show comes after 15 s, three times.
PATIENCE_S = 30.0


def load_recordings(folder: Path) -> list[bytes]:
    """The bodies to post, each event under an id of its own."""
    bodies = []
    for file in sorted(folder.glob("*.json")):
        event: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        event["id"] = f"evt_{uuid.uuid4().hex}"
        bodies.append(json.dumps(event).encode())
    return bodies


def sign(body: bytes, secret: str) -> str:
    """A `Stripe-Signature` header of now."""
    stamp = str(int(time.time()))
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


async def post_all(url: str, secret: str, bodies: list[bytes]) -> Counter[str]:
    """Post each body; answers how often which answer came."""
    answers: Counter[str] = Counter()
    async with aiohttp.ClientSession() as client:
        for body in bodies:
            headers = {"stripe-signature": sign(body, secret), "content-type": "application/json"}
            async with client.post(url, data=body, headers=headers) as response:
                said = await response.json(content_type=None)
                answers[f"{response.status} duplicate={said.get('duplicate')}"] += 1
    return answers


async def wait_for_ends(database_url: str, ids: list[str]) -> Counter[tuple[str, str | None]]:
    """Wait until no event is pending; answers how many ended in which (state, reason)."""
    connection = await asyncpg.connect(database_url)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while True:
            rows = await connection.fetch(
                "SELECT state, reason FROM webhook_events WHERE event_id = ANY($1::text[])", ids
            )
            ends = Counter((row["state"], row["reason"]) for row in rows)
            if not any(state == "pending" for state, _ in ends) or time.monotonic() > deadline:
                return ends
            await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def run(folder: Path, ready: dict[str, Any]) -> int:
    bodies = load_recordings(folder)
    if not bodies:
        print(f"{folder} holds no *.json file")
        return 1
    ids = [json.loads(body)["id"] for body in bodies]
    first = await post_all(ready["webhook_url"], ready["webhook_secret"], bodies)
    ends = await wait_for_ends(ready["database_url"], ids)
    second = await post_all(ready["webhook_url"], ready["webhook_secret"], bodies)
    again = await wait_for_ends(ready["database_url"], ids)
    print(f"{len(bodies)} recordings: {dict(first)}; posted again: {dict(second)}")
    for (state, reason), count in sorted(ends.items(), key=str):
        print(f"  {count:4}  {state:10} {reason or ''}")
    wrong = [f"{state}: {count}" for (state, _), count in ends.items() if state not in KNOWN_ENDS]
    if wrong or ends.total() != len(bodies):
        known = " or ".join(sorted(KNOWN_ENDS))
        print(f"expected {len(bodies)} rows, each {known}; got {ends.total()}, {wrong}")
        return 1
    if again != ends or second != {"200 duplicate=True": len(bodies)}:
        print(f"the second round changed something: {dict(again)}")
        return 1
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ready-file", type=Path, required=True, help="of `tollhouse local up`")
    arguments = parser.parse_args()
    ready = json.loads(arguments.ready_file.read_text(encoding="utf-8"))
    sys.exit(asyncio.run(run(arguments.folder, ready)))


if __name__ == "__main__":
    main()
