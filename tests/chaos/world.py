"""A whole deployment for chaos: the embedded servers, the simulator, and every process of the Procfile."""

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from deploy.local.commands import apply_catalog, apps_of, begin, create_missing_keys, finish
from deploy.local.environment import (
    ROOT,
    STRIPE_ACCOUNT,
    WORKER_TIMEOUT_MS,
    Environment,
    Ports,
    Servers,
    fingerprint,
    next_database,
    without_ours,
)
from deploy.local.ports import is_free
from deploy.local.postgres import prepare_postgres
from deploy.local.processes import Child, Program, log_since_start
from deploy.local.state import Keys, State
from deploy.local.valkey import prepare_valkey
from deploy.local.web import answers_200
from domain.context import Context, open_context
from domain.settings import load_settings
from tests.chaos.fleet import Fleet
from tests.chaos.rewriting import Rewrite, RewritingProxy
from tests.chaos.stripe import Stripe
from tests.proxy import Proxy

CATALOG = ROOT / "deploy" / "local" / "catalog.toml"
WEBHOOK_PATH = "/api/v1/webhooks/stripe"
THREADS = 8

#: Every stored version leaves a line, so that one that fell is seen whoever wrote it and whenever.
VERSION_LOG = """
    CREATE TABLE chaos_versions (id bigint GENERATED ALWAYS AS IDENTITY, user_key bigint, app text,
                                 first_version bigint, last_version bigint);
    CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_versions (user_key, app, first_version, last_version)
        VALUES (new.user_key, new.app, new.first_version, new.last_version);
        RETURN new;
    END $$;
    CREATE TRIGGER chaos_note AFTER INSERT OR UPDATE ON entitlements
        FOR EACH ROW EXECUTE FUNCTION chaos_note()
"""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What runs, and what is different about it."""

    workers: int = 2
    schedulers: int = 2
    has_api: bool = False
    #: Settings of the service by name, for all its processes.
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Environment of single processes by name or by what their names begin with.
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: Statements are changed on their way to Postgres, for processes whose names begin so.
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)
    #: All processes reach Postgres, Redis and Stripe through proxies that can be cut.
    is_proxied: bool = False
    #: What dramatiq imports.
    worker_module: str = "workers.actors"
    fsync: bool = True


class World:
    """Everything a fault and a check need."""

    def __init__(self, state: State, environment: Environment, fleet: Fleet, setup: Setup) -> None:
        self.state = state
        self.environment = environment
        self.fleet = fleet
        self.setup = setup
        #: By the beginning of a process's name.
        self.rewriters: dict[str, RewritingProxy] = {}
        #: `postgres`, `redis` and `stripe`, where the setup wants them.
        self.proxies: dict[str, Proxy] = {}
        self.http: aiohttp.ClientSession
        self.stripe: Stripe
        self.context: Context
        self.keys: Keys

    async def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Ask Postgres directly, without any pool of ours; a restart of it is waited for."""
        until = time.monotonic() + 60
        while True:
            try:
                return await self._rows(sql, *values)
            except (OSError, asyncpg.PostgresError, TimeoutError):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)

    async def _rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.environment.servers.database_url, timeout=10)
        try:
            return [dict(row) for row in await connection.fetch(sql, *values)]
        finally:
            await connection.close()

    async def execute(self, sql: str) -> None:
        """Any number of statements, by our own connection."""
        connection = await asyncpg.connect(self.environment.servers.database_url, timeout=10)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def logged(self, event: str) -> int:
        """How many lines of this name all processes have logged since the beginning."""
        wanted = f'"event":"{event}"'.encode()
        spaced = f'"event": "{event}"'.encode()
        logs = [path.read_bytes() for path in (self.state.directory / "logs").glob("*.log")]
        return sum(text.count(wanted) + text.count(spaced) for text in logs)


@asynccontextmanager
async def running_world(directory: Path, setup: Setup) -> AsyncIterator[World]:
    """A migrated deployment with the sample catalog, ready for its first event; gone at the end."""
    state = State(directory)
    state.open()
    fleet = Fleet()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(fleet.stop)
        environment = await _start_servers(state, fleet, setup)
        world = World(state, environment, fleet, setup)
        world.keys = _prepare(state, environment)
        world.http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        )
        url, key = environment.ports.url("stripe"), environment.secrets.stripe_secret_key
        world.stripe = Stripe(url, key, world.http)
        await _seed(world)
        await world.execute(VERSION_LOG)
        settings = load_settings("stripe-cli", _ours(environment.operator()))
        world.context = await stack.enter_async_context(open_context("stripe-cli", settings))
        await _start_proxies(world, stack)
        stack.push_async_callback(fleet.stop)
        await fleet.start(*_services(world))
        yield world


async def _start_servers(state: State, fleet: Fleet, setup: Setup) -> Environment:
    postgres = prepare_postgres(state.directory / "postgres", state.log("postgres"), fsync=setup.fsync)
    valkey = prepare_valkey(state.directory / "valkey", state.log("valkey"), persist=True)
    servers = Servers(postgres.url, valkey.url, valkey.cache_url, fingerprint(postgres.url))
    environment = Environment(servers, state.secrets(), _free_ports(), setup.settings)
    await fleet.start(postgres.program, valkey.program, _simulator(state, environment))
    return environment


