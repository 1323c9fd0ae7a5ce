"""Subscription schedules: the change of items that waits for the end of a period."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from domain.money import ScheduledItem
from domain.rules.shapes.convert import convert, when


class MirroredSchedule(Struct, frozen=True, kw_only=True):
    schedule_id: str
    #: When the items change; None: no phase is to come, or the schedule manages nothing any more.
    changes_at: datetime | None = None
    #: All items from then on.
    items: tuple[ScheduledItem, ...] = ()
    #: Phases to come: with more than one there is more than we would undo.
    coming: int = 0


class _Price(Struct):
    id: str
    product: str


class _Item(Struct):
    price: _Price
    quantity: int | None = None


class _Phase(Struct):
    start_date: int
    end_date: int
    items: list[_Item]


class _Current(Struct):
    end_date: int


class _Schedule(Struct):
    id: str
    status: str
    phases: list[_Phase]
    current_phase: _Current | None = None


#: What a read of a schedule expands: a phase names prices only, and the catalog maps products.
SCHEDULE = ["phases.items.price"]


def parse_schedule(answer: Mapping[str, Any]) -> MirroredSchedule:
    """A schedule, read with `SCHEDULE` expanded.

    Raises:
        Broken: the answer has not the shape of the pinned version.
    """
    found = convert(dict(answer), _Schedule)
    if found.status != "active" or found.current_phase is None:
        return MirroredSchedule(schedule_id=found.id)
    ends_at = found.current_phase.end_date
    coming = sorted((one for one in found.phases if one.start_date >= ends_at), key=_begin)
    if not coming:
        return MirroredSchedule(schedule_id=found.id)
    return MirroredSchedule(
        schedule_id=found.id,
        changes_at=when(coming[0].start_date),
        items=tuple(
            ScheduledItem(price_id=item.price.id, product_id=item.price.product, quantity=item.quantity)
            for item in coming[0].items
        ),
        coming=len(coming),
    )


def _begin(phase: _Phase) -> int:
    return phase.start_date
