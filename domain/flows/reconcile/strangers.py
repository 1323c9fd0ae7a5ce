"""Customers that no row of ours holds: most are others' on the account, some are ours and never linked."""

import uuid
from collections.abc import Mapping

from domain.flows.read_catalog import find_head
from domain.flows.reconcile.look import Answer, Scope
from domain.model import Suspect
from domain.rules.catalog import plan_of
from domain.store import catalogs, customers
from domain.store.session import Connection

#: What a customer of ours says of itself: for humans and for finding our own rows, never authority.
REF, PROJECT, USER = "tollhouse_ref", "tollhouse_project", "tollhouse_user"


async def judge_stranger(connection: Connection, scope: Scope, kind: str, answer: Answer) -> list[Suspect]:
    """What an object says of its customer, where it shows one and that one is nobody's yet."""
    customer = answer.get("customer")
    if not isinstance(customer, Mapping) or customer.get("deleted"):
        return []
    metadata = customer.get("metadata") or {}
    ref = _ref(metadata.get(REF))
    if ref is not None and await customers.has_unlinked(connection, ref):
        return [_suspect("unlinked_customer", customer, None, f"carries our reference {ref}")]
    project = await _seller(connection, kind, answer)
    if project is None or (scope.project is not None and project != scope.project):
        return []
    user_key = await _named_user(connection, metadata)
    bought = f"{kind} {answer['id']} is of a plan of {project}"
    if user_key is None:
        return [_suspect("orphan_customer", customer, project, bought)]
    found = f"its metadata names a user who has another customer; {bought}"
    return [_suspect("two_customers", customer, str(metadata[PROJECT]), found, user_key)]


def _suspect(
    type_: str, customer: Answer, project: str | None, found: str, user_key: int | None = None
) -> Suspect:
    customer_id = str(customer["id"])
    return Suspect(
        type=type_,
        object_kind="customer",
        object_id=customer_id,
        customer_id=customer_id,
        project=project,
        user_key=user_key,
        found=found,
    )


async def _seller(connection: Connection, kind: str, answer: Answer) -> str | None:
    """The project whose catalog knows what was bought; None: nobody's."""
    prices = _prices(kind, answer)
    for project in await catalogs.list_projects(connection):
        head = await find_head(connection, project)
        if head is not None and any(plan_of(head.catalog, *price) for price in prices):
            return project
    return None


def _prices(kind: str, answer: Answer) -> list[tuple[str, str]]:
    """(price, product) of what stands on a subscription, or on a session that is paid."""
    if kind == "subscription":
        lines = answer["items"]["data"] if answer["status"] not in _OVER else []
    elif kind == "checkout.session":
        lines = answer["line_items"]["data"] if answer["payment_status"] != "unpaid" else []
    else:
        lines = []
    return [(line["price"]["id"], line["price"]["product"]) for line in lines if line.get("price")]


_OVER = frozenset({"canceled", "incomplete", "incomplete_expired"})


async def _named_user(connection: Connection, metadata: Mapping[str, str]) -> int | None:
    project, user_id = metadata.get(PROJECT), metadata.get(USER)
    if not project or not user_id:
        return None
    return await customers.find_user_key(connection, project, user_id)


def _ref(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None
