"""What keys and limits promise in figures: A-15, A-16 and A-32 of docs/reliability.md.

Run: python -m tests.bench.keys (all), or `python -m tests.bench.keys neighbours` (A-32 only).
"""

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from statistics import median, quantiles

import msgspec
import structlog

from deploy.local.ports import free_port
from domain.context import Context
from domain.errors import Rejected
from domain.flows.authenticate import KeyRing
from domain.flows.manage_keys import create_key
from domain.rules.api_key import ID_BYTES, SECRET_BYTES, ApiKey, format_key, make_key, parse_key
from domain.settings import Secret
from tests.bench.catalog import deployment
from tests.seeds import seed_catalog, seed_set

PEPPER = "ab" * 32
#: A-15: pairs of refusals, compared in chunks so that the machine's drift falls on both alike.
PAIRS, CHUNKS = 4000, 20
#: A-16.
INVENTED = 20_000
#: A-32: the limit of a key, what the greedy one asks, what each of the others asks, per second.
LIMIT, GREEDY, MODEST = 50, 1000, 20
SECONDS, ROUNDS = 6.0, 3

random_bytes = random.Random(1).randbytes  # noqa: S311  keys that nobody has


async def measure_timing(context: Context, known: str) -> None:
    """A known id with a wrong secret against an unknown id: no measurable difference."""
    parsed = parse_key(known)
    assert parsed is not None
    ring = KeyRing(context)
    texts: dict[str, Callable[[], ApiKey]] = {
        "known id": lambda: ApiKey("test", parsed.key_id, _invent().secret),
        "unknown id": _invent,
    }
    took: dict[str, list[float]] = {name: [] for name in texts}
    for number in range(PAIRS):
        for name in sorted(texts, reverse=number % 2 == 0):
            text = format_key(texts[name]())
            began = time.perf_counter()
            with suppress(Rejected):
                await ring.authenticate(text)
            took[name].append((time.perf_counter() - began) * 1e6)
    size = PAIRS // CHUNKS
    differences = [
        median(took["known id"][at : at + size]) - median(took["unknown id"][at : at + size])
        for at in range(0, PAIRS, size)
    ]
    low, *_, high = quantiles(differences, n=20)
    middle = {name: f"{median(spent):.0f} µs" for name, spent in took.items()}
    said = f"difference {median(differences):+.1f} µs, 90 % of chunks {low:+.1f} … {high:+.1f}"
    print(f"A-15: medians {middle}, {said}")  # noqa: T201  a script


def _invent() -> ApiKey:
    return make_key("test", random_bytes(ID_BYTES), random_bytes(SECRET_BYTES))


async def measure_invented(context: Context) -> None:
    """Random keys: no question to the database, whatever their checksum says; well-formed ones: a few."""
    limited = msgspec.structs.replace(context.settings, failed_login_rate=1.0)
    ring = KeyRing(msgspec.structs.replace(context, settings=limited))
    for what, spoil in (("random", _spoiled), ("with a right checksum", lambda text: text)):
        texts = [spoil(format_key(_invent())) for _ in range(INVENTED)]
        before, began = await _questions(context), time.perf_counter()
        for text in texts:
            with suppress(Rejected):
                await ring.authenticate(text, "198.51.100.7")
        spent_s = time.perf_counter() - began
        asked = await _questions(context) - before
        print(f"A-16: {INVENTED} keys {what}, {INVENTED / spent_s:.0f}/s, {asked} questions to Postgres")  # noqa: T201  a script


