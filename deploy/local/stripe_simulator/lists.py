"""Cursor lists as Stripe pages them: newest first, `limit`, `starting_after`, `ending_before`."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import malformed, missing_object
from deploy.local.stripe_simulator.operations import Call
from deploy.local.stripe_simulator.params import Reader
from deploy.local.stripe_simulator.rendering import render
from deploy.local.stripe_simulator.store import Json

DEFAULT_LIMIT, MOST = 10, 100


def limit(raw: params.Raw, name: str) -> int:
    value = params.integer(raw, name)
    if not 1 <= value <= MOST:
        bound = f"greater than or equal to 1 and at most {MOST}"
        raise malformed(f"Invalid integer: {value}. This value must be {bound}.", name)
    return value


#: Kinds whose lists leave test clocks out, unless the call names a clock or one of these.
CLOCKED = {"customer", "invoice", "invoiceitem", "subscription"}
NAMING = {"customer", "invoice", "subscription", "test_clock"}
PAGING: dict[str, Reader] = {
    "limit": limit,
    "starting_after": params.text,
    "ending_before": params.text,
}


def list_params(**filters: Reader) -> Mapping[str, Reader]:
    """The parameters of a list call: paging, `created`, and its own filters."""
    return {**PAGING, "created": params.moment_range, **filters}


def page(call: Call, kind: str, rows: Iterable[Json], url: str, *, oldest_first: bool = False) -> Json:
    """One page of `rows`, which may come in any order, filtered by `created` when the call asks.

    The cursor's object only has to exist, it need not match the filters: a subscription that was
    canceled between two pages does not break the second.
    """
    order = call.account.order_of
    is_created: Callable[[int], bool] = call.params.get("created", lambda _: True)
    shows_clocks = kind not in CLOCKED or bool(call.params.keys() & NAMING)
    size: int = call.params.get("limit", DEFAULT_LIMIT)
    sign = 1 if oldest_first else -1
    ordered = sorted(rows, key=order)
    if not oldest_first:
        ordered.reverse()
    after, before = (cursor(call, kind, name) for name in ("starting_after", "ending_before"))
    if after is not None:
        ordered = ordered[bisect_right(ordered, sign * after, key=lambda row: sign * order(row)) :]
    if before is not None:
        ordered = ordered[: bisect_left(ordered, sign * before, key=lambda row: sign * order(row))]
    backwards = before is not None and after is None
    # Only as far as this page goes: an account may hold many thousands.
    found = (
        row
        for row in (reversed(ordered) if backwards else ordered)
        if (shows_clocks or not row.get("test_clock")) and is_created(row.get("created", 0))
    )
    chosen = list(islice(found, size + 1))
    shown = chosen[size - 1 :: -1] if backwards else chosen[:size]
    return as_list([render(call.account, row) for row in shown], url, has_more=len(chosen) > size)


def cursor(call: Call, kind: str, name: str) -> int | None:
    cursor_id = call.params.get(name)
    if cursor_id is None:
        return None
    row = call.account.find(kind, cursor_id)
    if row is None:
        raise missing_object(kind, cursor_id, name)
    return call.account.order_of(row)


def as_list(data: list[Any], url: str, *, has_more: bool) -> Json:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}
