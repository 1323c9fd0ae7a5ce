"""What time does: every deed that becomes due, in the order of its moments.

Each test clock has an agenda, and so has real time: a heap of rows by the moment of their next deed. A
change of a row only notes that it was stirred; the agenda looks at it when it is asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

from deploy.local.stripe_simulator import checkout, collection, renewals, schedule_phases
from deploy.local.stripe_simulator.moments import clock_of
from deploy.local.stripe_simulator.store import Account, Json

When = Callable[[Account, Json], int | None]
Act = Callable[[Account, Json], None]

#: kind → what may become due of a row: its moment (None: never) and the deed. Of deeds that are due in one
#: second the first named goes first, so an end that was asked for wins over a renewal.
DEEDS: dict[str, tuple[tuple[When, Act], ...]] = {
    "checkout.session": ((checkout.expires_at, checkout.expire),),
    "invoice": (
        (collection.finalizes_at, collection.finalize_due),
        (collection.retries_at, collection.retry),
        (collection.overdue_at, collection.become_overdue),
        (collection.given_up_at, collection.give_up_overdue),
    ),
    "subscription": (
        (renewals.cancels_at, renewals.cancel_due),
        (renewals.incomplete_until, renewals.expire_incomplete),
        (renewals.update_pending_until, renewals.expire_pending_update),
        (renewals.resumption_until, renewals.abandon_resumption),
        (renewals.collection_resumes_at, renewals.resume_collection),
        # Before the renewal of the same second, which bills what the new phase has.
        (schedule_phases.phase_ends_at, schedule_phases.end_phase),
        (renewals.tells_trial_end_at, renewals.tell_trial_end),
        (renewals.trial_ends_at, renewals.end_trial),
        (renewals.renews_at, renewals.renew),
    ),
}


@dataclass(frozen=True, slots=True)
class Due:
    """One deed and its moment, in seconds since 1970."""

    at: int
    act: Act
    row: Json


def run_until(account: Account, clock_id: str | None, until: int) -> int:
    """Do all that is due in one time up to a moment, each deed at its own; returns how many there were.

    A deed that became due before the clock stood where it stands is done at that moment, not before it.
    """
    begun = account.moment or 0
    done, last = 0, None
    while (due := take_next(account, clock_id, until)) is not None:
        if last == (due.at, due.act, due.row["id"]):
            raise RuntimeError(f"{due.act.__name__} left {due.row['id']} as due as it was")
        last = (due.at, due.act, due.row["id"])
        begun = max(begun, due.at)
        with account.standing_at(begun):
            due.act(account, due.row)
        done += 1
    return done


def take_next(account: Account, clock_id: str | None, until: int) -> Due | None:
    while True:
        note_stirred(account)
        agenda = account.agendas.get(clock_id)
        if not agenda or agenda[0][0] > until:
            return None
        at, _order, kind, row_id = heappop(agenda)
        if account.noted.get((kind, row_id)) != (clock_id, at):
            continue
        del account.noted[kind, row_id]
        # Looked at again after the deed: another may be due in the same second.
        account.stirred[kind, row_id] = None
        row = account.find(kind, row_id)
        due = earliest(account, row) if row is not None else None
        if due is not None and due.at == at:
            return due


def note_stirred(account: Account) -> None:
    """Write the next deed of each stirred row into its agenda; what stood there for it before is void."""
    while account.stirred:
        kind, row_id = key = next(iter(account.stirred))
        del account.stirred[key]
        row = account.find(kind, row_id)
        due = earliest(account, row) if row is not None else None
        if row is None or due is None:
            account.noted.pop(key, None)
            continue
        clock = clock_of(account, row)
        place = (clock["id"] if clock else None, due.at)
        if account.noted.get(key) != place:
            account.noted[key] = place
            agenda = account.agendas.setdefault(place[0], [])
            heappush(agenda, (due.at, account.order_of(row), kind, row_id))


def earliest(account: Account, row: Json) -> Due | None:
    found: Due | None = None
    for when, act in DEEDS[row["object"]]:
        at = when(account, row)
        if at is not None and (found is None or at < found.at):
            found = Due(at, act, row)
    return found