def _free_ports() -> Ports:
    """Below those that the kernel gives to outgoing connections: one of them could take the port of a door
    while it is being restarted.
    """
    while True:
        ports = Ports(random.randrange(15_000, 32_000))  # noqa: S311 - any will do
        if all(is_free(port) for port in ports.by_name.values()):
            return ports


def _simulator(state: State, environment: Environment) -> Program:
    port = environment.ports.by_name["stripe"]
    return Program(
        name="stripe",
        argv=[
            *(sys.executable, "-m", "deploy.local.stripe_simulator", "--port", str(port)),
            *("--account", STRIPE_ACCOUNT, "--secret-key", environment.secrets.stripe_secret_key),
            # Stripe waits longer; the chaos of one minute must not.
            *("--retry-base-s", "0.2", "--delivery-timeout-s", "10"),
        ],
        env=without_ours(os.environ),
        cwd=ROOT,
        log=state.log("stripe"),
        is_ready=partial(_answers, environment.ports.url("stripe") + "/_sim/state"),
    )


def _prepare(state: State, environment: Environment) -> Keys:
    """Schema, catalog and keys, by the command line as an operator would."""
    operator = environment.operator()
    finish(begin(["migrate"], operator))
    return create_missing_keys(state, environment, apps_of(apply_catalog(CATALOG, operator)))


async def _seed(world: World) -> None:
    applied = apply_catalog(CATALOG, world.environment.operator())
    endpoint = {
        "url": world.environment.ports.url("webhook") + WEBHOOK_PATH,
        "secret": world.environment.secrets.webhook_secret,
        "enabled_events": ["*"],
    }
    await world.stripe.control("seed", **applied["stripe"], webhook_endpoints=[endpoint])


def _services(world: World) -> list[Program]:
    setup, environment = world.setup, world.environment
    programs = [_door(world, "webhook", environment.webhook()), _door(world, "read", environment.read())]
    if setup.has_api:
        programs.append(_door(world, "api", environment.api()))
    words = [
        *(sys.executable, "-m", "dramatiq", setup.worker_module, "--skip-logging", "--processes", "1"),
        *("--threads", str(THREADS), "--worker-shutdown-timeout", "20000", "--worker-fork-timeout", "1000"),
    ]
    clock = [sys.executable, "-m", "workers.scheduler"]
    programs += [
        _service(world, f"worker{number}", words, environment.worker(), "worker_ready")
        for number in range(setup.workers)
    ]
    programs += [
        _service(world, f"scheduler{number}", clock, environment.scheduler(), "scheduler_ready")
        for number in range(setup.schedulers)
    ]
    return programs


def _service(world: World, name: str, argv: list[str], env: dict[str, str], ready: str) -> Program:
    return Program(
        name=name,
        argv=argv,
        env=env | {"dramatiq_worker_timeout": str(WORKER_TIMEOUT_MS)} | _own_env(world, name),
        cwd=ROOT,
        log=world.state.log(name),
        is_ready=partial(_has_logged, ready),
        stop_timeout_s=25.0,
        ready_timeout_s=60.0,
    )


def _door(world: World, name: str, env: dict[str, str]) -> Program:
    port = world.environment.ports.by_name[name]
    return Program(
        name=name,
        argv=[
            *(sys.executable, "-m", "ingress.serve", name, "--port", str(port)),
        ],
        env=env | _own_env(world, name),
        cwd=ROOT,
        log=world.state.log(name),
        is_ready=partial(_answers, world.environment.ports.url(name) + "/live"),
        stop_timeout_s=25.0,
        ready_timeout_s=60.0,
    )


async def _start_proxies(world: World, stack: AsyncExitStack) -> None:
    servers = world.environment.servers
    for prefix, rewrite in world.setup.rewrites.items():
        world.rewriters[prefix] = RewritingProxy(servers.database_url, rewrite)
    if world.setup.is_proxied:
        urls = {
            "postgres": servers.database_url,
            "redis": servers.redis_url,
            "stripe": world.environment.ports.url("stripe"),
        }
        world.proxies = {name: Proxy(url) for name, url in urls.items()}
    for proxy in (*world.rewriters.values(), *world.proxies.values()):
        await proxy.start()
        stack.push_async_callback(proxy.stop)


def _own_env(world: World, name: str) -> dict[str, str]:
    own = [values for prefix, values in world.setup.env.items() if name.startswith(prefix)]
    own += [
        {"TOLLHOUSE_DATABASE_URL": proxy.url}
        for prefix, proxy in world.rewriters.items()
        if name.startswith(prefix)
    ]
    if world.proxies:
        redis_url = world.proxies["redis"].url
        proxied = {
            "TOLLHOUSE_DATABASE_URL": world.proxies["postgres"].url,
            "TOLLHOUSE_REDIS_URL": redis_url,
            "TOLLHOUSE_CACHE_URL": next_database(redis_url),
        }
        if name.startswith(("worker", "scheduler")):
            proxied["TOLLHOUSE_STRIPE_API_BASE"] = world.proxies["stripe"].url
        own.append(proxied)
    return {key: value for values in own for key, value in values.items()}


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith("TOLLHOUSE_")}


def _answers(url: str, _: Child) -> bool:
    return answers_200(url)


def _has_logged(event: str, child: Child) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return f'"{event}"'.encode() in log_since_start(child)
    return False
