"""What Prometheus is shown: what happens, in words of ours; and no port that stops a process."""

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deploy.local.environment import ROOT
from deploy.local.ports import free_port
from domain.flows.measure_backlog import measure_backlog
from domain.metrics.listener import Listener
from domain.settings import MetricsBind, SettingsInvalid, load_settings
from ingress import read
from ingress.lifespan import open_running
from tests.flows.event_path import EventPath
from tests.ingress.doors import client_of
from tests.waiting import until
from workers.shared_metrics import PREFIX, leave, shared_directory


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_delivery_and_its_run_are_counted_and_the_backlog_is_measured(path: EventPath) -> None:
    stored, duplicate = (
        value("tollhouse_webhook_deliveries_total", outcome=outcome, reason="")
        for outcome in ("stored", "duplicate")
    )
    customer = await path.make_customer()
    await path.buy(customer)
    (event,) = await path.events(types=["customer.subscription.created"])
    runs = value("tollhouse_sync_seconds_count", outcome="processed")
    calls = value("tollhouse_stripe_call_seconds_count", method="get", outcome="ok")
    recomputes = value("tollhouse_recomputes_total", cause=event["type"], changed="true")
    await path.deliver(event)
    await path.deliver(event)
    await measure_backlog(path.context)
    assert value("tollhouse_backlog_targets") == 1
    assert value("tollhouse_backlog_oldest_seconds") > 0
    assert time.time() - value("tollhouse_backlog_read_timestamp_seconds") < 60
    await path.drain()
    await measure_backlog(path.context)
    assert (value("tollhouse_backlog_targets"), value("tollhouse_dead_targets")) == (0, 0)
    assert value("tollhouse_webhook_deliveries_total", outcome="stored", reason="") == stored + 1
    assert value("tollhouse_webhook_deliveries_total", outcome="duplicate", reason="") == duplicate + 1
    assert value("tollhouse_sync_seconds_count", outcome="processed") == runs + 1
    assert value("tollhouse_stripe_call_seconds_count", method="get", outcome="ok") > calls
    assert value("tollhouse_recomputes_total", cause=event["type"], changed="true") == recomputes + 1


async def test_requests_are_counted_by_route_and_never_by_path(path: EventPath) -> None:
    async with open_running("read", path.context.settings) as running, client_of(read.app, running) as client:
        for word in ("secret-one", "secret-two"):
            await client.get(f"/api/v1/entitlements/{word}?user_id={word}")
            await client.get(f"/{word}")
            await client.request(word.upper(), "/api/v1/entitlements")
    routes = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"])
        for metric in REGISTRY.collect()
        if metric.name == "tollhouse_request_seconds"
        for sample in metric.samples
    }
    assert [words for words in routes if "{feature" in words[1] and words[2] == "401"]
    assert ("GET", "none", "404") in routes
    assert not [words for words in routes if "secret" in "".join(words).lower()]


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read(), "utf-8")


async def test_a_taken_port_stops_nothing_and_is_taken_over() -> None:
    port = free_port()
    first, second = (Listener(MetricsBind("127.0.0.1", port), 0, None, again_s=0.05) for _ in range(2))
    first.start()
    await until(lambda: first.is_served)
    second.start()
    assert "tollhouse_request_seconds" in await asyncio.to_thread(get, port)
    assert not second.is_served
    await asyncio.to_thread(first.close)
    await until(lambda: second.is_served)
    assert "tollhouse_request_seconds" in await asyncio.to_thread(get, port)
    await asyncio.to_thread(second.close)


#: One child of a worker: counts in the directory it is given, and shows what all have counted.
CHILD = """
import sys
from domain.settings import share_metrics
share_metrics(sys.argv[1])
from prometheus_client import generate_latest
from domain import metrics
from domain.metrics.listener import registry_of
metrics.syncs.labels("processed").observe(0.1)
metrics.dead.set(2)
print(generate_latest(registry_of(sys.argv[1])).decode())
"""


def test_the_children_of_a_worker_show_the_sum_of_all_and_leave_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert 'tollhouse_sync_seconds_count{outcome="processed"} 2.0' in child.stdout
    assert "tollhouse_dead_targets 2.0" in child.stdout
    leave(str(tmp_path))
    assert not tmp_path.exists()


def test_directories_of_dead_parents_are_removed() -> None:
    mine = Path(shared_directory(os.getpid()))
    dead = mine.parent / f"{PREFIX}{os.getpid()}-1"
    dead.mkdir()
    (dead / "counter_1.db").touch()
    assert shared_directory(os.getpid()) == str(mine)
    assert mine.exists()
    assert not dead.exists()
    leave(str(mine))
    assert not mine.exists()


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("off", MetricsBind("")),
        ("0.0.0.0", MetricsBind("0.0.0.0")),
        ("10.0.0.1:9999", MetricsBind("10.0.0.1", 9999)),
        ("::1", MetricsBind("::1")),
    ],
)
def test_where_metrics_are_shown_is_a_setting(text: str, bind: MetricsBind) -> None:
    environ = {"TOLLHOUSE_DATABASE_URL": "postgresql://db/t", "TOLLHOUSE_METRICS_BIND": text}
    assert load_settings("migrate", environ).metrics_bind == bind


@pytest.mark.parametrize("text", ["host:", ":9180", "host:port", "host:70000"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    environ = {"TOLLHOUSE_DATABASE_URL": "postgresql://db/t", "TOLLHOUSE_METRICS_BIND": text}
    with pytest.raises(SettingsInvalid, match="TOLLHOUSE_METRICS_BIND"):
        load_settings("migrate", environ)
