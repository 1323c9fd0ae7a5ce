"""One line of a diagnosis, and what all of them come to."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Outcome = Literal["ok", "warning", "failed", "skipped"]


class Check(Struct, frozen=True, kw_only=True):
    name: str
    outcome: Outcome
    #: What was seen.
    finding: str
    #: What to do; None: nothing.
    next: str | None = None


def ok(name: str, finding: str) -> Check:
    return Check(name=name, outcome="ok", finding=finding)


def warn(name: str, finding: str, next_: str) -> Check:
    """It works, and will hurt one day."""
    return Check(name=name, outcome="warning", finding=finding, next=next_)


def fail(name: str, finding: str, next_: str) -> Check:
    """It does not work, or answers may be wrong."""
    return Check(name=name, outcome="failed", finding=finding, next=next_)


def skip(name: str, why: str) -> Check:
    return Check(name=name, outcome="skipped", finding=why)


def worst(checks: Sequence[Check]) -> Outcome:
    """failed, warning or ok: what was skipped says nothing."""
    found = {check.outcome for check in checks}
    return "failed" if "failed" in found else "warning" if "warning" in found else "ok"


def first_step(checks: Sequence[Check]) -> str:
    """The one sentence to act on. Checks stand in the order in which one rests on another."""
    for outcome, begins in (("failed", "First"), ("warning", "Nothing has failed; first")):
        for check in checks:
            if check.outcome == outcome and check.next is not None:
                return f"{begins} ({check.name}): {check.next}."
    skipped = sum(check.outcome == "skipped" for check in checks)
    return "Nothing to do." if not skipped else f"Nothing to do; {skipped} checks were skipped, and say why."
