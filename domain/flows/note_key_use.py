"""When each key was last used: noted in memory on the way, written once a minute in one statement."""

import asyncio
from datetime import timedelta

from domain.context import Context
from domain.errors import TollhouseError
from domain.flows.authenticate import KeyRing
from domain.store import api_keys
from domain.store.bounded import BoundedReads
from domain.telemetry import get_logger

#: An operator who looks whether an old key is still used can wait this long.
EVERY_S = 60.0
#: However many processes see a key, its row is written this seldom.
SPACING = timedelta(seconds=55)

log = get_logger()


async def follow_key_use(context: Context, keys: KeyRing) -> None:
    """Write every EVERY_S until cancelled; what an outage leaves unwritten, the next use brings back."""
    while True:
        await asyncio.sleep(EVERY_S)
        await note_key_use(context, keys)


async def note_key_use(context: Context, keys: KeyRing) -> None:
    """Write down the uses since the last time."""
    used = keys.take_used()
    if not used:
        return
    try:
        await BoundedReads(context.database).ask(
            lambda connection: api_keys.note_use(connection, used, SPACING)
        )
    except TollhouseError as error:
        log.warning("key_use_not_noted", keys=len(used), error=error.detail)
