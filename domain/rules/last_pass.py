"""The newest reconciliation as health sees it: what is said of it, and what to do."""

from datetime import datetime

from msgspec import Struct

#: A full pass takes minutes, of a large account an hour or two; after this long something keeps it from its
#: end, and no other pass can begin.
PASS_WITHIN_S = 6 * 3_600.0


_STUCK = (
    "`tollhouse scheduler runs reconcile` says what its turns end in: end that, or give the pass up with "
    "`tollhouse reconcile --abandon`"
)


class LastPass(Struct, frozen=True, kw_only=True):
    """A reconciliation that runs or has ended."""

    run_id: str
    #: None: the whole deployment.
    project: str | None
    #: running, done, failed or abandoned.
    state: str
    is_check: bool
    #: Confirmed so far.
    drifts: int
    #: Of those: critical, and nothing of ours heals them.
    unhealed: int
    #: Why it failed, or by whom it was given up.
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    #: Seconds since it began; None: it has ended.
    running_s: float | None


def describe_pass(last: LastPass | None) -> tuple[str, str | None]:
    """What was seen, and what to do; None: nothing, all is well."""
    if last is None:
        return "no pass yet: `tollhouse reconcile` makes one", None
    finding = _finding(last)
    if last.state == "failed":
        return f"{finding}: {last.error or 'no error was kept'}", "end its cause, then `tollhouse reconcile`"
    if last.running_s is not None and last.running_s > PASS_WITHIN_S:
        return f"{finding}, without an end for {last.running_s / 3_600:.0f} h: no other can begin", _STUCK
    if last.state == "abandoned":
        finding = f"{finding}: {last.error}"
    if last.unhealed:
        return (
            f"{finding}, {last.unhealed} of them critical and not healed by it",
            f"`tollhouse reconcile --run {last.run_id}` names each with its command",
        )
    return finding, None


def _finding(last: LastPass) -> str:
    kind = "check" if last.is_check else "pass"
    at = (last.ended_at or last.started_at).isoformat(timespec="seconds")
    of = last.project or "everything"
    return f"{kind} {last.run_id} of {of}: {last.state}, {at}, {last.drifts} drifts"
