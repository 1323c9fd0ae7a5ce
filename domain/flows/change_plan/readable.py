"""What an app's readers get of a user at this moment."""

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.model import EntitlementSet, Facts
from domain.rules.answer import answer_at
from domain.rules.catalog import Catalog
from domain.rules.entitlements import compute
from domain.store import entitlements
from domain.store.session import Connection

_decode_set = msgspec.json.Decoder(EntitlementSet).decode


class Readable(Struct, frozen=True):
    version: int
    entitlements: EntitlementSet


async def read_answers(
    context: Context, connection: Connection, catalog: Catalog, app: str, user_id: str
) -> Readable:
    """The stored answers that hold now; where nothing is stored, the catalog's defaults, version 0."""
    now = await context.now(connection)
    stored = await entitlements.find_set(connection, catalog.project, user_id, app)
    if stored is None:
        return Readable(0, compute(Facts(), catalog, app, now))
    answer = answer_at(stored, user_id, now)
    return Readable(answer.version, _decode_set(bytes(answer.segment.entitlements)))
