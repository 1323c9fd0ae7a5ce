"""Look at the two Redis: each by itself, then whether they are apart."""

from collections.abc import Awaitable, Mapping
from urllib.parse import urlsplit

from domain.context import Context
from domain.errors import TollhouseError
from domain.flows.diagnose.within import skip_all, within
from domain.rules.diagnosis import Check
from domain.rules.diagnosis import redis as rules
from domain.rules.diagnosis.redis import Info

QUEUE = ("queue_policy", "queue_persistence")
APART = ["redis_apart"]


async def examine_redis(
    context: Context, queue: Awaitable[Mapping[str, object]] | None, limit_s: float
) -> list[Check]:
    seen: dict[str, Info] = {}
    if queue is None:
        of_queue = [rules.not_set("queue"), *skip_all(QUEUE, "no queue is set here")]
    else:
        of_queue = await _examine("queue", queue, seen, limit_s)
        if "queue" in seen:
            of_queue += [rules.judge_policy(seen["queue"]), rules.judge_persistence(seen["queue"])]
        else:
            of_queue += skip_all(QUEUE, "the queue does not answer")
    if context.cache is None:
        of_cache = [rules.not_set("cache")]
    else:
        of_cache = await _examine("cache", context.cache.look(), seen, limit_s)
    return [*of_queue, *of_cache, *_compare(context, seen)]


async def _examine(part: str, looking: Awaitable[Info], seen: dict[str, Info], limit_s: float) -> list[Check]:
    async def look() -> list[Check]:
        seen[part] = await looking
        return [rules.judge_server(part, seen[part])]

    def away(error: TollhouseError) -> Check:
        return rules.judge_away(part, error.detail)

    return await within(limit_s, part, look(), judge=away)


def _compare(context: Context, seen: Mapping[str, Info]) -> list[Check]:
    if len(seen) < 2:  # noqa: PLR2004 - both
        return skip_all(APART, "needs an answer of both")
    settings = context.settings
    databases = (_number(settings.redis_url.reveal()), _number(settings.cache_url.reveal()))
    return [rules.judge_apart(seen["queue"], seen["cache"], databases)]


def _number(url: str) -> int:
    """The database's number; 0 where the URL names none."""
    named = urlsplit(url).path.strip("/")
    return int(named) if named.isdigit() else 0
