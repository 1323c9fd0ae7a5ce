"""Follow what other processes publish, for as long as this process reads: memory ends when they say so."""

from domain.cache import CatalogChanged, KeyRevoked, Message, SetChanged
from domain.context import Context
from domain.flows.authenticate import KeyRing
from domain.flows.lookup import Lookup


async def follow_changes(context: Context, lookup: Lookup, keys: KeyRing) -> None:
    """Run until cancelled. Without a cache there is nothing to follow, and memory is never fresh."""
    if context.cache is None:
        return

    def receive(message: Message) -> None:
        match message:
            case SetChanged():
                lookup.end_set(message)
            case CatalogChanged():
                lookup.end_defaults(message)
            case KeyRevoked():
                keys.forget(message.key_id)

    def begin() -> None:
        lookup.begin_watching()
        # A revocation may have been told while nobody listened.
        keys.doubt()

    await context.cache.listen(receive, connected=begin, disconnected=lookup.end_watching)
