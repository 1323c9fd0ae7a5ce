"""What the two Redis must be like; `INFO` tells all of it."""

from collections.abc import Mapping

from domain.rules.diagnosis.nouns import Check, fail, ok, skip, warn

#: What `INFO` answers.
Info = Mapping[str, object]

#: The oldest whose commands and options are all there.
OLDEST = (6, 2)
VARIABLE = {"queue": "TOLLHOUSE_REDIS_URL", "cache": "TOLLHOUSE_CACHE_URL"}


def not_set(part: str) -> Check:
    return skip(part, f"{VARIABLE[part]} is not set here")


def judge_away(part: str, detail: str) -> Check:
    bring = f"start it, or correct {VARIABLE[part]}"
    if part == "queue":
        return fail(part, f"{detail}: only schedulers sync, a few at a time", bring)
    return fail(part, f"{detail}: every read asks Postgres", bring)


def judge_server(part: str, info: Info) -> Check:
    """Version and mode; `part`: queue or cache."""
    product = "Valkey" if "valkey_version" in info else "Redis"
    said = f"{product} {info.get('valkey_version') or info.get('redis_version')}"
    if _version(info) < OLDEST:
        return fail(part, said, "upgrade to Redis 6.2 or later, or to Valkey")
    if info.get("cluster_enabled") == 1 or info.get("redis_mode") == "cluster":
        single = f"point {VARIABLE[part]} to a server of its own: scripts and messages use keys of any slot"
        return fail(part, f"{said}, a cluster", single)
    if info.get("role") == "slave":
        primary = f"point {VARIABLE[part]} to the primary"
        return fail(part, f"{said}, a replica: nothing can be written", primary)
    return ok(part, f"{said} answers")


def judge_policy(queue: Info) -> Check:
    """A full queue must refuse: a bell that is evicted looks like one that was rung."""
    policy = str(queue.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return ok("queue_policy", "maxmemory-policy noeviction")
    set_ = "set maxmemory-policy noeviction on the Redis of TOLLHOUSE_REDIS_URL"
    finding = f"maxmemory-policy {policy}: when memory is short, waiting work is thrown away silently"
    return fail("queue_policy", finding, set_)


def judge_persistence(queue: Info) -> Check:
    if queue.get("aof_enabled") == 1:
        return ok("queue_persistence", "append-only file on")
    finding = "append-only file off: a restart forgets bells, and the sweeper rings them again in seconds"
    return warn("queue_persistence", finding, "set appendonly yes on the Redis of TOLLHOUSE_REDIS_URL")


def judge_apart(queue: Info, cache: Info, databases: tuple[int, int]) -> Check:
    """`databases`: the numbers of queue and cache."""
    if queue.get("run_id") != cache.get("run_id"):
        return ok("redis_apart", "queue and cache are two servers")
    if databases[0] != databases[1]:
        return ok("redis_apart", f"one server, databases {databases[0]} (queue) and {databases[1]} (cache)")
    other = f"let TOLLHOUSE_CACHE_URL end in another number than /{databases[0]}"
    finding = "queue and cache share one database: whoever empties the cache empties the queue"
    return warn("redis_apart", finding, other)


def _version(info: Info) -> tuple[int, ...]:
    """Valkey says the Redis version that it is compatible with in `redis_version`."""
    parts = str(info.get("redis_version", "0")).split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())
