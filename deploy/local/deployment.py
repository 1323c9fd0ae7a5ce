"""One local deployment from the first server to the last process, in the foreground.

Order: Postgres, Valkey, Stripe simulator → schema → catalog → simulator's products and prices → keys → the
processes of the Procfile, each as an operating system process of its own.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from deploy.local.commands import (
    apply_catalog,
    apps_of,
    begin,
    create_missing_keys,
    finish,
    tollhouse_json,
)
from deploy.local.environment import (
    ROOT,
    STRIPE_ACCOUNT,
    Environment,
    Ports,
    Servers,
    fingerprint,
    next_database,
    servers_named_in,
    without_ours,
)
from deploy.local.lock import locked
from deploy.local.ports import is_free
from deploy.local.postgres import prepare_postgres
from deploy.local.processes import Child, ProcessFailed, Program, log_since_start
from deploy.local.state import Keys, Ready, State, write_private
from deploy.local.supervisor import StopRequested, Supervisor
from deploy.local.valkey import prepare_valkey
from deploy.local.web import NoAnswer, answers_200, request

#: Threads per worker process: sync waits on Stripe and Postgres, so a few more than the cores keep both busy.
WORKER_THREADS = 8
#: How long a worker may finish what it holds; longer than the lease of 15 s, so that nothing has to expire.
WORKER_SHUTDOWN_MS = 20_000
#: So long the worker's main process looks at nothing but the boot of its workers, for processes that are to
#: be forked after them; we have none. By default it notices one that dies meanwhile after 31 s, so after 2 s.
WORKER_FORK_MS = 1_000
WEBHOOK_PATH = "/api/v1/webhooks/stripe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the caller chose on the command line."""

    state: Path
    catalog: Path
    port_base: int
    workers: int
    reset: bool
    #: Settings of the service by name (`lease_s`), for all its processes.
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Where else to write what ready.json says; None = nowhere.
    ready_file: Path | None = None


def run_deployment(choices: Choices, report: Callable[[str], None]) -> None:
    """Start everything, keep it running, and stop it in order at SIGINT, SIGTERM or SIGHUP.

    Raises ProcessFailed when something cannot be started (everything else is stopped again), AlreadyRunning
    when another deployment holds the state directory.
    """
    state = State(choices.state)
    state.open()
    with locked(state.lock), ExitStack() as cleanup:
        state.ready.unlink(missing_ok=True)  # a killed deployment could not remove it
        if choices.reset:
            state.reset()
        ports = Ports(choices.port_base)
        refuse_busy_ports(ports)
        supervisor = cleanup.enter_context(Supervisor(report))
        try:
            cleanup.enter_context(_started(supervisor, state, choices, ports, report))
            supervisor.watch()
        except StopRequested:
            pass
        report("Stopping.")


@contextmanager
def _started(
    supervisor: Supervisor, state: State, choices: Choices, ports: Ports, report: Callable[[str], None]
) -> Iterator[None]:
    """Everything is ready inside the block, and the ready files say so; they are removed after it."""
    environment = Environment(_start_servers(supervisor, state), state.secrets(), ports, choices.settings)
    migration = begin(["migrate"], environment.operator())
    supervisor.start_together([_simulator(environment, state)])
    finish(migration)
    keys = _prepare_data(supervisor, state, environment, choices.catalog, report)
    supervisor.start_together(_services(environment, state, choices.workers))
    files = [state.ready, *([choices.ready_file] if choices.ready_file else [])]

    def write_ready() -> None:
        for path in files:
            write_private(path, _ready(environment, keys, supervisor.pids()))

    write_private(state.env, environment.exports().encode())
    write_ready()
    supervisor.on_restart = write_ready
    report(f"Ready: {ports.url('api')} (logs and data in {state.directory})")
    try:
        yield
    finally:
        for path in (*files, state.env):
            path.unlink(missing_ok=True)


def refuse_busy_ports(ports: Ports) -> None:
    """Raises ProcessFailed naming the port somebody else listens on."""
    for name, port in ports.by_name.items():
        if not is_free(port):
            raise ProcessFailed(
                f"Port {port} (for {name}) is in use: stop what listens there, or choose four others with "
                "--port-base."
            )


def _start_servers(supervisor: Supervisor, state: State) -> Servers:
    """The embedded servers, except those the caller's environment names."""
    named = servers_named_in(os.environ)
    database_url = named.get("TOLLHOUSE_DATABASE_URL", "")
    redis_url = named.get("TOLLHOUSE_REDIS_URL", "")
    cache_url = named.get("TOLLHOUSE_CACHE_URL", "")
    identity = fingerprint(database_url)
    if not database_url:
        postgres = supervisor.start_prepared(
            partial(prepare_postgres, state.directory / "postgres", state.log("postgres"))
        )
        database_url, identity = postgres.url, fingerprint(postgres.url.replace(f":{postgres.port}/", "/"))
    if not redis_url:
        valkey = supervisor.start_prepared(
            partial(prepare_valkey, state.directory / "valkey", state.log("valkey"), persist=True)
        )
        redis_url, cache_url = valkey.url, cache_url or valkey.cache_url
    cache_url = cache_url or next_database(redis_url)
    embedded = frozenset({database_url, redis_url, cache_url}) - frozenset(named.values())
    return Servers(database_url, redis_url, cache_url, identity, embedded)


