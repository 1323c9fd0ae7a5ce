"""One examination within its time: what it raises becomes a line, so that the others are still answered."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from domain.errors import Broken, Rejected, TollhouseError
from domain.rules.diagnosis import Check, fail, skip

Judge = Callable[[TollhouseError], Check]


async def within(
    limit_s: float,
    name: str,
    looking: Awaitable[Sequence[Check]],
    *,
    judge: Judge | None = None,
    late: Check | None = None,
) -> list[Check]:
    """The lines of an examination; a named error is judged by `judge`, or fails the line `name`.

    `late`: the line where the time did not suffice; None: that fails it, too.
    """
    try:
        async with asyncio.timeout(limit_s):
            return list(await looking)
    except TimeoutError:
        if late is not None:
            return [late]
        wait = "find out what holds it up; --limit lets each check take longer"
        return [fail(name, f"no answer within {limit_s:g} s", wait)]
    except TollhouseError as error:
        return [(judge or _failed(name))(error)]


def _failed(name: str) -> Judge:
    def judge(error: TollhouseError) -> Check:
        if isinstance(error, Broken):
            return fail(
                name, error.detail, "report this with the versions of the lines above: it is our fault"
            )
        if isinstance(error, Rejected):
            return fail(name, error.detail, "do what it says, then look again")
        return fail(name, error.detail, "bring back what is away, then look again")

    return judge


def skip_all(names: Sequence[str], why: str) -> list[Check]:
    return [skip(name, why) for name in names]
