"""What a call is, and the table of calls: method and address → parameters → the function that answers.

Each module of a noun has its own `OPERATIONS`; `app.py` puts them together into one `Router`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.local.stripe_simulator.params import Reader
from deploy.local.stripe_simulator.store import Account, Json


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request with its parameters read."""

    account: Account
    #: The values of the `{…}` of the address, in order.
    path: tuple[str, ...]
    params: dict[str, Any]
    #: Where the hosted page of this simulator is reached, for instance `http://127.0.0.1:8003`.
    base_url: str
    #: As events carry it: `{"id": "req_…", "idempotency_key": …}`.
    request: Json

    @property
    def id(self) -> str:
        """The object that the address names."""
        return self.path[0]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table. `template` looks like `/v1/customers/{id}`."""

    method: str
    template: str
    answer: Callable[[Call], Json]
    params: Mapping[str, Reader] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    #: Parameters of older API versions, for calls that name no version, as the Stripe CLI's.
    older: Mapping[str, Reader] = field(default_factory=dict)


class Router:
    """Finds the operation of an address: a tree of its segments, a fixed one before a `{…}`."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._tree: dict[str, Any] = {}
        for operation in operations:
            here = self._tree
            for segment in operation.template.split("/"):
                here = here.setdefault("{}" if segment.startswith("{") else segment, {})
            if here.setdefault(operation.method, operation) is not operation:
                raise ValueError(f"two operations for {operation.method} {operation.template}")

    def match(self, method: str, path: str) -> tuple[Operation, tuple[str, ...]] | None:
        """The operation and the values of its `{…}`; None when there is none."""
        return self._descend(self._tree, path.split("/"), method, ())

    def _descend(
        self, here: dict[str, Any], segments: list[str], method: str, values: tuple[str, ...]
    ) -> tuple[Operation, tuple[str, ...]] | None:
        if not segments:
            operation = here.get(method)
            return (operation, values) if operation else None
        segment, rest = segments[0], segments[1:]
        if segment in here and (found := self._descend(here[segment], rest, method, values)):
            return found
        if segment and "{}" in here:
            return self._descend(here["{}"], rest, method, (*values, segment))
        return None
