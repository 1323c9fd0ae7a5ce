"""`tollhouse WORDS` in this process: a process of its own costs a second of start for each call."""

import asyncio
from typing import Any

import msgspec
from click.testing import CliRunner, Result

from domain.settings import Settings
from ingress.cli.main import tollhouse


async def type_in(settings: Settings, *words: str, **environ: str) -> Result:
    """Run the command on a loop of its own, with the settings of a test deployment and `environ`."""
    given = {
        "TOLLHOUSE_DATABASE_URL": settings.database_url.reveal(),
        "TOLLHOUSE_REDIS_URL": settings.redis_url.reveal(),
        "TOLLHOUSE_CACHE_URL": settings.cache_url.reveal(),
        "TOLLHOUSE_ENV": settings.env,
    }
    return await asyncio.to_thread(CliRunner().invoke, tollhouse, words, env={**given, **environ})


async def answer_in(settings: Settings, *words: str) -> Any:
    """What the command answers with `--json`; it must end with 0."""
    done = await type_in(settings, *words, "--json")
    assert done.exit_code == 0, done.output
    return msgspec.json.decode(done.stdout)
