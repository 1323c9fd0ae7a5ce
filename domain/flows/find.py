"""Find: whose something is, from whatever an operator has in hand, and which command comes next.

An e-mail is never in our rows: Stripe is asked, live and for exactly that one, and it is neither kept nor
logged.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Broken, FieldError, Invalid, ObjectMissing, Unknown
from domain.flows.fetch import fetch, fetch_owner
from domain.flows.grant import require_head
from domain.flows.read_budget import CLAIM_WAIT_S, budget_of, noting_429
from domain.model import TargetRef
from domain.rules.events import BodyRefused, classify, read_envelope
from domain.store import sightings
from domain.store.session import Connection
from domain.store.sightings import Sighting

Standing = Literal["ours", "foreign", "unknown"]

LONGEST = 255
_is_email = re.compile(r"[^@\s]+@[^@\s]+").fullmatch
_is_invoice_number = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)+").fullmatch

#: Kinds that Stripe tells the customer of, by how their ids begin.
_KINDS = {
    "sub_": "subscription",
    "cs_": "checkout.session",
    "in_": "invoice",
    "inpay_": "invoice_payment",
    "pi_": "payment_intent",
    "ch_": "charge",
    "py_": "charge",
    "re_": "refund",
    "pyr_": "refund",
    "dp_": "dispute",
    "du_": "dispute",
}


class Found(Struct, frozen=True, kw_only=True):
    #: user, event, grant, reconciliation_run, a Stripe object's kind, or the target that is synced.
    kind: str
    id: str
    #: `foreign`: on the Stripe account, and nobody's here. `unknown`: nobody has looked yet.
    standing: Standing
    state: str
    project: str | None
    user_id: str | None
    customer_id: str | None
    #: What an operator types now.
    next: str


class FoundPage(Struct, frozen=True, kw_only=True):
    data: list[Found]
    #: Where was looked, in this order.
    looked_in: list[str]


async def find(context: Context, named: str, project: str | None = None) -> FoundPage:
    """Everything that an id, an invoice's number or an e-mail names. `project` None: of all, and nobody's.

    A process with a Stripe key asks Stripe for e-mails, and for objects that no row of ours names.

    Raises:
        Invalid: nothing can be named so.
        Unknown: it is nowhere; the detail says where was looked and what to do. There is no such project.
        Unavailable: Postgres or Stripe is away.
    """
    named = named.strip()
    if not 1 <= len(named) <= LONGEST or not named.isprintable():
        what = f"1 to {LONGEST} printable characters: a user's id, a Stripe id, an invoice number, an e-mail"
        raise Invalid("Nothing can be named so.", errors=(FieldError("q", what),))
    is_email = _is_email(named) is not None
    async with context.database.snapshot() as connection:
        if project is not None:
            await require_head(connection, project)
        seen, looked = await _look_here(connection, named, project, is_email=is_email)
    found = [_found(one) for one in seen]
    if context.stripe is not None and (is_email or not found):
        asked = await _ask_stripe(context, named, project, is_email=is_email)
        if asked is not None:
            found += asked
            looked = [*looked, "Stripe"]
    if not found:
        raise _nowhere(named, project, looked, is_email=is_email, has_key=context.stripe is not None)
    return FoundPage(data=found, looked_in=looked)


async def _look_here(
    connection: Connection, named: str, project: str | None, *, is_email: bool
) -> tuple[list[Sighting], list[str]]:
    looked = ["users, objects, grants and runs"]
    seen = await sightings.list_by_key(connection, named, project)
    if is_email:
        return seen, looked
    seen += await sightings.list_events(connection, named, project)
    seen += _telling(await sightings.list_targets(connection, named, project), seen)
    looked += ["events", "targets"]
    if not seen:
        seen = await sightings.list_naming_events(connection, named, project)
        looked.append("objects of events")
    if not seen and _is_invoice_number(named):
        seen = await sightings.list_by_number(connection, named, project)
        looked.append("invoice numbers")
    return seen, looked


def _telling(targets: Iterable[Sighting], seen: Sequence[Sighting]) -> list[Sighting]:
    """The targets that say more than what was seen: dead ones, and those of nobody."""
    return [one for one in targets if one.kind == "dead" or not seen]


# ── Stripe ──────────────────────────────────────────────────────────────────────────────────────────


async def _ask_stripe(
    context: Context, named: str, project: str | None, *, is_email: bool
) -> list[Found] | None:
    """What Stripe knows under that name, with whose it is here; None: there is nothing to ask it."""
    kind = next((kind for prefix, kind in _KINDS.items() if named.startswith(prefix)), None)
    if named.startswith("evt_") and not is_email:
        return await _undelivered(context, named, project)
    if is_email:
        customers = await _customers_of(context, named)
    elif named.startswith("cus_"):
        customers = await _existing_customer(context, named)
    elif kind is not None and re.fullmatch(r"[A-Za-z0-9_]+", named):
        customers = await _customer_of(context, kind, named)
    else:
        return None
    async with context.database.snapshot() as connection:
        known = [await sightings.list_by_key(connection, one, project) for one in customers]
    found = [_found(one) for seen in known for one in seen]
    if project is None:
        strangers = [one for one, seen in zip(customers, known, strict=True) if not seen]
        found += [_stranger(one) for one in strangers]
    if kind is not None and found:
        return [_unread(kind, named, found[0])]
    return found


async def _customers_of(context: Context, email: str) -> list[str]:
    async with noting_429(context):
        answer = await context.stripe_or_raise.read(
            "/v1/customers", budget_of(context, CLAIM_WAIT_S), email=email, limit=sightings.MOST
        )
    return [str(one["id"]) for one in answer["data"]]


async def _existing_customer(context: Context, customer_id: str) -> list[str]:
    if not re.fullmatch(r"[A-Za-z0-9_]+", customer_id):
        return []
    fetched = await fetch(context, [("customer", customer_id)], max_wait_s=CLAIM_WAIT_S)
    return [key for key, one in fetched.customers.items() if not one.is_deleted]


async def _customer_of(context: Context, kind: str, stripe_id: str) -> list[str]:
    fetched = await fetch_owner(context, TargetRef(kind, stripe_id), max_wait_s=CLAIM_WAIT_S)
    if (error := fetched.error_of((kind, stripe_id))) is not None:
        raise Broken(error)
    owner = fetched.customer_of.get((kind, stripe_id))
    return [] if owner is None else [owner]


async def _undelivered(context: Context, event_id: str, project: str | None) -> list[Found]:
    """An event that Stripe has made and nobody has brought here."""
    if not re.fullmatch(r"[A-Za-z0-9_]+", event_id):
        return []
    try:
        async with noting_429(context):
            shown = await context.stripe_or_raise.read(
                f"/v1/events/{event_id}", budget_of(context, CLAIM_WAIT_S)
            )
        event = classify(read_envelope(msgspec.json.encode(shown)), None)
    except (ObjectMissing, BodyRefused):
        return []
    customer = (
        event.target.stripe_id if event.target is not None and event.target.kind == "customer" else None
    )
    owner: Sighting | None = None
    if customer is not None:
        async with context.database.snapshot() as connection:
            owner = next(iter(await sightings.list_by_key(connection, customer, project)), None)
    if owner is None and project is not None:
        return []
    return [_unheard(event_id, event.type, customer, owner)]


def _unheard(event_id: str, type_: str, customer_id: str | None, owner: Sighting | None) -> Found:
    """What Stripe has made and nobody has delivered; of a user, everything is read without it."""
    return Found(
        kind="event",
        id=event_id,
        standing="ours" if owner is not None else "unknown",
        state=f"{type_}, at Stripe, not delivered here",
        project=owner.project if owner is not None else None,
        user_id=owner.user_id if owner is not None else None,
        customer_id=customer_id,
        next="tollhouse scheduler run fill_gaps" if owner is None else _sync(owner.user_id, owner.project),
    )


def _stranger(customer_id: str) -> Found:
    return Found(
        kind="customer",
        id=customer_id,
        standing="foreign",
        state="at Stripe, linked to nobody",
        project=None,
        user_id=None,
        customer_id=customer_id,
        next=_adopt(customer_id),
    )


def _unread(kind: str, stripe_id: str, customer: Found) -> Found:
    """An object at Stripe that no row of ours names: its event was never delivered, or is on its way."""
    is_ours = customer.user_id is not None
    return Found(
        kind=kind,
        id=stripe_id,
        standing="ours" if is_ours else "foreign",
        state="at Stripe, not read here yet",
        project=customer.project,
        user_id=customer.user_id,
        customer_id=customer.customer_id,
        next=_sync(customer.user_id, customer.project) if is_ours else _adopt(customer.customer_id or ""),
    )


# ── what comes next ─────────────────────────────────────────────────────────────────────────────────


def _found(seen: Sighting) -> Found:
    return Found(
        kind=seen.kind,
        id=seen.id,
        standing=_standing(seen),
        state=seen.state,
        project=seen.project,
        user_id=seen.user_id,
        customer_id=seen.customer_id,
        next=_next(seen),
    )


def _standing(seen: Sighting) -> Standing:
    if seen.project is not None or seen.kind == "reconciliation_run":
        return "ours"
    said = {part.strip() for part in seen.state.split(",")}
    return "foreign" if "foreign" in said or seen.kind == "foreign target" else "unknown"


def _next(seen: Sighting) -> str:
    match seen.kind:
        case "event":
            return f"tollhouse events show {_quoted(seen.id)}"
        case "dead":
            return f"tollhouse dead show {_quoted(seen.id)}"
        case "reconciliation_run":
            return f"tollhouse reconcile --run {seen.id}"
        case "product" | "price" | "catalog_price":
            return "tollhouse catalog status"
        case "grant":
            return f"tollhouse grants {_quoted(seen.user_id)} --project {seen.project}"
    if seen.user_id is not None:
        return f"tollhouse explain {_quoted(seen.user_id)} --project {seen.project}"
    if seen.customer_id is not None:
        return _adopt(seen.customer_id)
    return f"tollhouse events list --object {_quoted(seen.id)}"


def _sync(user_id: str | None, project: str | None) -> str:
    return f"tollhouse users sync {_quoted(user_id)} --project {project}"


def _adopt(customer_id: str) -> str:
    return f"tollhouse customers adopt {customer_id} --project PROJECT --user USER --reason WHY"


def _quoted(text: str | None) -> str:
    return shlex.quote(text or "")


def _nowhere(
    named: str, project: str | None, looked: Sequence[str], *, is_email: bool, has_key: bool
) -> Unknown:
    what = "This e-mail" if is_email else repr(named)
    of_project = "" if project is None else f" of project {project}"
    detail = f"{what} is nowhere{of_project}; looked in: {', '.join(looked)}."
    if "Stripe" not in looked:
        detail += (
            " Stripe was not asked: it is for e-mails, and for ids of events, customers and their objects"
        )
        detail += "." if has_key else ", by a process that holds its key."
    return Unknown(
        f"{detail} Compare it with Stripe's dashboard (account and mode) and with the id that the app sends.",
        code="not_found_anywhere",
    )
