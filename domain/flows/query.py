"""Query: what many users may use, as ready bytes."""

from collections.abc import Sequence

from domain.flows.lookup import Lookup
from domain.rules.answer import only_of_all


async def query(
    lookup: Lookup, project: str, app: str, user_ids: Sequence[str], features: Sequence[str] | None
) -> list[bytes]:
    """The answer of each user (each given once) as JSON, in their order; `features` None: all of them.

    Raises:
        Unknown: there is no such project or app, or a feature that none of these users' answers has.
        Unavailable: Postgres is away, and of one of these users nothing young enough is kept.
    """
    answers = await lookup.find_all(project, app, user_ids)
    if features is None:
        return [answer.body for answer in answers]
    return only_of_all(answers, features)
