"""The one table that a run prints."""

import json

from tests.chaos.checks import Verdict
from tests.chaos.sizes import Sizes

WIDTHS = (22, 6, 8, 6, 7, 6, 8, 11, 7)
NAMES = ("fault", "seed", "acked", "lost", "wrong", "dead", "fenced", "converged", "took")


def heading(sizes: Sizes) -> str:
    said = (
        f"Size {sizes.name}: {sizes.customers} customers, at least {sizes.events} events, each delivered "
        f"three times; {sizes.repeats} repeats; waits of the service "
        f"{'compressed' if sizes.settings else 'as shipped'}"
    )
    return f"{said}\n{_columns(NAMES)}  result"


def line(name: str, verdict: Verdict, seed: int, took_s: float, *, must_fail: str, is_right: bool) -> str:
    """A run's row; below it what did not hold, and what else was counted."""
    columns = (
        name,
        str(seed),
        str(verdict.acknowledged),
        str(verdict.lost),
        str(verdict.wrong_users),
        str(verdict.dead),
        str(verdict.fenced),
        "-" if verdict.converged_s is None else f"{verdict.converged_s:.1f} s",
        f"{took_s:.0f} s",
    )
    lines = [f"{_columns(columns)}  {_result(must_fail, is_right=is_right)}"]
    if not is_right or must_fail:
        lines += [f"    {check}: {said}" for check, said in verdict.failed.items()]
    if verdict.notes:
        lines.append(f"    {json.dumps(verdict.notes, default=str)}")
    return "\n".join(lines)


def _result(must_fail: str, *, is_right: bool) -> str:
    if not must_fail:
        return "pass" if is_right else "FAIL"
    return f"expected failure: {must_fail}" if is_right else f"FAIL: {must_fail!r} should not have held"


def _columns(words: tuple[str, ...]) -> str:
    return "".join(
        word.ljust(width) if number == 0 else word.rjust(width)
        for number, (word, width) in enumerate(zip(words, WIDTHS, strict=True))
    )