def _prepare_data(
    supervisor: Supervisor,
    state: State,
    environment: Environment,
    catalog: Path,
    report: Callable[[str], None],
) -> Keys:
    """Catalog, the simulator's copy of it, keys; a stop asked for meanwhile is noticed."""
    operator = environment.operator()
    supervisor.refuse_after_stop()
    applied = apply_catalog(catalog, operator)
    apps = apps_of(applied)
    _seed_simulator(environment, applied)
    supervisor.refuse_after_stop()
    keys = create_missing_keys(state, environment, apps)
    supervisor.refuse_after_stop()
    report(f"✓ schema, catalog ({catalog.name}: {', '.join(applied['projects'])}) and {len(apps)} app keys")
    return keys


def _seed_simulator(environment: Environment, applied: Mapping[str, Any]) -> None:
    """What a real Stripe account would hold after `catalog apply` and one click in the dashboard."""
    endpoint = {
        "url": environment.ports.url("webhook") + WEBHOOK_PATH,
        "secret": environment.secrets.webhook_secret,
        # As an endpoint at Stripe is configured: not everything, but what is used.
        "enabled_events": tollhouse_json(["events", "types"], environment.operator())["enabled_events"],
    }
    url = environment.ports.url("stripe") + "/_sim/seed"
    try:
        answer = request("POST", url, send_json={**applied["stripe"], "webhook_endpoints": [endpoint]})
    except KeyError as error:
        raise ProcessFailed("`tollhouse catalog apply --json` answered without `stripe`.") from error
    except NoAnswer as error:
        raise ProcessFailed(f"The Stripe simulator did not take the catalog: {error}") from error
    if answer.status >= 300:  # noqa: PLR2004 - every answer but a success
        raise ProcessFailed(
            f"The Stripe simulator refused the catalog: {answer.status} "
            f"{answer.body[:500].decode(errors='replace')}"
        )


def _simulator(environment: Environment, state: State) -> Program:
    port = environment.ports.by_name["stripe"]
    return Program(
        name="stripe",
        argv=[
            *(
                sys.executable,
                "-m",
                "deploy.local.stripe_simulator",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ),
            *("--state", str(state.directory / "stripe"), "--account", STRIPE_ACCOUNT),
            *("--secret-key", environment.secrets.stripe_secret_key),
        ],
        env=without_ours(os.environ),
        cwd=ROOT,
        log=state.log("stripe"),
        address=f"127.0.0.1:{port}",
        is_ready=partial(_is_answered, environment.ports.url("stripe") + "/_sim/state"),
    )


def _services(environment: Environment, state: State, workers: int) -> list[Program]:
    """The processes of the Procfile."""
    worker_words = shlex.split(
        f"-m dramatiq workers.actors --skip-logging --processes {workers} --threads {WORKER_THREADS} "
        f"--worker-shutdown-timeout {WORKER_SHUTDOWN_MS} --worker-fork-timeout {WORKER_FORK_MS}"
    )
    service = partial(Program, cwd=ROOT, stop_timeout_s=25.0)
    return [
        _door("webhook", environment.webhook(), environment, state),
        _door("read", environment.read(), environment, state),
        _door("api", environment.api(), environment, state),
        service(
            name="worker",
            argv=[sys.executable, *worker_words],
            env=environment.worker(),
            log=state.log("worker"),
            is_ready=partial(_has_logged, "worker_ready"),
        ),
        service(
            name="scheduler",
            argv=[sys.executable, "-m", "workers.scheduler"],
            env=environment.scheduler(),
            log=state.log("scheduler"),
            is_ready=partial(_has_logged, "scheduler_ready"),
        ),
    ]


def _door(name: str, environ: Mapping[str, str], environment: Environment, state: State) -> Program:
    """One HTTP process; ready when it says so itself."""
    port = environment.ports.by_name[name]
    words = f"-m ingress.serve {name} --port {port}"
    return Program(
        name=name,
        argv=[sys.executable, *shlex.split(words)],
        env=environ,
        cwd=ROOT,
        log=state.log(name),
        address=f"127.0.0.1:{port}",
        is_ready=partial(_is_answered, environment.ports.url(name) + "/ready"),
        stop_timeout_s=25.0,
    )


def _is_answered(url: str, _: Child) -> bool:
    return answers_200(url)


def _has_logged(event: str, child: Child) -> bool:
    """True once the process has logged this event as JSON."""
    for line in log_since_start(child).splitlines():
        if event.encode() in line and line.startswith(b"{"):
            try:
                if json.loads(line).get("event") == event:
                    return True
            except ValueError:
                continue  # half a line, still being written
    return False


def _ready(environment: Environment, keys: Keys, pids: dict[str, int]) -> bytes:
    ports, servers = environment.ports, environment.servers
    ready = Ready(
        base_url=ports.url("api"),
        webhook_url=ports.url("webhook") + WEBHOOK_PATH,
        read_url=ports.url("read"),
        stripe_url=ports.url("stripe"),
        stripe_secret_key=environment.secrets.stripe_secret_key,
        webhook_secret=environment.secrets.webhook_secret,
        operator_key=keys.operator_key,
        app_keys=keys.app_keys,
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        cache_url=servers.cache_url,
        pids=pids,
    )
    return msgspec.json.format(msgspec.json.encode(ready))