def _spoiled(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


async def _questions(context: Context) -> int:
    async with context.database.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        count: int = await connection.fetchval(
            "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'api_keys'"
        )
    return count


async def measure_neighbours(context: Context, greedy: str, others: list[str]) -> None:
    """Others' p99 beside a key at twenty times its limit, and without it, in turns.

    A third turn sends the greedy caller to another process, so that only the machine is shared with it.
    """
    async with read_process(context) as port, read_process(context) as elsewhere:
        beside = {"alone": None, "beside the greedy key": port, "beside it at another process": elsewhere}
        seen: dict[str, list[float]] = {name: [] for name in beside}
        counts: dict[str, Counter[int]] = {"others": Counter(), "greedy": Counter()}
        for _ in range(ROUNDS):
            for name, greedy_port in beside.items():
                callers = [_call(port, key, MODEST, seen[name], counts["others"]) for key in others]
                if greedy_port is not None:
                    callers.append(_be_greedy_elsewhere(greedy_port, greedy, counts["greedy"]))
                await asyncio.gather(*callers)
    p99 = {name: quantiles(spent, n=100)[98] for name, spent in seen.items()}
    ratio = ", ".join(f"{p99[name] / p99['alone']:.2f} {name}" for name in list(beside)[1:])
    shown = ", ".join(f"{name} p50 {median(seen[name]):.2f} p99 {p99[name]:.2f} ms" for name in seen)
    answered = {name: dict(count) for name, count in counts.items()}
    print(f"A-32: others {shown}, ratio {ratio}; answers {answered}")  # noqa: T201  a script


async def _be_greedy_elsewhere(port: int, key: str, statuses: Counter[int]) -> None:
    """In a process of its own: its haste must not delay the clocks of the others."""
    program = (sys.executable, "-m", "tests.bench.keys", str(port), key)
    running = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    said, _ = await running.communicate()
    statuses.update({int(status): count for status, count in msgspec.json.decode(said).items()})


async def be_greedy(port: int, key: str) -> None:
    statuses: Counter[int] = Counter()
    await asyncio.gather(*(_call(port, key, GREEDY / 10, [], statuses) for _ in range(10)))
    sys.stdout.write(msgspec.json.encode({str(status): count for status, count in statuses.items()}).decode())


async def _call(port: int, key: str, rate: float, spent_ms: list[float], statuses: Counter[int]) -> None:
    """Ask over one connection at a steady rate for SECONDS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = (
        f"GET /api/v1/entitlements?user_id=u_17 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n"
    ).encode()
    began = time.perf_counter()
    for number in range(int(rate * SECONDS)):
        await asyncio.sleep(max(began + number / rate - time.perf_counter(), 0))
        asked = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        spent_ms.append((time.perf_counter() - asked) * 1e3)
        statuses[int(head[9:12])] += 1
    writer.close()


@asynccontextmanager
async def read_process(context: Context) -> AsyncIterator[int]:
    port = free_port()
    settings = context.settings
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TOLLHOUSE_")},
        "TOLLHOUSE_DATABASE_URL": settings.database_url.reveal(),
        "TOLLHOUSE_REDIS_URL": settings.cache_url.reveal(),
        "TOLLHOUSE_CACHE_URL": settings.cache_url.reveal(),
        "TOLLHOUSE_KEY_PEPPERS": f"1:{PEPPER}",
        "TOLLHOUSE_READ_RATE": str(LIMIT),
        "TOLLHOUSE_METRICS_BIND": "off",
    }
    program = (sys.executable, "-m", "ingress.serve", "read", "--port", str(port))
    running = await asyncio.create_subprocess_exec(
        *program, env=environ, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            while not await _listens(port):  # noqa: ASYNC110  another process's state
                await asyncio.sleep(0.05)
        yield port
    finally:
        running.kill()
        await running.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def measure(*, is_short: bool) -> None:
    async with deployment() as opened:
        settings = msgspec.structs.replace(
            opened.settings, key_peppers=((1, Secret(PEPPER)),), failed_login_rate=0.0
        )
        context = msgspec.structs.replace(opened, settings=settings)
        await seed_catalog(context)
        await seed_set(context)
        made = [
            (await create_key(context, kind="app", project="acme", app=app, name="bench")).key
            for app in ("editor", "editor", "viewer", "viewer")
        ]
        if not is_short:
            await measure_timing(context, made[0])
            await measure_invented(context)
        await measure_neighbours(context, made[0], made[1:])


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    match sys.argv[1:]:
        case [port, key]:
            asyncio.run(be_greedy(int(port), key))
        case asked:
            asyncio.run(measure(is_short=asked == ["neighbours"]))


if __name__ == "__main__":
    main()
