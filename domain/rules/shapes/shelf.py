"""Products, prices and test clocks: what belongs to no customer."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from domain.rules.shapes.convert import Reference, convert, id_of, when


class MirroredProduct(Struct, frozen=True, kw_only=True):
    product_id: str
    is_deleted: bool = False
    name: str = ""
    is_active: bool = False
    #: `metadata.tollhouse_project`, for finding what we made; never authority over access.
    project: str | None = None


class MirroredPrice(Struct, frozen=True, kw_only=True):
    price_id: str
    is_deleted: bool = False
    product_id: str = ""
    is_active: bool = False
    lookup_key: str | None = None
    currency: str = ""
    #: None: tiers, or an amount in decimals.
    unit_amount_minor: int | None = None
    #: None: one-time.
    interval: str | None = None
    interval_count: int | None = None
    project: str | None = None


class MirroredClock(Struct, frozen=True, kw_only=True):
    clock_id: str
    is_deleted: bool = False
    #: Stripe's value: ready, advancing, internal_failure.
    status: str = ""
    #: What its customers take for now; None: deleted.
    frozen_at: datetime | None = None


class _Stub(Struct):
    id: str
    deleted: bool = False


class _Product(Struct):
    id: str
    name: str
    active: bool
    metadata: dict[str, str] = {}


class _Recurring(Struct):
    interval: str
    interval_count: int = 1


class _Price(Struct):
    id: str
    product: Reference
    active: bool
    currency: str
    unit_amount: int | None = None
    recurring: _Recurring | None = None
    lookup_key: str | None = None
    metadata: dict[str, str] = {}


class _Clock(Struct):
    id: str
    status: str
    frozen_time: int


def parse_product(answer: dict[str, Any]) -> MirroredProduct:
    """A product, or the stub that Stripe answers for a deleted one.

    Raises:
        Broken: the answer has not the shape of the pinned version; so do the others here.
    """
    if convert(answer, _Stub).deleted:
        return MirroredProduct(product_id=answer["id"], is_deleted=True)
    found = convert(answer, _Product)
    return MirroredProduct(
        product_id=found.id,
        name=found.name,
        is_active=found.active,
        project=found.metadata.get("tollhouse_project"),
    )


def parse_price(answer: dict[str, Any]) -> MirroredPrice:
    if convert(answer, _Stub).deleted:
        return MirroredPrice(price_id=answer["id"], is_deleted=True)
    found = convert(answer, _Price)
    return MirroredPrice(
        price_id=found.id,
        product_id=id_of(found.product) or "",
        is_active=found.active,
        lookup_key=found.lookup_key,
        currency=found.currency,
        unit_amount_minor=found.unit_amount,
        interval=found.recurring.interval if found.recurring else None,
        interval_count=found.recurring.interval_count if found.recurring else None,
        project=found.metadata.get("tollhouse_project"),
    )


def parse_clock(answer: dict[str, Any]) -> MirroredClock:
    if convert(answer, _Stub).deleted:
        return MirroredClock(clock_id=answer["id"], is_deleted=True)
    found = convert(answer, _Clock)
    return MirroredClock(clock_id=found.id, status=found.status, frozen_at=when(found.frozen_time))
