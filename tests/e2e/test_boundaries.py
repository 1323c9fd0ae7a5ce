"""F-28: with everything but `read` stopped, answers still change at the right second; no 304 hides it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from msgspec import Struct

from deploy.local.environment import ROOT, Environment, Ports, Servers
from deploy.local.ports import free_port
from deploy.local.postgres import running_postgres
from deploy.local.state import Ready, State
from deploy.local.valkey import running_valkey
from deploy.local.web import Connection, answers_200, request
from tests.e2e.local.processes_seen import is_alive, wait_for
from tests.e2e.local.test_embedded_deployment import running_up

#: Seconds from the first cancellation to each boundary: one while Postgres and Redis live, one without
#: Redis, one with nothing left but `read`.
BOUNDARIES_S = {"u_no_worker": 5, "u_no_redis": 7, "u_no_postgres": 9}


class Seen(Struct, frozen=True):
    """One conditional read, and the instants around it."""

    user_id: str
    asked_at: float
    answered_at: float
    status: int
    is_granted: bool | None
    reason: str | None
    freshness: str | None


def test_answers_change_at_their_second_and_no_304_crosses_a_boundary(tmp_path: Path) -> None:
    with ExitStack() as postgres, ExitStack() as valkey:
        database = postgres.enter_context(running_postgres(tmp_path / "postgres", fsync=False))
        cache = valkey.enter_context(running_valkey(tmp_path / "valkey"))
        servers = {"TOLLHOUSE_DATABASE_URL": database.url, "TOLLHOUSE_REDIS_URL": cache.url}
        with running_up(tmp_path / "state", servers=servers) as (process, ready, _):
            key = {"Authorization": f"Bearer {ready.app_keys['acme/editor']}"}
            with own_read(tmp_path, ready) as url, Connection(url) as reader:
                for user_id in BOUNDARIES_S:
                    buy(ready, user_id, key)
                ends = end_all(ready, reader, key)
                etags = {user_id: known_tag(reader, user_id, key) for user_id in BOUNDARIES_S}
                process.kill()
                assert wait_for(lambda: not any(is_alive(pid) for pid in ready.pids.values()), 10)
                seen = watch(reader, key, etags, until=ends["u_no_worker"] + 0.5)
                valkey.close()
                seen += watch(reader, key, etags, until=ends["u_no_redis"] + 0.5)
                postgres.close()
                seen += watch(reader, key, etags, until=ends["u_no_postgres"] + 0.5)
    assert_changed_in_time(seen, ends)
    last = {one.user_id: one for one in seen}
    assert last["u_no_postgres"].freshness == "stale"


def assert_changed_in_time(seen: list[Seen], ends: dict[str, float]) -> None:
    """Every answer asked after the boundary is the later one, every one finished before it the earlier."""
    before = [one for one in seen if one.answered_at < ends[one.user_id]]
    after = [one for one in seen if one.asked_at >= ends[one.user_id]]
    assert {one.user_id for one in before} == {one.user_id for one in after} == set(ends)
    assert HTTPStatus.NOT_MODIFIED in {one.status for one in before}, "the tag is known until the boundary"
    assert all(one.is_granted for one in before if one.status == HTTPStatus.OK)
    wrong = [one for one in after if one.is_granted is not False or one.reason != "subscription_canceled"]
    assert wrong == [], "after its boundary an answer may be neither a 304 nor the old one"


def watch(reader: Connection, key: dict[str, str], etags: dict[str, str], until: float) -> list[Seen]:
    """Conditional reads of all users, one after another, until that instant."""
    seen: list[Seen] = []
    while time.time() < until:
        for user_id, etag in etags.items():
            asked_at = time.time()
            answer = reader.request("GET", path_of(user_id), headers={**key, "If-None-Match": etag})
            body = answer.json() if answer.status == HTTPStatus.OK else {}
            export = body.get("entitlements", {}).get("export", {})
            seen.append(
                Seen(
                    user_id,
                    asked_at,
                    time.time(),
                    answer.status,
                    export.get("granted"),
                    export.get("reason"),
                    body.get("freshness"),
                )
            )
        time.sleep(0.02)
    return seen


@contextmanager
def own_read(tmp_path: Path, ready: Ready) -> Iterator[str]:
    """A `read` that nobody supervises, on the deployment's servers; yields its address."""
    port = free_port()
    secrets = State(tmp_path / "state").secrets()
    servers = Servers(ready.database_url, ready.redis_url, ready.cache_url, identity="")
    command = [sys.executable, "-m", "uvicorn", "ingress.read:app", "--port", str(port), "--no-access-log"]
    environment = Environment(servers, secrets, Ports(port)).read()
    with (tmp_path / "read.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        assert wait_for(lambda: answers_200(f"{url}/ready"), 20), (tmp_path / "read.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def buy(ready: Ready, user_id: str, key: dict[str, str]) -> None:
    body = {
        "user_id": user_id,
        "items": [{"plan": "pro", "price": "month", "quantity": 1}],
        "success_url": "http://localhost:3000/ok",
        "cancel_url": "http://localhost:3000/cancel",
    }
    url = f"{ready.base_url}/api/v1/checkout/session"
    opened = request("POST", url, send_json=body, headers=key)
    assert opened.status == HTTPStatus.CREATED, opened.body
    paid = request("POST", f"{ready.stripe_url}/c/pay/{opened.json()['id']}/pay")
    assert paid.status == HTTPStatus.SEE_OTHER, paid.body


def end_all(ready: Ready, reader: Connection, key: dict[str, str]) -> dict[str, float]:
    """Each subscription is set to cancel at its boundary, and the answer says so; answers unix seconds."""
    authorization = {"Authorization": f"Bearer {ready.stripe_secret_key}"}
    for user_id in BOUNDARIES_S:
        assert wait_for(lambda: export_of(reader, user_id, key)["granted"], 20)  # noqa: B023 - called here
    start = int(time.time()) + 1
    ends: dict[str, float] = {}
    for user_id, after_s in BOUNDARIES_S.items():
        (source,) = export_of(reader, user_id, key)["sources"]
        ends[user_id] = start + after_s
        changed = request(
            "POST",
            f"{ready.stripe_url}/_sim/subscriptions/{source['id']}",
            send_json={"fields": {"cancel_at": start + after_s}},
            headers=authorization,
        )
        assert changed.status == HTTPStatus.OK, changed.body
    for user_id in BOUNDARIES_S:
        assert wait_for(lambda: export_of(reader, user_id, key)["ends_at"], 20)  # noqa: B023 - called here
    return ends


def known_tag(reader: Connection, user_id: str, key: dict[str, str]) -> str:
    return reader.request("GET", path_of(user_id), headers=key).headers["etag"]


def export_of(reader: Connection, user_id: str, key: dict[str, str]) -> dict[str, Any]:
    answer = reader.request("GET", path_of(user_id), headers=key)
    found: dict[str, Any] = json.loads(answer.body)["entitlements"]["export"]
    return found


def path_of(user_id: str) -> str:
    return f"/api/v1/entitlements?user_id={user_id}"
