"""What became of an event, in a sentence, and the command that comes next."""

import shlex

from domain.model import EventState
from domain.store.event_lists import ListedEvent
from domain.store.traces import SeenTarget


def told(event: ListedEvent, target: SeenTarget | None) -> tuple[str, str]:
    """(what became of it, what an operator types now)."""
    match event.state:
        case EventState.PENDING:
            return _pending(event, target)
        case EventState.FAILED:
            return f"it failed {event.tries} times: {event.reason}", f"tollhouse dead show {event.event_id}"
        case EventState.FOREIGN:
            return _foreign(event)
        case EventState.IGNORED:
            said = f"ignored: {event.reason}; it names nothing that is read"
            return said, "tollhouse events types"
    said = "processed: what it names was read from Stripe, and answers follow from that"
    if event.user_id is None:
        return said, "nothing"
    return said, f"tollhouse explain {shlex.quote(event.user_id)} --project {event.project}"


def _pending(event: ListedEvent, target: SeenTarget | None) -> tuple[str, str]:
    if target is not None and target.state == "dead":
        said = f"waits on a dead target: {target.last_error or 'it left no error'}"
        return said, f"tollhouse dead show {target.stripe_id}"
    if target is not None and target.last_error is not None:
        return f"waits for another try after: {target.last_error}", "tollhouse status"
    tried = f", tried {event.tries} times: {event.reason}" if event.tries else ""
    return f"waits for a worker{tried}", "tollhouse status"


def _foreign(event: ListedEvent) -> tuple[str, str]:
    said = f"foreign: {event.reason}; nothing of it was read into answers"
    if event.reason == "unlinked_customer" and event.target_kind == "customer":
        return (
            f"{said}: its customer is linked to nobody",
            f"tollhouse customers adopt {event.target_ref} --project PROJECT --user USER --reason WHY",
        )
    if event.reason in {"other_mode", "other_account"}:
        return said, "look in the deployment of that mode and account: tollhouse status names this one's"
    return said, f"tollhouse events requeue {event.event_id}"
