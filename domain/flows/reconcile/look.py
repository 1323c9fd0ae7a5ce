"""A look: what one page of Stripe's, or one batch of users, differs in from what we hold."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from domain.context import Context
from domain.model import Counts, Suspect
from domain.rules.drift import Difference
from domain.store.compared import KnownCustomer
from domain.stripe_gateway import JsonObject, Reserve

Answer = Mapping[str, Any]


class Scope(Struct, frozen=True, kw_only=True):
    """What a run is about."""

    run_id: str
    #: None: every project.
    project: str | None
    #: None: every user.
    user_key: int | None
    is_check: bool
    #: Finished objects of any age, too; else those of the last days.
    is_full: bool

    def covers(self, customer: KnownCustomer) -> bool:
        return (self.project is None or customer.project == self.project) and (
            self.user_key is None or customer.user_key == self.user_key
        )


class Look(Struct, frozen=True, kw_only=True):
    """What one step of a run has found."""

    #: Where its stage goes on; None: it is at its end.
    cursor: str | None = None
    suspects: tuple[Suspect, ...] = ()
    #: Living objects of ours that Stripe has shown, so that nobody looks for them: (kind, id).
    seen: tuple[tuple[str, str], ...] = ()
    counts: Counts = Counts()


class Account:
    """Stripe, read within the budget of the background; counts the calls."""

    def __init__(self, context: Context, reserve: Reserve) -> None:
        self.context = context
        self._reserve = reserve
        self.reads = 0

    async def reserve(self) -> None:
        await self._reserve()
        self.reads += 1

    async def read(self, path: str, **params: Any) -> JsonObject:
        return await self.context.stripe_or_raise.read(path, self.reserve, **params)

    async def read_all(self, path: str, **params: Any) -> list[JsonObject]:
        listed = self.context.stripe_or_raise.read_list(path, self.reserve, **params)
        return [found async for found in listed]


def suspect_of(
    difference: Difference,
    kind: str,
    object_id: str,
    *,
    customer_id: str | None = None,
    customer: KnownCustomer | None = None,
) -> Suspect:
    return Suspect(
        type=difference.type,
        object_kind=kind,
        object_id=object_id,
        customer_id=customer_id,
        project=customer.project if customer is not None else None,
        user_key=customer.user_key if customer is not None else None,
        found=difference.found,
    )
